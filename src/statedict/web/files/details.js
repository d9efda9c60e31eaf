// The pane at the right: everything about one tensor or module.

import { bars, facts, line } from "./charts.js";
import { command, failure, fill, h } from "./dom.js";
import { filterSection } from "./filters.js";
import { heatSection } from "./looking.js";
import { counted, exact, nameText, number, percent, quoted, shape, shortened, size } from "./text.js";

const AT_ONCE = 64 * 2 ** 20;
const LONGEST = 600;
const SHOWN = ["min", "max", "mean", "std", "l1", "l2", "zeros", "nan", "posinf", "neginf", "denormals"];
const TITLES = { l1: "L1 norm", l2: "L2 norm", nan: "NaN", posinf: "+inf", neginf: "−inf", zeros: "zeros" };

export class Details {
  // `models` are those of the page, `source` answers, `other(side, at)` says what stands for it on the other side.
  constructor(models, source, { other = () => -1, select }) {
    Object.assign(this, { models, source, other, select });
    this.body = h("div", { class: "details-body" });
    this.element = h("section", { class: "details", "aria-label": "Details", tabindex: "-1" }, this.body);
    this.turn = 0;
  }

  async show(side, at) {
    this.turn += 1;
    const turn = this.turn;
    const model = this.models[side];
    const sections = h("div", { class: "sections" });
    fill(this.body, this.heading(side, at), sections);
    this.element.scrollTop = 0;
    const still = () => turn === this.turn;
    if (model.isTensor(at)) this.tensor(sections, side, at, still);
    else this.module(sections, side, at, still);
  }

  heading(side, at) {
    const model = this.models[side];
    const name = model.name(at);
    const what = model.isTensor(at) ? `${model.roleOf(at)}${model.owner(at) ? ` of a ${nameText(model.owner(at))}` : ""}` : nameText(model.kind(at) || "module");
    const path = model.path(at).filter((above) => above > 0);
    const crumbs = path.map((above) => [h("button", { type: "button", class: "crumb", onclick: () => this.select(side, above) }, shortened(nameText(model.labelOf(above)), 40)), "."]);
    return h("header", {},
      h("p", { class: "eyebrow" }, this.models.length > 1 ? h("span", { class: `side side-${side}` }, side ? "B" : "A") : null, shortened(what, 80)),
      h("h2", { title: shortened(nameText(name), LONGEST) }, crumbs, h("bdi", { class: "last" }, shortened(at ? nameText(model.labelOf(at)) : nameText(model.title), LONGEST))));
  }

  async facts(section, side, at, still) {
    if (!this.source.live) return;
    try {
      const found = await this.source.facts(side, at);
      if (!still()) return;
      section.append(facts(found.facts));
      if (found.attributes?.length) section.append(h("h3", {}, "Attributes"), facts(found.attributes));
    } catch (error) {
      section.append(failure(error));
    }
  }

  module(sections, side, at, still) {
    const model = this.models[side];
    const about = h("section", {});
    sections.append(about);
    if (!this.source.live) {
      about.append(facts([["values", exact(model.numel[at])], ["bytes", size(model.nbytes[at])], ["tensors", exact(model.tensors[at])]]));
    }
    this.facts(about, side, at, still);
    const held = [...model.children(at)];
    if (held.length) {
      const rows = held.slice(0, 60).map((child) => h("li", {}, h("button", { type: "button", class: "link", onclick: () => this.select(side, child) }, h("bdi", {}, shortened(nameText(model.labelOf(child)), 60))), h("span", { class: "facts-line" }, model.isTensor(child) ? `${shape(model.spec(child).shape)} ${model.spec(child).dtype}` : `${shortened(model.kind(child), 40)} ${size(model.nbytes[child])}`)));
      const more = held.length > rows.length ? h("li", { class: "quiet-text" }, `and ${exact(held.length - rows.length)} more, in the tree`) : null;
      sections.append(h("section", {}, h("h3", {}, "In it"), h("ul", { class: "inside" }, rows, more)));
    }
    const file = quoted(model.head.file);
    const name = model.name(at);
    const pattern = name ? ` ${quoted(`${name}.**`)}` : "";
    sections.append(commands([`statedict tree ${file}${pattern}`, `statedict ls ${file}${pattern}`, `statedict stats ${file}${pattern} --modules`, `statedict check ${file}${pattern}`]));
    if (!at) this.whole(sections, model);
  }

