// A convolution's filters as small pictures: those of three channels in colour, others by one channel at a time.

import { failure, fill, h } from "./dom.js";
import { SCALES } from "./palette.js";
import { exact } from "./text.js";

const WIDTH = 340;
const GAP = 2;

export function filterSection(model, source, side, at) {
  const [outputs, inputs, down, across] = model.spec(at).shape;
  const place = h("div", {});
  const state = { first: 0, channel: 0 };
  const number = (label, key, most) => h("label", { class: "choice" }, h("span", {}, label), h("input", { type: "number", min: "0", max: String(most - 1), value: "0", onchange: (event) => {
    state[key] = Math.min(most - 1, Math.max(0, Math.floor(Number(event.target.value) || 0)));
    show();
  } }));
  const show = async () => {
    try {
      const found = await source.filters(side, at, state.first, state.channel);
      const last = found.first + found.count - 1;
      const said = `Filters ${exact(found.first)} to ${exact(last)} of ${exact(outputs)}, ${down} by ${across}${found.coloured ? ", in colour" : `, input channel ${state.channel}`}`;
      fill(place, drawn(found, down, across, said), h("p", { class: "quiet-text" }, said));
    } catch (error) {
      fill(place, failure(error));
    }
  };
  show();
  return h("section", { class: "filter-section" }, h("h3", {}, "Filters"),
    h("div", { class: "controls" }, outputs > 256 ? number("From filter", "first", outputs) : null, inputs !== 3 && inputs > 1 ? number(`Input channel of ${exact(inputs)}`, "channel", inputs) : null),
    place);
}

// One picture of all filters, in rows.
function drawn({ count, coloured, values }, down, across, label) {
  const scale = Math.max(1, Math.min(8, Math.floor(26 / Math.max(down, across))));
  const wide = Math.max(1, Math.min(count, Math.floor(WIDTH / (across * scale + GAP))));
  const tall = Math.ceil(count / wide);
  const canvas = h("canvas", { class: "filters", role: "img", "aria-label": label });
  canvas.width = wide * (across * scale + GAP) - GAP;
  canvas.height = tall * (down * scale + GAP) - GAP;
  const paper = canvas.getContext("2d");
  const size = down * across;
  const most = values.reduce((found, value) => (typeof value === "number" ? Math.max(found, Math.abs(value)) : found), 0) || 1;
  for (let filter = 0; filter < count; filter += 1) {
    const [left, top] = [(filter % wide) * (across * scale + GAP), Math.floor(filter / wide) * (down * scale + GAP)];
    const own = values.slice(filter * size * (coloured ? 3 : 1), (filter + 1) * size * (coloured ? 3 : 1));
    const colour = coloured ? inColour(own, size) : onScale(own, most);
    for (let at = 0; at < size; at += 1) {
      paper.fillStyle = colour(at);
      paper.fillRect(left + (at % across) * scale, top + Math.floor(at / across) * scale, scale, scale);
    }
  }
  return canvas;
}

// Red, green and blue from the three channels, from the filter's least to its greatest value.
function inColour(own, size) {
  const known = own.filter((value) => typeof value === "number");
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const part = (value) => (typeof value === "number" && high > low ? Math.round((255 * (value - low)) / (high - low)) : 128);
  return (at) => `rgb(${part(own[at])},${part(own[at + size])},${part(own[at + 2 * size])})`;
}

function onScale(own, most) {
  const colours = SCALES.signed;
  const steps = colours.length / 3;
  return (at) => {
    if (typeof own[at] !== "number") return "#ff00c8";
    const place = Math.round(((own[at] / most + 1) / 2) * (steps - 1)) * 3;
    return `rgb(${colours[place]},${colours[place + 1]},${colours[place + 2]})`;
  };
}
