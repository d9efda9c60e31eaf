// The section of the pane that holds heat maps: which slice is seen, how it is coloured, and with two models both and
// what lies between them.

import { choice, fill, h } from "./dom.js";
import { HeatMap, View } from "./heatmap.js";
import { exact, number } from "./text.js";

const MODES = [["mean", "mean"], ["extreme", "largest |w|"], ["low", "least"], ["high", "greatest"]];

// The matrices as which a tensor can be seen, the best first: a kernel's filters side by side, else any two of its axes.
function planesOf(shape) {
  const axes = shape.map((_, axis) => axis);
  const found = [];
  if (axes.length === 1) return [{ name: "values", rows: [], columns: [0] }];
  if (axes.length === 4) found.push({ name: "all filters", rows: [0, 2], columns: [1, 3], grid: { down: shape[2], across: shape[3] } });
  if (axes.length === 3) found.push({ name: "all filters", rows: [0], columns: [1, 2], grid: { down: 1, across: shape[2] } });
  for (const row of axes) {
    for (const column of axes) {
      if (row >= column) continue;
      const fixed = axes.filter((axis) => axis !== row && axis !== column);
      found.push({ name: axes.length === 2 ? "rows and columns" : `dims ${row} and ${column}`, rows: [row], columns: [column], fixed });
    }
  }
  return found;
}

function product(shape, axes) {
  return axes.reduce((sum, axis) => sum * shape[axis], 1);
}

export function heatSection(models, source, side, at, other) {
  const { shape } = models[side].spec(at);
  const beside = other >= 0 ? models[1 - side].spec(other) : null;
  const both = Boolean(beside?.plain) && JSON.stringify(beside.shape) === JSON.stringify(shape);
  const planes = planesOf(shape);
  const state = { plane: planes[0], fixed: new Map(), mode: "mean" };
  const place = h("div", { class: "heats" });
  const indices = h("div", { class: "indices" });
  const legend = h("div", { class: "legend" });
  let maps = [];
  const draw = () => {
    const { plane } = state;
    const view = new View(product(shape, plane.rows), product(shape, plane.columns));
    const fixed = (plane.fixed ?? []).map((axis) => `${axis}:${state.fixed.get(axis) ?? 0}`).join(",");
    const common = { rows: plane.rows.join(","), columns: plane.columns.join(","), fixed };
    const made = (label, asked, options = {}) => {
      const map = new HeatMap(view, ({ top, left, bottom, right, height, width }) => source.tile({ ...common, ...asked, top, left, bottom, right, height, width }), { label, grid: plane.grid, place: (row, column) => placeText(shape, plane, state.fixed, row, column), ...options });
      map.mode = state.mode;
      return map;
    };
    maps = both ? pair(made, side, at, other) : [made("Heat map", { side, at })];
    maps[0].onrange = (range) => fill(legend, scaleOf(range));
    const titles = both ? ["A", "B", "B − A"] : [null];
    fill(place, maps.map((map, which) => h("div", { class: "one" }, titles[which] ? h("h4", {}, titles[which]) : null, map.element)));
    fill(indices, (plane.fixed ?? []).map((axis) => indexInput(axis, shape[axis], state.fixed, draw)));
  };
  draw();
  const section = h("section", { class: "looking" });
  const large = h("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => {
    const isLarge = section.classList.toggle("large");
    large.setAttribute("aria-pressed", String(isLarge));
    large.textContent = isLarge ? "Smaller" : "Larger";
  } }, "Larger");
  const zoom = (text, label, factor) => h("button", { type: "button", class: "quiet", "aria-label": label, onclick: () => {
    const [map] = maps;
    if (factor) map.view.zoom(factor, map.width / 2, map.height / 2, map.width, map.height);
    else map.view.fit(map.width, map.height);
  } }, text);
  section.addEventListener("keydown", (event) => { if (event.key === "Escape" && section.classList.contains("large")) large.click(); });
  section.append(
    h("h3", {}, "Heat map"),
    h("div", { class: "controls" },
      planes.length > 1 ? choice("Slice", planes.map((plane, which) => [String(which), plane.name]), "0", (which) => { state.plane = planes[which]; draw(); }) : null,
      choice("Pixel", MODES, "mean", (mode) => { state.mode = mode; for (const map of maps) { map.mode = mode; map.paint(); } }),
      h("div", { class: "segments" }, zoom("−", "Zoom out", 1 / 2), zoom("+", "Zoom in", 2), zoom("Whole", "Show the whole", 0)), large),
    indices, place, legend);
  return section;
}

// Both tensors on one scale, and the difference on one of its own; all show the same place.
function pair(made, side, at, other) {
  const [first, second] = side ? [other, at] : [at, other];
  const maps = [made("Heat map of A", { side: 0, at: first }), made("Heat map of B", { side: 1, at: second }), made("Heat map of B less A", { side: "difference", at: first, other: second })];
  const [a, b] = maps;
  b.begin = async () => {
    await a.begin();
    b.range = a.range;
    b.paint();
  };
  return maps;
}

function scaleOf(range) {
  const bar = h("span", { class: `bar ${range.scale}`, "aria-hidden": "true" });
  return [h("span", {}, number(range.low, 3)), bar, h("span", {}, number(range.high, 3)), h("span", { class: "entry" }, h("span", { class: "swatch nan", "aria-hidden": "true" }), "NaN"), h("span", { class: "entry" }, h("span", { class: "swatch infinite", "aria-hidden": "true" }), "infinite")];
}

function indexInput(axis, size, fixed, draw) {
  const input = h("input", { type: "number", min: "0", max: String(size - 1), value: String(fixed.get(axis) ?? 0), onchange: () => {
    fixed.set(axis, Math.min(size - 1, Math.max(0, Math.floor(Number(input.value) || 0))));
    draw();
  } });
  return h("label", { class: "choice" }, h("span", {}, `dim ${axis}, of ${exact(size)}`), input);
}

// "[3, :, 0, 12]" for a row and a column of a plane.
function placeText(shape, plane, fixed, row, column) {
  const index = new Map((plane.fixed ?? []).map((axis) => [axis, fixed.get(axis) ?? 0]));
  for (const [axes, place] of [[plane.rows, row], [plane.columns, column]]) {
    let rest = place;
    for (const axis of [...axes].reverse()) {
      index.set(axis, rest % shape[axis]);
      rest = Math.floor(rest / shape[axis]);
    }
  }
  return `[${shape.map((_, axis) => index.get(axis)).join(", ")}]`;
}