  whole(sections, model) {
    const kept = Object.entries(model.head.metadata);
    if (kept.length) sections.append(h("section", {}, h("h3", {}, "Metadata"), facts(kept.map(([key, value]) => [nameText(key), shortened(nameText(value), LONGEST)]))));
  }

  tensor(sections, side, at, still) {
    const model = this.models[side];
    const spec = model.spec(at);
    const about = h("section", {});
    sections.append(about);
    if (!this.source.live) about.append(facts([["dtype", spec.dtype], ["shape", shape(spec.shape)], ["values", exact(spec.numel)], ["bytes", size(spec.nbytes)]]));
    this.facts(about, side, at, still);
    const same = model.same.get(at);
    if (same !== undefined) about.append(h("p", {}, "Tied to ", h("button", { type: "button", class: "link", onclick: () => this.select(side, same) }, h("bdi", {}, shortened(nameText(model.name(same)), 100)))));
    if (spec.numel && (spec.plain || !this.source.live)) {
      sections.append(this.numbers(side, at, still));
      if (this.source.live && isKernel(model, at)) sections.append(filterSection(model, this.source, side, at));
      if (this.source.live && spec.shape.length) sections.append(heatSection(this.models, this.source, side, at, this.other(side, at)));
      if (this.source.live && spec.shape.length > 1) sections.append(this.rowSection(side, at, still), this.spectrumSection(side, at, still));
    }
    const file = quoted(model.head.file);
    const name = quoted(model.name(at));
    sections.append(commands([`statedict show ${file} ${name}`, `statedict stats ${file} ${name} --histogram`]));
  }

  numbers(side, at, still) {
    const { nbytes } = this.models[side].spec(at);
    const section = h("section", { class: "numbers" }, h("h3", {}, "Numbers"));
    const read = async () => {
      const note = h("p", { class: "quiet-text", role: "status" }, nbytes > AT_ONCE ? `Reading ${size(nbytes)} …` : "Reading …");
      section.append(note);
      try {
        const found = await this.source.statistics(side, at);
        if (!still()) return;
        note.remove();
        section.append(...statistics(found));
      } catch (error) {
        note.replaceWith(failure(error));
      }
    };
    if (nbytes <= AT_ONCE || !this.source.live) read();
    else section.append(asking(`Read ${size(nbytes)} and count`, read));
    return section;
  }

  rowSection(side, at, still) {
    const model = this.models[side];
    const { shape: sizes } = model.spec(at);
    const result = h("div", {});
    const input = h("input", { type: "number", min: "0", max: String(sizes[0] - 1), value: "0", "aria-label": `Index from 0 to ${sizes[0] - 1}` });
    const isEmbedding = model.owner(at).startsWith("Embedding");
    const show = async () => {
      const index = Math.min(sizes[0] - 1, Math.max(0, Math.floor(Number(input.value) || 0)));
      try {
        const found = await this.source.row(side, at, index);
        if (!still()) return;
        fill(result, line({ values: found.values, label: `Row ${index}` }), h("p", { class: "quiet-text" }, `row ${exact(index)}: L2 norm ${number(found.norm)}${found.whole ? "" : ", its beginning"}`));
      } catch (error) {
        fill(result, failure(error));
      }
    };
    input.addEventListener("change", show);
    return h("details", { class: "section", ontoggle: (event) => { if (event.target.open && !result.childElementCount) show(); } },
      h("summary", {}, h("h3", {}, isEmbedding ? "Embedding by index" : "Row by index")),
      h("div", { class: "asked" }, h("label", { class: "choice" }, h("span", {}, `Row of ${exact(sizes[0])}`), input), h("button", { type: "button", onclick: show }, "Show")), result);
  }

