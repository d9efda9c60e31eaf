// A heat map of any matrix at any zoom, from the whole down to single values. The server draws tiles from the rows that
// they need; colours are put on here, so that another scale asks for nothing.

import { eachFrame, h } from "./dom.js";
import { isLight, SCALES, UNUSUAL } from "./palette.js";
import { exact, number } from "./text.js";

const TILE = 256;
const MOST_TILES = 160;
const AT_ONCE = 4;
const CELL = { width: 44, height: 16 };

// What is looked at: of several maps that share it, each shows the same place.
export class View {
  constructor(rows, columns) {
    this.rows = rows;
    this.columns = columns;
    this.maps = new Set();
    this.fitted = true;
    Object.assign(this, { x: 0, y: 0, across: 1, down: 1 });
  }

  // The whole matrix in a field of that size, each side by itself.
  fit(width, height) {
    Object.assign(this, { x: 0, y: 0, across: width / this.columns, down: height / this.rows, fitted: true });
    this.changed();
  }

  // Zoom around a place in the field.
  zoom(factor, px, py, width, height) {
    const [column, row] = [this.x + px / this.across, this.y + py / this.down];
    const least = { across: Math.min(width / this.columns, 8), down: Math.min(height / this.rows, 8) };
    let across = Math.max(least.across, Math.min(140, this.across * factor));
    let down = Math.max(least.down, Math.min(60, this.down * factor));
    if (factor > 1 && (across >= 1 || down >= 1)) { // cells become square on the way in
      if (across > down * 2.4) across = Math.max(this.across, Math.min(across, down * 2.4));
      else if (down > across) down = Math.max(this.down, Math.min(down, across));
    }
    Object.assign(this, { across, down, x: column - px / across, y: row - py / down, fitted: false });
    this.within(width, height);
    this.changed();
  }

  move(dx, dy, width, height) {
    this.x -= dx / this.across;
    this.y -= dy / this.down;
    this.fitted = false;
    this.within(width, height);
    this.changed();
  }

  within(width, height) {
    const room = { x: this.columns - width / this.across, y: this.rows - height / this.down };
    this.x = room.x < 0 ? room.x / 2 : Math.min(room.x, Math.max(0, this.x));
    this.y = room.y < 0 ? room.y / 2 : Math.min(room.y, Math.max(0, this.y));
  }

  changed() {
    for (const map of this.maps) map.paint();
  }
}

