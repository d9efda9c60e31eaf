// The tree at the left: only the rows in sight are elements, however many there are. Keys as in any tree: arrows, Home,
// End, Page Up and Down, Enter; `*` opens all that is beside, `/` goes to the search.

import { eachFrame, fill, h } from "./dom.js";
import { counted, exact, nameText, shape, shortened, size } from "./text.js";

const ROW = 26;
const SPARE = 12;
const LONGEST = 400;
const MOST_OPEN = 200000;

export class Tree {
  // `select(at)` is called for what a person chooses.
  constructor(model, select) {
    this.model = model;
    this.select = select;
    this.open = new Set([0]);
    this.found = null;
    this.unfolded = false;
    this.at = 0;
    this.list = h("div", { class: "rows" });
    this.element = h("div", {
      class: "tree",
      role: "tree",
      tabindex: "0",
      "aria-label": "Modules and tensors",
      onscroll: eachFrame(() => this.draw()),
      onkeydown: (event) => this.key(event),
    }, this.list);
    new ResizeObserver(() => this.draw()).observe(this.element);
    this.refresh();
  }

  // The rows from what is open, or from what a search has found.
  refresh() {
    const rows = [];
    if (this.found) for (const at of this.found) rows.push({ at, depth: 0, flat: true });
    else this.add(rows, 0, 0);
    this.rows = rows;
    this.at = Math.min(this.at, Math.max(0, rows.length - 1));
    this.list.style.height = `${rows.length * ROW}px`;
    this.draw();
  }

  add(rows, at, depth) {
    rows.push({ at, depth, open: this.open.has(at), inside: this.model.end[at] > at + 1 });
    if (!this.open.has(at)) return;
    for (const fold of this.model.folds(at)) {
      if (this.unfolded) for (const member of this.members(fold)) this.add(rows, member, depth + 1);
      else if (fold.count === 1) this.add(rows, fold.first, depth + 1);
      else {
        const key = `fold ${fold.first}`;
        rows.push({ at: fold.first, depth: depth + 1, fold, key, open: this.open.has(key), inside: true });
        if (this.open.has(key)) for (const member of this.members(fold)) this.add(rows, member, depth + 2);
      }
    }
  }

  *members(fold) {
    for (let at = fold.first; at <= fold.last; at = this.model.end[at]) yield at;
  }

  // Show what a search has found; null: the tree.
  show(found) {
    this.found = found;
    this.at = 0;
    this.element.scrollTop = 0;
    this.refresh();
  }

  // Open what something is in, and go there.
  reveal(at) {
    if (!this.found) {
      for (const above of this.model.path(at)) this.open.add(above);
      for (const above of [...this.model.path(at), at].slice(1)) this.openFold(above);
      this.refresh();
    }
    const row = this.rows.findIndex((each) => each.at === at && !each.fold);
    if (row >= 0) {
      this.at = row;
      this.scrollToRow();
    }
    this.draw();
  }

  openFold(at) {
    const fold = this.model.folds(this.model.parent[at]).find((each) => each.first <= at && at <= each.last);
    if (fold && fold.count > 1) this.open.add(`fold ${fold.first}`);
  }

  openAll() {
    this.unfolded = true;
    for (let at = 0; at < Math.min(this.model.count, MOST_OPEN); at += 1) if (!this.model.isTensor(at)) this.open.add(at);
    this.refresh();
  }

  closeAll() {
    this.unfolded = false;
    this.open = new Set([0]);
    this.at = 0;
    this.refresh();
  }

  draw() {
    const top = this.element.scrollTop;
    const first = Math.max(0, Math.floor(top / ROW) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((top + this.element.clientHeight) / ROW) + SPARE);
    const drawn = [];
    for (let row = first; row < last; row += 1) drawn.push(this.row(row));
    fill(this.list, drawn);
    const active = this.rows.length ? `row-${this.at}` : null;
    if (active && this.at >= first && this.at < last) this.element.setAttribute("aria-activedescendant", active);
    else this.element.removeAttribute("aria-activedescendant");
  }

