// One checkpoint: the columns that the server or the report gives, as a tree that is walked, folded and searched.

import { compiled, isPattern } from "./pattern.js";

const MODULE = 0;
const ROLES = ["module", "parameter", "buffer", "optimizer"];

export class Model {
  constructor(fields) {
    const { columns, ...head } = fields;
    this.head = head;
    this.depth = columns.depth;
    this.role = columns.role;
    this.labels = columns.labels;
    this.kinds = columns.kinds;
    this.specs = columns.specs.map(([dtype, shape, numel, nbytes, plain]) => ({ dtype, shape, numel, nbytes, plain }));
    this.label = columns.label;
    this.what = columns.what;
    this.look = columns.look;
    this.same = new Map(columns.same);
    this.count = this.depth.length;
    this.figures = null;
    this.walk();
  }

  // Parents, where each subtree ends, and what is in it: tied tensors are counted where they stand first.
  walk() {
    const count = this.count;
    this.parent = new Int32Array(count).fill(-1);
    this.end = new Int32Array(count);
    this.numel = new Float64Array(count);
    this.nbytes = new Float64Array(count);
    this.tensors = new Int32Array(count);
    const above = [];
    for (let at = 0; at < count; at += 1) {
      above.length = this.depth[at];
      this.parent[at] = above.length ? above[above.length - 1] : -1;
      above.push(at);
    }
    for (let at = count - 1; at >= 0; at -= 1) {
      if (!this.end[at]) this.end[at] = at + 1;
      if (this.role[at] !== MODULE && !this.same.has(at)) {
        const spec = this.specs[this.what[at]];
        this.numel[at] = spec.numel;
        this.nbytes[at] = spec.nbytes;
        this.tensors[at] = 1;
      }
      const parent = this.parent[at];
      if (parent >= 0) {
        this.end[parent] = Math.max(this.end[parent], this.end[at]);
        this.numel[parent] += this.numel[at];
        this.nbytes[parent] += this.nbytes[at];
        this.tensors[parent] += this.tensors[at];
      }
    }
  }

  get names() {
    if (!this.known) {
      const names = new Array(this.count);
      names[0] = "";
      for (let at = 1; at < this.count; at += 1) {
        const label = this.labels[this.label[at]];
        names[at] = this.depth[at] > 1 ? `${names[this.parent[at]]}.${label}` : label;
      }
      this.known = names;
    }
    return this.known;
  }

  name(at) { return this.names[at]; }
  labelOf(at) { return this.labels[this.label[at]]; }
  isTensor(at) { return this.role[at] !== MODULE; }
  roleOf(at) { return ROLES[this.role[at]]; }
  spec(at) { return this.isTensor(at) ? this.specs[this.what[at]] : null; }
  kind(at) { return this.isTensor(at) ? "" : this.kinds[this.what[at]]; }
  // The kind of the module that a tensor belongs to.
  owner(at) { return this.isTensor(at) ? this.kind(this.parent[at]) : this.kind(at); }

  // The numbers of what is directly in a module.
  *children(at) {
    for (let child = at + 1; child < this.end[at]; child = this.end[child]) yield child;
  }

  // The same in runs of siblings that follow each other by number and look alike: [first, last, how many].
  folds(at) {
    const found = [];
    let last = null;
    for (const child of this.children(at)) {
      const label = this.labelOf(child);
      const isNumber = /^(0|[1-9][0-9]{0,17})$/.test(label);
      if (last && isNumber && last.next === label && last.look === this.look[child] && !this.same.has(child)) {
        last.last = child;
        last.count += 1;
      } else {
        last = { first: child, last: child, count: 1, look: this.look[child] };
        found.push(last);
      }
      last.next = isNumber ? String(BigInt(label) + 1n) : null;
    }
    return found;
  }

  // The modules that something is in, the outermost first.
  path(at) {
    const found = [];
    for (let above = this.parent[at]; above >= 0; above = this.parent[above]) found.unshift(above);
    return found;
  }

  // The number of a tensor or module by its full name; -1 where there is none.
  find(name) {
    this.byName ??= new Map(this.names.map((each, at) => [each, at]).reverse());
    return this.byName.get(name) ?? -1;
  }

  // The numbers of the tensors and modules that a search finds: by a pattern, or by words that are all in the name.
  // Throws PatternError.
  search(text) {
    const found = [];
    const names = this.names;
    if (isPattern(text)) {
      const fits = compiled(text);
      for (let at = 1; at < this.count; at += 1) if (fits.test(names[at])) found.push(at);
      return found;
    }
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return found;
    this.lower ??= names.map((name) => name.toLowerCase());
    const [first, ...others] = words;
    for (let at = 1; at < this.count; at += 1) {
      const name = this.lower[at];
      if (name.includes(first) && others.every((word) => name.includes(word))) found.push(at);
    }
    return found;
  }
}
