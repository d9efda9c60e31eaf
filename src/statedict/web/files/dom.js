// Elements from names, attributes and children. Texts become text nodes: this page has no other way to make elements.

const SVG = "http://www.w3.org/2000/svg";

// `h("button", {class: "quiet", onclick: f, "aria-label": "Close"}, "×")`
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

// The same of SVG.
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Put these children in the place of all that an element has.
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// A labelled choice: `choice("Colour", [["kind", "kind"], ...], "kind", (value) => ...)`
export function choice(label, options, value, change) {
  const select = h("select", { onchange: () => change(select.value) });
  for (const [key, text] of options) select.append(h("option", { value: key }, text));
  select.value = value;
  return h("label", { class: "choice" }, h("span", {}, label), select);
}

// Call a function no more than once in an animation frame.
export function eachFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}

// A line of a shell that does the same as what is shown, with a button that copies it.
export function command(line) {
  const button = h("button", {
    class: "quiet",
    type: "button",
    "aria-label": "Copy the command",
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(line);
      } catch {
        const range = document.createRange();
        range.selectNodeContents(code);
        const selection = getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        return;
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1200);
    },
  }, "Copy");
  const code = h("code", { tabindex: "0", role: "group", "aria-label": "Command" }, line);
  return h("div", { class: "command" }, code, button);
}

// What went wrong, in words.
export function failure(error) {
  return h("p", { class: "failure", role: "alert" }, error.message);
}
