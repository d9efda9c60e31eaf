// With two models: what changed, folded, with its evidence; and which tensor is which, with rules that can be changed.

import { command, failure, fill, h } from "./dom.js";
import { counted, exact, nameText, number, percent, quoted, shape, shortened, size } from "./text.js";

const SIGNS = { "+": "added", "-": "removed", "~": "changed", "=": "same", "": "holds" };
const MOST = 400;
const MOST_LINES = 5000;

// A pane that begins a job of the server's when it is first seen, and shows how far it is.
class Pane {
  constructor(name, label, source, show) {
    Object.assign(this, { name, source, show });
    this.body = h("div", { class: "pane-body" });
    this.element = h("section", { class: `pane ${name}`, "aria-label": label }, this.body);
  }

  async begin() {
    if (this.begun) return this.begun;
    const bar = h("progress", { max: "1", "aria-label": "How far it is" });
    const note = h("span", { role: "status" }, "Reading both …");
    const stop = h("button", { type: "button", class: "quiet", onclick: () => this.source.stop(this.name) }, "Stop");
    fill(this.body, h("p", { class: "waiting" }, bar, note, stop));
    this.begun = this.source.job(this.name, (done, total) => {
      if (!total) return;
      bar.value = done / total;
      note.textContent = `${size(done)} of ${size(total)}`;
    });
    try {
      this.show(await this.begun, this.body);
    } catch (error) {
      this.begun = null;
      fill(this.body, failure(error), h("button", { type: "button", onclick: () => this.begin() }, "Begin again"));
    }
    return this.begun;
  }
}

// `select(side, at)` goes to a tensor, `known(found)` is told the result.
export function diffPane(models, source, { select, known }) {
  return new Pane("diff", "What changed", source, (found, body) => {
    known(found);
    const heading = found.same ? "The same" : "What changed";
    const statuses = Object.entries(found.values).filter(([, count]) => count).map(([status, count]) => `${exact(count)} ${status}`);
    const { total } = found;
    const measured = total?.changed ? `${total.changed === total.compared ? "all" : `${exact(total.changed)} of`} ${exact(total.compared)} values changed: relative L2 ${number(total.relative_l2, 3)}, max ${number(total.max, 3)}` : "";
    fill(body,
      h("h2", {}, heading), h("p", {}, statuses.join(", "), measured ? ". " : "", measured),
      found.lines.length ? diffTable(found.lines, select) : null,
      found.described.length ? h("section", {}, h("h3", {}, "What is said otherwise"), h("dl", { class: "facts" }, found.described.map((each) => [h("dt", {}, shortened(nameText(each.name), 80)), h("dd", {}, `${said(each.before)} → ${said(each.after)}`)]))) : null,
      h("section", { class: "commands" }, h("h3", {}, "In a terminal"), command(`statedict diff ${models.map((model) => quoted(model.head.file)).join(" ")}`)));
  });
}

function said(value) {
  return value === null ? "nothing" : shortened(nameText(typeof value === "string" ? value : JSON.stringify(value)), 120);
}

function diffTable(lines, select) {
  const head = [h("span", { class: "unseen" }, "what"), "name", "changed", "relative L2", "cosine"];
  const rows = lines.slice(0, MOST_LINES).map((line) => diffRow(line, select));
  return h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "Table of changes" },
    h("table", { class: "changes" }, h("thead", {}, h("tr", {}, head.map((title) => h("th", { scope: "col" }, title)))), h("tbody", {}, rows)));
}

// One line: what it is called and what it is, how far it moved, and below its name what kind of change that is.
function diffRow(line, select) {
  const sign = line.sign || (line.same ? "=" : "");
  const [first] = line.at;
  const name = h("bdi", {}, shortened(line.label.trim() || "(all)", 120));
  const go = () => (first[0] !== null ? select(0, first[0]) : select(1, first[1]));
  const goes = line.tensor && first && (first[0] !== null || first[1] !== null);
  const about = [line.shape, line.dtype].filter(Boolean).join(" ");
  const cell = h("th", { scope: "row", class: "name" },
    goes ? h("button", { type: "button", class: "link", onclick: go }, name) : name,
    about ? h("span", { class: "what" }, about) : null,
    line.about ? h("span", { class: "about" }, shortened(line.about, 400)) : null);
  cell.style.paddingLeft = `${8 + line.indent * 8}px`;
  const moved = line.relative === undefined ? null : h("span", { class: "moved", "aria-hidden": "true" });
  if (moved) moved.style.width = `${Math.max(2, 40 * (1 - Math.log(Math.min(1, Math.max(1e-6, line.relative))) / Math.log(1e-6)))}px`;
  const cosine = line.cosine === undefined || line.cosine === null ? "" : line.cosine > 0.9999 && line.cosine < 1 ? `1−${number(1 - line.cosine, 1)}` : number(line.cosine);
  return h("tr", { class: line.same ? "same" : line.tensor ? "tensor" : "module" },
    h("td", { class: `sign sign-${SIGNS[sign]}` }, h("span", { "aria-hidden": "true" }, sign), h("span", { class: "unseen" }, SIGNS[sign])),
    cell,
    h("td", { class: "number" }, line.changed === undefined ? "" : percent(line.changed)),
    h("td", { class: "number" }, moved, line.relative === undefined ? "" : number(line.relative, 3)),
    h("td", { class: "number" }, cosine));
}

export function matchPane(models, source, { select }) {
  return new Pane("match", "Which tensor is which", source, (found, body) => {
    fill(body, matchView(models, source, found, select));
  });
}

