// The page: tree, map and details beside each other, or one at a time where there is little room.

import { choices } from "./colouring.js";
import { diffPane, matchPane } from "./comparing.js";
import { Details } from "./details.js";
import { choice, failure, fill, h } from "./dom.js";
import { TreeMap } from "./map.js";
import { Model } from "./model.js";
import { brief, nameText, shortened, size } from "./text.js";
import { searchBox, Tree } from "./tree.js";

// Show one checkpoint, or two, in the body of the page.
export async function start(source) {
  const main = document.querySelector("main");
  try {
    const first = await source.model(0);
    const fields = first.sides === 2 ? [first, await source.model(1)] : [first];
    const page = new Page(fields.map((each) => withTitle(new Model(each))), source);
    fill(document.body, page.header, page.element);
    page.select(0, 0, "start");
    document.body.dataset.painted = "true";
    performance.mark("painted");
    setTimeout(() => page.models.forEach((model) => model.search("?")), 50); // names are put together before one types
  } catch (error) {
    fill(main, failure(error));
    throw error;
  }
}

function withTitle(model) {
  model.title = model.head.file.replace(/\/+$/, "").split("/").pop() || model.head.file;
  return model;
}

class Page {
  constructor(models, source) {
    Object.assign(this, { models, source });
    this.tell = h("div", { class: "unseen", role: "status" });
    this.trees = models.map((model, side) => new Tree(model, (at) => this.select(side, at, "tree")));
    this.searches = this.trees.map(searchBox);
    this.maps = models.map((model, side) => new TreeMap(model, (at) => this.select(side, at, "map")));
    this.details = new Details(models, source, { other: (side, at) => this.counterpart(side, at), select: (side, at) => this.select(side, at, "details") });
    this.side = 0;
    this.makePanes();
    this.header = this.makeHeader();
    this.element = this.makeMain();
    document.addEventListener("keydown", (event) => this.key(event));
    document.title = models.map((model) => model.title).join(" and ");
  }

  makeHeader() {
    const names = this.models.map((model, side) => h("span", { class: "file" },
      this.models.length > 1 ? h("span", { class: `side side-${side}` }, side ? "B" : "A") : null,
      h("bdi", { title: shortened(nameText(model.head.file), 500) }, shortened(nameText(model.title), 48)),
      h("span", { class: "quiet-text" }, `${brief(model.numel[0])} values · ${size(model.head.nbytes)} · ${shortened(nameText(model.head.format), 30)}`)));
    return h("header", { class: "top" }, h("h1", {}, h("span", { class: "unseen" }, "statedict: "), names), this.themeButton());
  }