  row(number) {
    const { model } = this;
    const row = this.rows[number];
    const { at, depth, fold } = row;
    const spec = model.spec(at);
    const element = h("div", {
      class: `row${number === this.at ? " chosen" : ""}${model.isTensor(at) ? " leaf" : ""}`,
      role: "treeitem",
      id: `row-${number}`,
      "aria-level": String(depth + 1),
      "aria-selected": String(number === this.at),
      "aria-expanded": row.inside ? String(Boolean(row.open)) : undefined,
      title: shortened(nameText(model.name(at) || this.model.title), LONGEST),
      onclick: () => this.choose(number, row.inside && number === this.at),
    });
    element.style.transform = `translateY(${number * ROW}px)`;
    element.style.paddingLeft = `${8 + Math.min(depth, 24) * 14}px`;
    const twisty = h("span", { class: "twisty", "aria-hidden": "true", onclick: (event) => {
      event.stopPropagation();
      this.at = number;
      this.toggle(number);
    } }, row.inside ? (row.open ? "▾" : "▸") : "");
    const text = fold ? this.foldText(fold) : row.flat ? model.name(at) : at === 0 ? model.title : model.labelOf(at);
    let facts = spec ? `${shape(spec.shape)} ${spec.dtype}` : this.sizeOf(row);
    const room = row.flat ? Math.max(12, Math.floor((this.element.clientWidth - 64) / 7.1)) : LONGEST;
    if (row.flat && text.length + facts.length > room) facts = "";
    element.append(twisty, h("bdi", { class: "label" }, shortened(fold ? text : nameText(text), room)));
    if (fold) element.append(h("span", { class: "times" }, `${exact(fold.count)}×`));
    const kind = model.kind(at);
    if (kind && !row.flat) element.append(h("span", { class: "kind" }, shortened(nameText(kind), 40)));
    const same = model.same.get(at);
    if (same !== undefined) element.append(h("span", { class: "same" }, `= ${shortened(nameText(model.name(same) || model.title), 40)}`));
    else element.append(h("span", { class: "facts" }, facts));
    return element;
  }

  foldText(fold) {
    return `${nameText(this.model.labelOf(fold.first))} – ${nameText(this.model.labelOf(fold.last))}`;
  }

  sizeOf({ at, fold }) {
    const { model } = this;
    const times = fold ? fold.count : 1;
    return model.numel[at] ? size(model.nbytes[at] * times) : "";
  }

  choose(number, toggles = false) {
    this.at = number;
    if (toggles) this.toggle(number);
    else this.draw();
    const row = this.rows[number];
    if (row) this.select(row.at);
  }

  toggle(number, open) {
    const row = this.rows[number];
    if (!row?.inside || this.found) return;
    const key = row.key ?? row.at;
    if (open ?? !this.open.has(key)) this.open.add(key);
    else this.open.delete(key);
    this.refresh();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW) - 1);
    const row = this.rows[this.at];
    const to = {
      ArrowDown: this.at + 1,
      ArrowUp: this.at - 1,
      PageDown: this.at + page,
      PageUp: this.at - page,
      Home: 0,
      End: this.rows.length - 1,
    }[event.key];
    if (to !== undefined) this.go(to);
    else if (event.key === "ArrowRight" && row?.inside) {
      if (row.open) this.go(this.at + 1);
      else this.toggle(this.at, true);
    } else if (event.key === "ArrowLeft" && row) {
      if (row.open && !this.found) this.toggle(this.at, false);
      else this.go(this.above(this.at));
    } else if (event.key === "Enter" || event.key === " ") this.choose(this.at, row?.inside);
    else if (event.key === "*" && row && !this.found) this.openBeside(row);
    else return;
    event.preventDefault();
  }

  openBeside(row) {
    const parent = Math.max(0, this.model.parent[row.at]);
    for (const child of this.model.children(parent)) if (!this.model.isTensor(child)) this.open.add(child);
    this.refresh();
  }

  above(number) {
    const { depth } = this.rows[number];
    let at = number;
    while (at > 0 && this.rows[at].depth >= depth) at -= 1;
    return at;
  }

  go(number) {
    const at = Math.min(Math.max(0, number), this.rows.length - 1);
    if (at < 0) return;
    this.at = at;
    this.scrollToRow();
    this.choose(at);
  }

  scrollToRow() {
    const { element } = this;
    const top = this.at * ROW;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW > element.scrollTop + element.clientHeight) element.scrollTop = top + ROW - element.clientHeight;
  }
}

// The search above the tree: it answers as one types, and says how many it has found.
export function searchBox(tree) {
  const { model } = tree;
  const status = h("output", { class: "status", "aria-live": "polite" });
  const said = () => { status.textContent = `${counted(model.head.tensors, "tensor")} in ${counted(model.head.modules, "module")}`; };
  const input = h("input", {
    type: "search",
    placeholder: "Search: attn.weight or **.{q,k}_proj.*",
    "aria-label": "Search names: parts of them, or a pattern",
    spellcheck: "false",
    autocomplete: "off",
    oninput: () => {
      const text = input.value.trim();
      input.removeAttribute("aria-invalid");
      if (!text) {
        tree.show(null);
        said();
        return;
      }
      try {
        const begun = performance.now();
        const found = model.search(text);
        tree.show(found);
        status.dataset.milliseconds = String(performance.now() - begun);
        status.textContent = `${exact(found.length)} of ${exact(model.count - 1)} names`;
      } catch (error) {
        input.setAttribute("aria-invalid", "true");
        status.textContent = error.message;
      }
    },
    onkeydown: (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") {
        tree.element.focus();
        tree.choose(tree.at);
        event.preventDefault();
      } else if (event.key === "Escape" && input.value) {
        input.value = "";
        input.dispatchEvent(new Event("input"));
        event.preventDefault();
      }
    },
  });
  said();
  return { element: h("div", { class: "search", role: "search" }, input, status), input };
}
