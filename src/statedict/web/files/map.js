// The map: all tensors as areas, nested as the modules are; a treemap or an icicle. What is too small to be seen is not
// drawn, so that a hundred thousand tensors take no longer than a thousand.

import { eachFrame, fill, h } from "./dom.js";
import { Colouring } from "./colouring.js";
import { brief, nameText, shape, shortened, size } from "./text.js";
import { isLight } from "./palette.js";

const HEAD = 17;
const GAP = 2;
const LEAST = 3;
const SMALL = 6;
const BAND = 90;
const LEAST_BAND = 14;

export class TreeMap {
  // `select(at)` is called for what a person chooses, `needFigures()` where a colouring needs what is not read yet.
  constructor(model, select) {
    this.model = model;
    this.select = select;
    this.root = 0;
    this.chosen = 0;
    this.hovered = -1;
    this.measure = "nbytes";
    this.form = "treemap";
    this.colouring = new Colouring(model, "kind");
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.crumbs = h("nav", { class: "crumbs", "aria-label": "Where the map is" });
    this.status = h("output", { class: "status", "aria-live": "polite" });
    this.field = h("div", {
      class: "field",
      tabindex: "0",
      role: "application",
      "aria-label": "Map of the model: arrows go to what is beside, Enter goes in, Escape comes out",
      onkeydown: (event) => this.key(event),
      onmousemove: (event) => this.hover(event),
      onmouseleave: () => { this.hovered = -1; this.paint(); this.tell(); },
      onclick: (event) => this.click(event),
      ondblclick: (event) => this.enter(this.under(event)),
      onfocus: () => this.tell(),
    }, this.canvas);
    this.legend = h("div", { class: "legend", "aria-label": "What the colours say", role: "group" });
    this.element = h("div", { class: "map" }, this.crumbs, this.field, this.legend, this.status);
    this.paint = eachFrame(() => this.draw());
    new ResizeObserver(() => this.layOut()).observe(this.field);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    this.layOut();
  }

  // Choose what areas are, how they lie, what colours say.
  set(options) {
    Object.assign(this, options);
    if (options.colours) this.colouring = new Colouring(this.model, options.colours);
    this.layOut();
  }

  amount(at) {
    return this.measure === "nbytes" ? this.model.nbytes[at] : this.model.numel[at];
  }

  // Lay out what is in the module that is shown.
  layOut() {
    const box = this.field.getBoundingClientRect();
    this.width = Math.max(0, Math.floor(box.width));
    this.height = Math.max(0, Math.floor(box.height));
    this.boxes = [];
    if (this.width > 8 && this.height > 8) {
      if (this.form === "treemap") this.nest(this.root, 0, 0, this.width, this.height, 0);
      else this.tall = Math.min(BAND, Math.max(LEAST_BAND, this.height / this.levels(this.root)));
      if (this.form === "icicle") this.band(this.root, 0, this.width, 0);
    }
    this.drawCrumbs();
    this.drawLegend();
    this.paint();
  }

  nest(at, x, y, width, height, level) {
    const box = { at, x, y, width, height, level, leaf: this.model.isTensor(at) };
    this.boxes.push(box);
    const children = [...this.model.children(at)].filter((child) => this.amount(child) > 0);
    if (box.leaf || !children.length) return;
    const small = Math.min(width, height);
    if (small < SMALL || width * height < children.length) {
      box.leaf = true; // drawn as one: in the colour of the largest tensor in it
      box.stands = this.largest(at);
      return;
    }
    const named = level > 0 && height > HEAD + 8 && width > 34;
    box.named = named;
    const edge = level && small > 22 ? GAP : 0;
    const inner = { x: x + edge, y: y + (named ? HEAD : edge), width: width - 2 * edge, height: height - edge - (named ? HEAD : edge) };
    if (inner.width < LEAST || inner.height < LEAST) return;
    children.sort((a, b) => this.amount(b) - this.amount(a));
    for (const [child, cx, cy, w, hgt] of squarified(children, (each) => this.amount(each), inner)) {
      if (w * hgt < 2 || w < 0.7 || hgt < 0.7) continue;
      this.nest(child, cx, cy, w, hgt, level + 1);
    }
  }