  spectrumSection(side, at, still) {
    const result = h("div", {});
    const show = async () => {
      fill(result, h("p", { class: "quiet-text", role: "status" }, "Computing …"));
      try {
        const found = await this.source.spectrum(side, at);
        if (!still()) return;
        if (found.error) throw new Error(found.error);
        const about = found.exact ? "" : "about ";
        fill(result, line({ values: found.values, label: "Singular values", log: true }),
          facts([["as a matrix", shape(found.shape)], ["largest", number(found.norm)], ["stable rank", number(found.stable_rank)], ["effective rank", about + number(found.effective_rank)], ["shown", counted(found.values.length, "value")]]));
      } catch (error) {
        fill(result, failure(error));
      }
    };
    return h("details", { class: "section" }, h("summary", {}, h("h3", {}, "Singular values")), h("div", { class: "asked" }, h("button", { type: "button", onclick: show }, "Compute"), h("span", { class: "quiet-text" }, "reads the matrix up to 40 times")), result);
  }
}

// Histograms and figures, as the server or the report has them.
export function statistics(found) {
  if (found.error) return [h("p", { class: "quiet-text" }, found.error)];
  const { figures } = found;
  const parts = [];
  if (found.histogram) parts.push(histogram(found));
  const rows = SHOWN.filter((key) => figures[key] !== undefined && figures[key] !== null && (figures[key] || !["nan", "posinf", "neginf", "denormals"].includes(key)))
    .map((key) => [TITLES[key] ?? key, key === "zeros" ? `${exact(figures.zeros)} (${percent(figures.sparsity)})` : ["nan", "posinf", "neginf", "denormals"].includes(key) ? exact(figures[key]) : number(figures[key], 6)]);
  if (figures.distinct) rows.push(["distinct", exact(figures.distinct)]);
  for (const [share, value] of Object.entries(figures.quantiles ?? {})) rows.push([Number(share) === 0.5 ? "median" : `${Math.round(share * 100)} % quantile`, number(value, 6)]);
  parts.push(facts(rows));
  return parts;
}

function histogram(found) {
  const chart = h("div", { class: "chart" });
  const state = { by: "histogram", log: false };
  const draw = () => {
    const of = found[state.by];
    const asPower = (tenths) => `1e${Number((tenths / 10).toFixed(1))}`;
    const ends = state.by === "histogram" ? { low: of.low, high: of.high, text: number } : { low: of.first, high: of.first + of.counts.length, text: asPower };
    fill(chart, bars({ counts: of.counts, ...ends, log: state.log, label: state.by === "histogram" ? "Histogram" : "Magnitudes" }));
  };
  const button = (text, key) => h("button", { type: "button", class: "segment", "aria-pressed": String(state.by === key), onclick: (event) => {
    state.by = key;
    for (const each of event.target.parentElement.children) each.setAttribute("aria-pressed", String(each === event.target));
    draw();
  } }, text);
  const log = h("input", { type: "checkbox", onchange: () => { state.log = log.checked; draw(); } });
  draw();
  return h("figure", { class: "histogram" },
    h("div", { class: "controls" }, h("div", { class: "segments", role: "group", "aria-label": "Axis" }, button("linear", "histogram"), found.magnitudes ? button("log |w|", "magnitudes") : null), h("label", { class: "check" }, log, "log counts")),
    chart,
    h("figcaption", { class: "quiet-text" }, found.exact ? "Exact: every pattern of bits was counted." : "By the first 16 bits of each number."));
}

// Whether a tensor is a convolution's kernel of small pictures.
function isKernel(model, at) {
  const { shape: sizes } = model.spec(at);
  return sizes.length === 4 && sizes[2] > 1 && sizes[3] > 1 && sizes[2] <= 64 && sizes[3] <= 64 && /Conv/.test(model.owner(at));
}

// A button for what takes long, gone once it is pressed.
function asking(text, act) {
  const button = h("button", { type: "button", onclick: () => { button.remove(); act(); } }, text);
  return button;
}

export function commands(lines) {
  return h("section", { class: "commands" }, h("h3", {}, "In a terminal"), lines.map(command));
}