function matchView(models, source, found, select) {
  const rows = found.rules.map((rule) => ({ ...rule }));
  const table = h("tbody", {});
  const rest = h("div", { class: "rest" });
  const toml = h("pre", { class: "toml", tabindex: "0", role: "region", "aria-label": "rules.toml" });
  const headline = h("p", { role: "status" });
  let turn = 0;
  const check = async () => {
    turn += 1;
    const mine = turn;
    try {
      const revised = await source.rules(rows.map(({ error, ...rule }) => rule));
      if (mine !== turn) return;
      revised.rules.forEach((rule, at) => Object.assign(rows[at], { tensors: rule.tensors, error: rule.error }));
      tellRows();
      tellLeft(revised);
    } catch (error) {
      if (mine === turn) fill(headline, failure(error));
    }
  };
  const later = debounced(check, 200);
  const tellRows = () => rows.forEach((rule, at) => {
    const element = table.children[at];
    if (!element) return;
    const told = element.querySelector(".told");
    told.textContent = rule.error ? rule.error : counted(rule.tensors, "tensor");
    told.classList.toggle("failure", Boolean(rule.error));
  });
  const tellLeft = (revised) => {
    const total = revised.made + revised.missing.length + revised.mismatched.length;
    fill(headline, h("b", {}, `${exact(revised.made)} of ${exact(total)}`), ` tensors of B are made: ${exact(revised.kept)} under their own names, ${found.values_compared ? "values were compared" : "by names and shapes alone"}.`);
    fill(rest,
      names("Missing: B has them, nothing in A is them", revised.missing, (name) => select(1, models[1].find(name))),
      names("Unexpected: A has them, B has no place for them", revised.unexpected, (name) => select(0, models[0].find(name))),
      names("Made under names that B has not", revised.stray, null),
      revised.mismatched.length ? h("details", { open: true }, h("summary", {}, `Of another shape (${exact(revised.mismatched.length)})`), h("ul", {}, revised.mismatched.slice(0, MOST).map((each) => h("li", {}, h("bdi", {}, shortened(nameText(each.target), 100)), ` ${shape(each.shape)}, made ${shape(each.found)}`)))) : null);
    toml.textContent = revised.toml;
  };
  const add = (rule) => {
    rows.push(rule);
    table.append(ruleRow(rows, rule, later, check));
  };
  rows.forEach((rule) => table.append(ruleRow(rows, rule, later, check)));
  const save = h("button", { type: "button", class: "primary", onclick: () => download("rules.toml", toml.textContent) }, "Save rules.toml");
  const [first, second] = models.map((model) => quoted(model.head.file));
  check();
  return [
    h("h2", {}, "A as B"), headline,
    h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "Rules" }, h("table", { class: "rules" }, h("thead", {}, h("tr", {}, ["in A", "in B", "how", "makes", ""].map((title) => h("th", { scope: "col" }, title || h("span", { class: "unseen" }, "remove"))))), table)),
    h("div", { class: "asked" }, h("button", { type: "button", onclick: () => { add({ from: "", to: "" }); table.lastElementChild.querySelector("input").focus(); } }, "Add a rule"), save),
    rest,
    found.open.length ? h("details", { open: true }, h("summary", {}, `Open: one of several (${exact(found.open.length)})`), h("ul", {}, found.open.slice(0, MOST).map((each) => h("li", {}, h("bdi", {}, shortened(nameText(each.target), 100)), ": ", each.candidates.map((candidate) => candidate.sources.map((name) => shortened(nameText(name), 80)).join(" + ")).join(" or "))))) : null,
    h("details", {}, h("summary", {}, "rules.toml"), toml),
    h("section", { class: "commands" }, h("h3", {}, "In a terminal"), command(`statedict match ${first} ${second} -o rules.toml`), command(`statedict edit ${first} NEW --rules rules.toml`)),
  ];
}

// One rule: what it takes and what it makes can be typed, how it does so is told.
function ruleRow(rows, rule, later, check) {
  const side = (key, label) => h("input", { type: "text", value: asText(rule[key]), "aria-label": label, spellcheck: "false", oninput: (event) => {
    rule[key] = asNames(event.target.value);
    later();
  } });
  const how = Object.entries(rule).filter(([key]) => !["from", "to", "tensors", "error"].includes(key)).map(([key, value]) => (value === true ? key : `${key} ${JSON.stringify(value)}`)).join(", ");
  const row = h("tr", {},
    h("td", {}, side("from", "Pattern of names in A; several joined by +")), h("td", {}, side("to", "Names in B; several joined by +")),
    h("td", { class: "about" }, how || "renamed"), h("td", { class: "told" }, rule.tensors === undefined ? "" : counted(rule.tensors, "tensor")),
    h("td", {}, h("button", { type: "button", class: "quiet", "aria-label": "Remove this rule", onclick: () => {
      rows.splice(rows.indexOf(rule), 1);
      row.remove();
      check();
    } }, "×")));
  return row;
}

function asText(names) {
  return Array.isArray(names) ? names.join(" + ") : names;
}

function asNames(text) {
  const names = text.split(" + ").map((name) => name.trim());
  return names.length === 1 ? names[0] : names;
}

function names(title, list, go) {
  if (!list.length) return null;
  const rows = list.slice(0, MOST).map((name) => {
    const text = h("bdi", {}, shortened(nameText(name), 140));
    return h("li", {}, go ? h("button", { type: "button", class: "link", onclick: () => go(name) }, text) : text);
  });
  return h("details", { open: list.length <= 12 }, h("summary", {}, `${title} (${exact(list.length)})`), h("ul", {}, rows, list.length > MOST ? h("li", { class: "quiet-text" }, `and ${exact(list.length - MOST)} more`) : null));
}

// Hand a text to the browser as a file to save: this page itself writes none.
function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/toml" }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function debounced(act, pause) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, pause);
  };
}