export class HeatMap {
  // `ask(window)` promises a tile: {rows, columns, planes: [mean, low, high], unusual, seen, total}.
  constructor(view, ask, { label, grid = null, place, scale = null }) {
    Object.assign(this, { view, ask, grid, place });
    this.tiles = new Map();
    this.waiting = [];
    this.busy = 0;
    this.mode = "mean";
    this.range = scale;
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.status = h("output", { class: "status", "aria-live": "polite" }, "");
    this.field = h("div", {
      class: "heat",
      tabindex: "0",
      role: "application",
      "aria-label": `${label}: arrows move, plus and minus zoom, 0 shows the whole`,
      onkeydown: (event) => this.key(event),
      onpointerdown: (event) => this.grab(event),
      onpointermove: (event) => this.hover(event),
      ondblclick: (event) => this.zoomAt(2.5, event),
    }, this.canvas);
    this.field.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomAt(Math.exp(-event.deltaY * 0.002), event);
    }, { passive: false });
    this.element = h("figure", { class: "heatmap" }, this.field, this.status);
    this.paint = eachFrame(() => this.draw());
    view.maps.add(this);
    new ResizeObserver(() => this.resized()).observe(this.field);
  }

  resized() {
    const box = this.field.getBoundingClientRect();
    [this.width, this.height] = [Math.floor(box.width), Math.floor(box.height)];
    if (!this.width || !this.height) return;
    if (this.view.fitted) this.view.fit(this.width, this.height);
    else this.paint();
  }

  // Tiles are of 256 pixels, each of which stands for 2 ** level elements.
  levels() {
    const level = (scale) => Math.max(0, Math.floor(-Math.log2(Math.max(scale, 1e-12)) + 0.001));
    return { across: level(this.view.across), down: level(this.view.down) };
  }

  *inSight() {
    const { view, width, height } = this;
    const { across, down } = this.levels();
    const [wide, high] = [TILE * 2 ** across, TILE * 2 ** down];
    const bottom = Math.min(view.rows, view.y + height / view.down);
    const right = Math.min(view.columns, view.x + width / view.across);
    for (let top = Math.floor(Math.max(0, view.y) / high) * high; top < bottom; top += high) {
      for (let left = Math.floor(Math.max(0, view.x) / wide) * wide; left < right; left += wide) {
        yield { top, left, bottom: Math.min(view.rows, top + high), right: Math.min(view.columns, left + wide), across, down };
      }
    }
  }

  draw() {
    const { canvas, width, height } = this;
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const paper = canvas.getContext("2d");
    paper.scale(ratio, ratio);
    paper.imageSmoothingEnabled = false;
    this.waiting = [];
    const wanted = [...this.inSight()];
    for (const [, tile] of this.tiles) if (tile.image && wanted.every((w) => keyOf(w) !== tile.key) && this.overlaps(tile)) this.drawTile(paper, tile);
    for (const window of wanted) {
      const tile = this.tiles.get(keyOf(window));
      if (tile?.planes) this.drawTile(paper, tile);
      else if (!tile) this.waiting.push(window);
    }
    this.drawGrid(paper);
    this.drawNumbers(paper, wanted);
    this.request();
    if (this.told) this.tell(...this.told);
  }

  overlaps({ top, left, bottom, right }) {
    const { view } = this;
    return bottom > view.y && right > view.x && top < view.y + this.height / view.down && left < view.x + this.width / view.across;
  }

  // The range of colours, from a small picture of the whole: the same whatever part is seen first.
  begin() {
    const { rows, columns } = this.view;
    this.beginning ??= this.ask({ top: 0, left: 0, bottom: rows, right: columns, height: TILE / 2, width: TILE / 2 })
      .then((found) => {
        this.range = rangeOf(found);
        this.onrange?.(this.range);
      }, (error) => {
        this.status.textContent = error.message;
        this.range = { scale: "signed", low: -1, high: 1 };
      })
      .finally(() => this.paint());
    return this.beginning;
  }

  request() {
    if (!this.range) {
      this.field.dataset.loaded = "false";
      this.begin();
      return;
    }
    while (this.busy < AT_ONCE && this.waiting.length) {
      const window = this.waiting.shift();
      const key = keyOf(window);
      const tile = { ...window, key };
      this.tiles.set(key, tile);
      this.busy += 1;
      this.ask({ ...window, height: Math.ceil((window.bottom - window.top) / 2 ** window.down), width: Math.ceil((window.right - window.left) / 2 ** window.across) })
        .then((found) => {
          Object.assign(tile, found);
        })
        .catch((error) => {
          tile.error = error.message;
          this.status.textContent = error.message;
        })
        .finally(() => {
          this.busy -= 1;
          for (const old of [...this.tiles.keys()].slice(0, Math.max(0, this.tiles.size - MOST_TILES))) this.tiles.delete(old);
          this.field.dataset.loaded = String(this.busy === 0 && !this.waiting.length);
          this.paint();
        });
    }
    this.field.dataset.loaded = String(this.busy === 0 && !this.waiting.length);
  }

  drawTile(paper, tile) {
    if (!tile.planes) return;
    const look = `${this.mode} ${JSON.stringify(this.range)}`;
    if (tile.look !== look) {
      tile.image = this.painted(tile);
      tile.look = look;
    }
    const { view } = this;
    const [x, y] = [(tile.left - view.x) * view.across, (tile.top - view.y) * view.down];
    paper.drawImage(tile.image, x, y, (tile.right - tile.left) * view.across, (tile.bottom - tile.top) * view.down);
  }

  value(tile, at) {
    const [mean, low, high] = tile.planes;
    if (this.mode === "extreme") return Math.abs(low[at]) > Math.abs(high[at]) ? low[at] : high[at];
    return { mean, low, high }[this.mode][at];
  }

  painted(tile) {
    const image = new ImageData(tile.columns, tile.rows);
    const { data } = image;
    for (let at = 0; at < tile.rows * tile.columns; at += 1) {
      const [r, g, b] = this.colour(this.value(tile, at), tile.unusual[at]);
      data.set([r, g, b, 255], at * 4);
    }
    const canvas = document.createElement("canvas");
    canvas.width = tile.columns;
    canvas.height = tile.rows;
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  colour(value, unusual) {
    if (unusual) return [1, 3, 5].map((at) => parseInt(UNUSUAL[unusual].slice(at, at + 2), 16));
    if (Number.isNaN(value)) return [128, 128, 128];
    const { scale, low, high } = this.range ?? { scale: "signed", low: -1, high: 1 };
    const colours = SCALES[scale];
    const steps = colours.length / 3;
    const share = high > low ? (value - low) / (high - low) : 0.5;
    const at = Math.round(Math.min(1, Math.max(0, share)) * (steps - 1)) * 3;
    return [colours[at], colours[at + 1], colours[at + 2]];
  }

  // Lines between filters.
  drawGrid(paper) {
    const { view, grid, width, height } = this;
    if (!grid || grid.down * view.down < 10 || grid.across * view.across < 10) return;
    paper.strokeStyle = getComputedStyle(this.element).getPropertyValue("--ground");
    paper.lineWidth = Math.min(3, Math.max(1, grid.across * view.across * 0.06));
    paper.beginPath();
    for (let row = Math.ceil(view.y / grid.down) * grid.down; row < view.y + height / view.down; row += grid.down) {
      const y = (row - view.y) * view.down;
      paper.moveTo(0, y);
      paper.lineTo(width, y);
    }
    for (let column = Math.ceil(view.x / grid.across) * grid.across; column < view.x + width / view.across; column += grid.across) {
      const x = (column - view.x) * view.across;
      paper.moveTo(x, 0);
      paper.lineTo(x, height);
    }
    paper.stroke();
  }

  drawNumbers(paper, wanted) {
    const { view } = this;
    if (view.across < CELL.width || view.down < CELL.height) return;
    paper.font = "11px ui-monospace, Menlo, Consolas, monospace";
    paper.textAlign = "center";
    paper.textBaseline = "middle";
    for (const window of wanted) {
      const tile = this.tiles.get(keyOf(window));
      if (!tile?.planes) continue;
      const first = { row: Math.max(0, Math.floor(view.y) - tile.top), column: Math.max(0, Math.floor(view.x) - tile.left) };
      const last = { row: Math.min(tile.rows, Math.ceil(view.y + this.height / view.down) - tile.top), column: Math.min(tile.columns, Math.ceil(view.x + this.width / view.across) - tile.left) };
      for (let row = first.row; row < last.row; row += 1) {
        for (let column = first.column; column < last.column; column += 1) {
          const at = row * tile.columns + column;
          const [r, g, b] = this.colour(this.value(tile, at), tile.unusual[at]);
          paper.fillStyle = isLight(`rgb(${r},${g},${b})`) ? "#101418" : "#ffffff";
          paper.fillText(this.valueText(tile, at), (tile.left + column + 0.5 - view.x) * view.across, (tile.top + row + 0.5 - view.y) * view.down);
        }
      }
    }
  }

  valueText(tile, at) {
    if (tile.unusual[at] && Number.isNaN(tile.planes[0][at])) return tile.unusual[at] === 2 ? "±inf" : "NaN";
    return number(this.value(tile, at), 3);
  }

  // What is said of the element, or the elements, under a place.
  tell(px, py) {
    const { view } = this;
    this.told = [px, py];
    const [column, row] = [Math.floor(view.x + px / view.across), Math.floor(view.y + py / view.down)];
    if (row < 0 || column < 0 || row >= view.rows || column >= view.columns) return;
    for (const tile of [...this.tiles.values()].reverse()) {
      if (!tile.planes || row < tile.top || row >= tile.bottom || column < tile.left || column >= tile.right) continue;
      const y = Math.floor(((row - tile.top) * tile.rows) / (tile.bottom - tile.top));
      const x = Math.floor(((column - tile.left) * tile.columns) / (tile.right - tile.left));
      const at = y * tile.columns + x;
      const single = tile.rows === tile.bottom - tile.top && tile.columns === tile.right - tile.left;
      const [mean, low, high] = tile.planes;
      const odd = { 1: "NaN among them", 2: "infinities among them", 3: "NaN and infinities among them" }[tile.unusual[at]];
      const said = single ? this.valueText(tile, at) : `mean ${number(mean[at])}, from ${number(low[at])} to ${number(high[at])}${odd ? `, ${odd}` : ""}`;
      const share = tile.seen < tile.total ? ` · ${exact(tile.seen)} of ${exact(tile.total)} elements looked at` : "";
      this.status.textContent = `${this.place(row, column)} ${single ? "=" : "and around:"} ${said}${share}`;
      return;
    }
  }

  zoomAt(factor, event) {
    const box = this.field.getBoundingClientRect();
    this.view.zoom(factor, event.clientX - box.left, event.clientY - box.top, this.width, this.height);
  }

  grab(event) {
    this.field.setPointerCapture(event.pointerId);
    this.held = { x: event.clientX, y: event.clientY };
    this.field.addEventListener("pointerup", () => { this.held = null; }, { once: true });
  }

  hover(event) {
    if (this.held) {
      this.view.move(event.clientX - this.held.x, event.clientY - this.held.y, this.width, this.height);
      this.held = { x: event.clientX, y: event.clientY };
    }
    const box = this.field.getBoundingClientRect();
    this.tell(event.clientX - box.left, event.clientY - box.top);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { width, height, view } = this;
    const step = Math.max(40, view.across);
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[event.key]) view.move(...moves[event.key], width, height);
    else if (event.key === "+" || event.key === "=") view.zoom(1.6, width / 2, height / 2, width, height);
    else if (event.key === "-") view.zoom(1 / 1.6, width / 2, height / 2, width, height);
    else if (event.key === "0") view.fit(width, height);
    else return;
    event.preventDefault();
    this.tell(width / 2, height / 2);
  }
}

function keyOf({ top, left, across, down }) {
  return `${across} ${down} ${top} ${left}`;
}

// The range of colours that shows most of a tile: around zero where both signs are there.
function rangeOf({ planes: [, low, high] }) {
  const values = Float32Array.from([...low, ...high].filter((value) => Number.isFinite(value))).sort();
  if (!values.length) return { scale: "signed", low: -1, high: 1 };
  const cut = (share) => values[Math.min(values.length - 1, Math.floor(share * values.length))];
  if (values[0] >= 0) return { scale: "amount", low: values[0], high: Math.max(cut(0.995), values[0] + Number.MIN_VALUE) || 1 };
  const most = Math.max(Math.abs(cut(0.005)), Math.abs(cut(0.995))) || Math.max(-values[0], values.at(-1)) || 1;
  return { scale: "signed", low: -most, high: most };
}