  // The largest tensor in a module.
  largest(at) {
    let found = at;
    while (!this.model.isTensor(found)) {
      let most = -1;
      for (const child of this.model.children(found)) if (most < 0 || this.amount(child) > this.amount(most)) most = child;
      if (most < 0) break;
      found = most;
    }
    return found;
  }

  // How many levels there are below a module.
  levels(at) {
    let most = 0;
    for (let each = at; each < this.model.end[at]; each += 1) most = Math.max(most, this.model.depth[each]);
    return most - this.model.depth[at] + 1;
  }

  band(at, x, width, level) {
    const height = this.tall;
    this.boxes.push({ at, x, y: level * height, width, height, level, leaf: this.model.isTensor(at), named: width > 24 });
    if ((level + 1) * height > this.height) return;
    const total = this.amount(at);
    let left = x;
    for (const child of this.model.children(at)) {
      const share = total ? (this.amount(child) / total) * width : 0;
      if (share >= 0.5) this.band(child, left, share, level + 1);
      left += share;
    }
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const { canvas, width, height } = this;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const style = getComputedStyle(this.element);
    const paper = canvas.getContext("2d");
    const look = { ink: style.getPropertyValue("--ink"), ground: style.getPropertyValue("--ground"), panel: style.getPropertyValue("--panel"), line: style.getPropertyValue("--line") };
    paper.scale(ratio, ratio);
    paper.clearRect(0, 0, width, height);
    paper.font = '11px ui-monospace, "SF Mono", Menlo, Consolas, monospace';
    paper.textBaseline = "middle";
    for (const box of this.boxes) this.drawBox(paper, box, look);
    for (const [at, ink, thick] of [[this.hovered, look.ink, 1.5], [this.chosen, look.ink, 2.5]]) {
      const box = this.boxes.find((each) => each.at === at);
      if (!box || box.level === 0) continue;
      paper.strokeStyle = ink;
      paper.lineWidth = thick;
      paper.strokeRect(box.x + 1, box.y + 1, Math.max(1, box.width - 2), Math.max(1, box.height - 2));
    }
  }

  drawBox(paper, box, look) {
    const { at, x, y, width, height } = box;
    const flat = this.form === "icicle";
    const coloured = box.leaf || flat;
    const colour = coloured ? this.colouring.of(box.stands ?? at) : box.level % 2 ? look.panel : look.ground;
    paper.fillStyle = colour;
    const gap = coloured && width > 4 && height > 4 ? 0.5 : 0;
    paper.fillRect(x + gap, y + gap, width - 2 * gap, height - 2 * gap);
    if (!coloured && box.level) {
      paper.strokeStyle = look.line;
      paper.lineWidth = 1;
      paper.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    }
    const room = Math.floor((width - 8) / 6.7);
    if (room < 5 || (coloured ? height < 14 : !box.named)) return;
    paper.fillStyle = coloured ? (isLight(colour) ? "#14181c" : "#ffffff") : look.ink;
    const text = shortened(nameText(this.model.labelOf(at) || this.model.title), room);
    paper.fillText(text, x + 5, coloured ? y + Math.min(height / 2, 11) : y + HEAD / 2 + 1);
    const spec = this.model.spec(at);
    if (coloured && spec && height > 32 && room > 8) {
      paper.globalAlpha = 0.85;
      paper.fillText(shortened(shape(spec.shape), room), x + 5, y + 25);
      paper.globalAlpha = 1;
    }
  }

  drawCrumbs() {
    const path = [...this.model.path(this.root), this.root];
    const crumbs = path.map((at, place) => h("button", {
      type: "button",
      class: "crumb",
      "aria-current": place === path.length - 1 ? "location" : undefined,
      onclick: () => this.zoom(at),
    }, shortened(nameText(at ? this.model.labelOf(at) : this.model.title), 40)));
    fill(this.crumbs, crumbs);
  }

  drawLegend() {
    fill(this.legend, this.colouring.legend());
  }

  // Show another module whole.
  zoom(at) {
    if (this.model.isTensor(at) || at < 0) return;
    this.root = at;
    this.chosen = at;
    this.layOut();
    this.tell();
  }

