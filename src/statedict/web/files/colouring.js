// What colours on the map say: kinds and types as categories; figures and changes on a scale, once they are known.

import { h } from "./dom.js";
import { categories, colour } from "./palette.js";
import { nameText, number, percent, shortened } from "./text.js";

const UNKNOWN = "#a7adb3";
const MOST = 11;
const OF_FIGURES = {
  zeros: { title: "share of zeros", scale: "amount", low: () => 0, high: () => 1, text: percent },
  rms: { title: "root mean square", scale: "amount", log: true, text: number },
  max: { title: "largest magnitude", scale: "amount", log: true, text: number },
  nan: { title: "NaN or infinite", scale: "amount", low: () => 0, high: () => 1, text: (value) => (value ? "NaN or infinite" : "all finite") },
};
const CHANGE = { title: "relative change (L2)", scale: "amount", log: true, floor: 1e-6, text: (value) => (value ? number(value, 3) : "unchanged") };

// [key, title] of all that colours can say; `change` with two models alone.
export function choices(hasTwo) {
  const found = [["kind", "kind"], ["dtype", "element type"], ["role", "role"], ["rms", "root mean square"], ["max", "largest magnitude"], ["zeros", "sparsity"], ["nan", "NaN and infinities"]];
  return hasTwo ? [...found, ["change", "change"]] : found;
}

export class Colouring {
  constructor(model, by) {
    this.model = model;
    this.by = by;
    this.scale = by === "change" ? CHANGE : OF_FIGURES[by];
    if (this.scale) this.measure();
    else this.sort();
  }

  // Whether it says what has to be read first, and was not yet.
  get isUnknown() {
    return Boolean(this.scale) && !this.values?.size;
  }

  category(at) {
    const { model } = this;
    if (this.by === "dtype") return model.spec(at)?.dtype ?? "";
    if (this.by === "role") return model.roleOf(at);
    return model.owner(at);
  }

  // Categories, those of most bytes first; what is rare shares a colour.
  sort() {
    const { model } = this;
    const held = new Map();
    for (let at = 0; at < model.count; at += 1) {
      if (!model.isTensor(at)) continue;
      const key = this.category(at);
      held.set(key, (held.get(key) ?? 0) + model.nbytes[at]);
    }
    this.order = [...held].sort((a, b) => b[1] - a[1]).map(([key]) => key);
    const known = this.order.filter((key) => key !== "").slice(0, MOST);
    this.colours = categories(known);
  }

  measure() {
    const { model } = this;
    const held = this.by === "change" ? model.changes : model.figures;
    this.values = new Map();
    if (!held) return;
    if (this.by === "change") for (const [at, , moved] of held) this.values.set(at, moved ?? Infinity);
    else held.at.forEach((at, place) => this.values.set(at, this.figure(held, place)));
    const known = [...this.values.values()].filter((value) => Number.isFinite(value) && (!this.scale.log || value > 0));
    known.sort((a, b) => a - b);
    const cut = (share) => known[Math.min(known.length - 1, Math.floor(share * known.length))];
    this.low = this.scale.low?.() ?? Math.max(this.scale.floor ?? 0, known.length ? cut(0.01) : 0);
    this.high = this.scale.high?.() ?? (known.length ? cut(0.99) : 1);
  }

  figure(held, place) {
    if (this.by === "nan") return (held.nan[place] || 0) + (held.infinite[place] || 0) > 0 ? 1 : 0;
    if (this.by === "max") return Math.max(Math.abs(held.min[place] ?? 0), Math.abs(held.max[place] ?? 0));
    const value = held[this.by][place];
    return typeof value === "number" ? value : NaN;
  }

  of(at) {
    if (!this.scale) {
      if (!this.model.isTensor(at) && this.by !== "kind") return UNKNOWN;
      return this.colours.get(this.category(at)) ?? UNKNOWN;
    }
    const first = this.model.same.get(at) ?? at;
    const value = this.values.get(first);
    if (value === undefined || Number.isNaN(value)) return UNKNOWN;
    return colour(this.scale.scale, this.share(value));
  }

  share(value) {
    if (value === Infinity) return 1;
    if (!this.scale.log) return this.high > this.low ? (value - this.low) / (this.high - this.low) : 0;
    if (value <= 0) return 0;
    const [low, high] = [Math.log(this.low || 1e-12), Math.log(this.high)];
    return high > low ? 0.04 + (0.96 * (Math.log(value) - low)) / (high - low) : 0.5;
  }

  // What the colour of one tensor says, in words; nothing where that is said anyway.
  said(at) {
    if (!this.scale || !this.values.size) return "";
    const value = this.values.get(this.model.same.get(at) ?? at);
    if (value === undefined) return "";
    return `${this.scale.title} ${value === Infinity ? "not to be compared" : this.scale.text(value)}`;
  }

  legend() {
    if (!this.scale) {
      const named = [...this.colours].map(([key, colour]) => entry(colour, shortened(nameText(key), 30)));
      const others = this.order.length > this.colours.size;
      return [...named, others ? entry(UNKNOWN, this.by === "kind" ? "other or unknown" : "other") : null];
    }
    if (!this.values.size) return [h("span", { class: "entry" }, "Not read yet")];
    if (this.by === "nan") return [entry(colour("amount", 0), "all finite"), entry(colour("amount", 1), "NaN or infinite")];
    const bar = h("span", { class: "bar", role: "img", "aria-label": `from ${this.scale.text(this.low)} to ${this.scale.text(this.high)}` });
    bar.style.background = `linear-gradient(to right, ${Array.from({ length: 9 }, (_, at) => colour(this.scale.scale, at / 8)).join(", ")})`;
    return [h("span", {}, this.scale.title), h("span", {}, this.by === "change" ? "unchanged" : this.scale.text(this.low)), bar, h("span", {}, this.scale.text(this.high)), entry(UNKNOWN, "not known")];
  }
}

function entry(colour, text) {
  const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = colour;
  return h("span", { class: "entry" }, swatch, text);
}