  themeButton() {
    const root = document.documentElement;
    const button = h("button", { type: "button", class: "quiet theme", onclick: () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      for (const map of this.maps) map.paint();
    } }, "Light or dark");
    return button;
  }

  makePanes() {
    const { models, source } = this;
    this.panes = [{ key: "map", title: "Map", element: h("section", { class: "pane map-pane", "aria-label": "Map" }) }];
    const jobs = source.live ? ["diff", "match"] : Object.keys(source.data.jobs).filter((name) => name === "diff");
    if (models.length === 2) {
      const diff = diffPane(models, source, { select: (side, at) => this.select(side, at, "pane"), known: (found) => this.know(found) });
      const match = matchPane(models, source, { select: (side, at) => at >= 0 && this.select(side, at, "pane") });
      if (jobs.includes("diff")) this.panes.push({ key: "diff", title: "Changes", element: diff.element, begin: () => diff.begin() });
      if (jobs.includes("match")) this.panes.push({ key: "match", title: "Match", element: match.element, begin: () => match.begin() });
    }
    this.mapControls = h("div", { class: "controls" });
    this.mapPlace = h("div", { class: "map-place" });
    this.panes[0].element.append(this.mapControls, this.mapPlace);
    this.fillMap();
  }

  fillMap() {
    const map = this.maps[this.side];
    const kinds = choices(this.models.length === 2 && this.side === 0);
    fill(this.mapControls,
      choice("Area", [["nbytes", "bytes"], ["numel", "values"]], map.measure, (measure) => map.set({ measure })),
      choice("Colour", kinds, map.colouring.by, (colours) => this.colour(colours)),
      choice("Form", [["treemap", "treemap"], ["icicle", "icicle"]], map.form, (form) => map.set({ form })),
      h("button", { type: "button", class: "quiet", onclick: () => map.enter(map.root) }, "Zoom out"));
    fill(this.mapPlace, map.element);
  }

  // Colour the map; what has to be read first is read when a person says so.
  async colour(by) {
    const map = this.maps[this.side];
    map.set({ colours: by });
    if (!map.colouring.isUnknown) return;
    const job = by === "change" ? "diff" : `figures${this.side}`;
    const bar = h("progress", { max: "1", "aria-label": "How far it is" });
    const note = h("span", { role: "status" }, "Reading …");
    const stop = h("button", { type: "button", class: "quiet", onclick: () => this.source.stop(job) }, "Stop");
    const waiting = h("p", { class: "waiting" }, bar, note, stop);
    map.element.prepend(waiting);
    try {
      const found = await this.source.job(job, (done, total) => {
        if (!total) return;
        bar.value = done / total;
        note.textContent = `${size(done)} of ${size(total)}`;
      });
      if (by === "change") this.know(found);
      else map.model.figures = found;
      if (map.colouring.by === by) map.set({ colours: by });
    } catch (error) {
      map.element.prepend(failure(error));
    } finally {
      waiting.remove();
    }
  }

  // What the comparison has found, for the map and for what stands beside what.
  know(found) {
    const [first] = this.models;
    first.changes = found.changes;
    this.pairs = [new Map(), new Map()];
    for (const line of found.lines) {
      for (const [a, b] of line.at) {
        if (a === null || b === null) continue;
        this.pairs[0].set(a, b);
        this.pairs[1].set(b, a);
      }
    }
    if (this.maps[0].colouring.by === "change") this.maps[0].set({ colours: "change" });
  }

  // What stands for a tensor on the other side: what the comparison says, else what has the same name.
  counterpart(side, at) {
    if (this.models.length < 2) return -1;
    const known = this.pairs?.[side].get(at);
    return known ?? this.models[1 - side].find(this.models[side].name(at));
  }

  makeMain() {
    this.treePlace = h("div", { class: "tree-place" });
    const left = h("section", { class: "left", "aria-label": "Tree" }, this.sideSwitch(), this.treePlace);
    const middle = h("section", { class: "middle", "aria-label": "Views" }, this.tabs(), this.panes.map((pane) => pane.element));
    this.fillTree();
    const main = h("main", { "data-shown": "middle" }, left, middle, this.details.element, this.tell);
    const nav = h("nav", { class: "narrow", "aria-label": "Panes" }, [["left", "Tree"], ["middle", "Map"], ["right", "Details"]].map(([key, title]) => h("button", { type: "button", "aria-pressed": String(key === "middle"), "data-key": key, onclick: () => this.turnTo(key) }, title)));
    this.nav = nav;
    main.append(nav);
    return main;
  }

  turnTo(key) {
    this.element.dataset.shown = key;
    for (const button of this.nav.children) button.setAttribute("aria-pressed", String(button.dataset.key === key));
  }

  sideSwitch() {
    if (this.models.length < 2) return null;
    const buttons = this.models.map((model, side) => h("button", { type: "button", class: "segment", "aria-pressed": String(side === 0), onclick: () => this.turnSide(side) }, side ? "B" : "A"));
    this.sideButtons = buttons;
    return h("div", { class: "segments sides", role: "group", "aria-label": "Which model" }, buttons);
  }

  turnSide(side) {
    if (side === this.side) return;
    this.side = side;
    this.sideButtons.forEach((button, which) => button.setAttribute("aria-pressed", String(which === side)));
    this.fillTree();
    this.fillMap();
  }

  fillTree() {
    const tree = this.trees[this.side];
    const search = this.searches[this.side];
    fill(this.treePlace, search.element,
      h("div", { class: "controls" }, h("button", { type: "button", class: "quiet", onclick: () => tree.openAll() }, "Unfold all"), h("button", { type: "button", class: "quiet", onclick: () => tree.closeAll() }, "Fold all")),
      tree.element);
  }

  tabs() {
    if (this.panes.length < 2) return null;
    this.tabButtons = this.panes.map((pane, which) => h("button", { type: "button", role: "tab", id: `tab-${pane.key}`, "aria-selected": String(which === 0), "aria-controls": `pane-${pane.key}`, tabindex: which ? "-1" : "0", onclick: () => this.turn(which) }, pane.title));
    this.panes.forEach((pane, which) => {
      pane.element.id = `pane-${pane.key}`;
      pane.element.setAttribute("role", "tabpanel");
      pane.element.hidden = which > 0;
    });
    return h("div", { class: "tabs", role: "tablist", "aria-label": "Views", onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const now = this.tabButtons.indexOf(document.activeElement);
      const next = (now + step + this.panes.length) % this.panes.length;
      this.tabButtons[next].focus();
      this.turn(next);
    } }, this.tabButtons);
  }

  turn(which) {
    this.panes.forEach((pane, at) => {
      pane.element.hidden = at !== which;
      this.tabButtons[at].setAttribute("aria-selected", String(at === which));
      this.tabButtons[at].tabIndex = at === which ? 0 : -1;
    });
    this.panes[which].begin?.();
  }

  // Go to a tensor or module, from wherever it was chosen.
  select(side, at, from) {
    if (side !== this.side) this.turnSide(side);
    this.details.show(side, at);
    if (from !== "tree") this.trees[side].reveal(at);
    if (from !== "map") this.maps[side].mark(at);
    if (from === "start") return;
    this.tell.textContent = `${shortened(nameText(this.models[side].name(at) || this.models[side].title), 120)} is shown`;
    if (from !== "details" && this.models[side].isTensor(at) && matchMedia("(max-width: 820px)").matches && from !== "map") this.turnTo("right");
  }

  key(event) {
    const inField = event.target.closest?.("input, select, textarea");
    if (inField || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      if (matchMedia("(max-width: 820px)").matches) this.turnTo("left");
      this.searches[this.side].input.focus();
      this.searches[this.side].input.select();
      event.preventDefault();
    }
  }
}