  enter(at) {
    if (at < 0) return;
    if (!this.model.isTensor(at)) this.zoom(at === this.root && this.root ? this.model.parent[at] : at);
    else if (this.model.parent[at] !== this.root) this.zoom(this.model.parent[at]);
  }

  // Mark what was chosen elsewhere, and come out as far as it is to be seen.
  mark(at) {
    this.chosen = at;
    const within = at >= this.root && at < this.model.end[this.root];
    if (!within) {
      this.root = 0;
      this.layOut();
    }
    this.paint();
    this.tell();
  }

  under(event) {
    const box = this.field.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let found = -1;
    for (const each of this.boxes) {
      if (each.x <= x && x < each.x + each.width && each.y <= y && y < each.y + each.height) found = each.at;
    }
    return found;
  }

  hover(event) {
    const at = this.under(event);
    if (at === this.hovered) return;
    this.hovered = at;
    this.paint();
    this.tell();
  }

  click(event) {
    const at = this.under(event);
    if (at < 0) return;
    this.chosen = at;
    this.select(at);
    this.paint();
  }

  tell() {
    const { model } = this;
    const at = this.hovered >= 0 ? this.hovered : this.chosen;
    const name = shortened(nameText(model.name(at) || model.title), 90);
    const spec = model.spec(at);
    const kind = model.owner(at);
    const share = model.nbytes[0] ? (100 * model.nbytes[at]) / model.nbytes[0] : 0;
    const facts = [
      kind && nameText(kind),
      spec ? `${shape(spec.shape)} ${spec.dtype}` : `${brief(model.numel[at])} values`,
      `${size(model.nbytes[at])}${share ? `, ${share < 0.1 ? "<0.1" : share.toFixed(1)} %` : ""}`,
      this.colouring.said(at),
    ];
    fill(this.status, h("b", {}, h("bdi", {}, name)), " ", facts.filter(Boolean).join(" · "));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { model } = this;
    const at = this.chosen;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) {
      const beside = at === this.root ? [...model.children(this.root)] : [...model.children(model.parent[at])];
      const place = beside.indexOf(at);
      const to = beside[Math.min(beside.length - 1, Math.max(0, place + (place < 0 ? 1 : step)))];
      if (to !== undefined) this.choose(to);
    } else if (event.key === "Enter" || event.key === "+") {
      if (at === this.root || model.isTensor(at)) {
        const [first] = model.children(at);
        if (first !== undefined) this.choose(first);
      } else this.zoom(at);
    } else if (event.key === "Escape" || event.key === "Backspace" || event.key === "-") {
      const out = model.parent[this.root];
      if (out >= 0) {
        const was = this.root;
        this.zoom(out);
        this.choose(was);
      }
    } else return;
    event.preventDefault();
  }

  choose(at) {
    this.chosen = at;
    this.select(at);
    this.paint();
    this.tell();
  }
}

// Squarified treemaps (Bruls, Huizing and van Wijk 2000): areas in descending order, as square as they can be.
function* squarified(items, amount, { x, y, width, height }) {
  const total = items.reduce((sum, each) => sum + amount(each), 0);
  const scale = (width * height) / total;
  let start = 0;
  while (start < items.length && width > 0 && height > 0) {
    const side = Math.min(width, height);
    let sum = 0;
    let end = start;
    let worst = Infinity;
    while (end < items.length) {
      const next = sum + amount(items[end]) * scale;
      const least = amount(items[end]) * scale;
      const most = amount(items[start]) * scale;
      const ratio = Math.max((side * side * most) / (next * next), (next * next) / (side * side * least));
      if (ratio > worst) break;
      [worst, sum] = [ratio, next];
      end += 1;
    }
    const thick = sum / side;
    let along = 0;
    for (let at = start; at < end; at += 1) {
      const long = (amount(items[at]) * scale) / thick;
      yield width >= height ? [items[at], x, y + along, thick, long] : [items[at], x + along, y, long, thick];
      along += long;
    }
    if (width >= height) [x, width] = [x + thick, width - thick];
    else [y, height] = [y + thick, height - thick];
    start = end;
  }
}
