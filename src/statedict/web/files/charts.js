// Small charts, as SVG with their numbers in words for who cannot see them.

import { h, s } from "./dom.js";
import { exact, number } from "./text.js";

const WIDTH = 360;
const HEIGHT = 120;
const FOOT = 16;

// Bars of counts between two ends. `log` draws counts by their logarithm.
export function bars({ counts, low, high, label, text = number, log = false }) {
  const most = Math.max(...counts, 1);
  const tall = (count) => (count ? Math.max(1, (log ? Math.log1p(count) / Math.log1p(most) : count / most) * (HEIGHT - FOOT - 4)) : 0);
  const wide = WIDTH / counts.length;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const at = (place) => low + ((high - low) * place) / counts.length;
  const said = `${label}: ${exact(total)} values from ${text(low)} to ${text(high)}; the most, ${exact(most)}, from ${text(at(counts.indexOf(most)))} to ${text(at(counts.indexOf(most) + 1))}`;
  const rectangles = counts.map((count, place) => {
    const height = tall(count);
    const bar = s("rect", { x: (place * wide).toFixed(2), y: (HEIGHT - FOOT - height).toFixed(2), width: Math.max(0.5, wide - 0.7).toFixed(2), height: height.toFixed(2) });
    bar.append(s("title", {}, `${exact(count)} from ${text(at(place))} to ${text(at(place + 1))}`));
    return bar;
  });
  const zero = low < 0 && high > 0 ? s("line", { class: "zero", x1: ((-low / (high - low)) * WIDTH).toFixed(2), x2: ((-low / (high - low)) * WIDTH).toFixed(2), y1: 2, y2: HEIGHT - FOOT }) : null;
  return s("svg", { class: "bars", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said },
    rectangles, zero,
    s("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT - FOOT, y2: HEIGHT - FOOT }),
    s("text", { x: 0, y: HEIGHT - 3 }, text(low)),
    s("text", { x: WIDTH / 2, y: HEIGHT - 3, "text-anchor": "middle" }, text(low + (high - low) / 2)),
    s("text", { x: WIDTH, y: HEIGHT - 3, "text-anchor": "end" }, text(high)));
}

// A line through values, the first at the left: singular values, or the elements of a row.
export function line({ values, label, log = false }) {
  const known = values.map((value) => (typeof value === "number" ? value : NaN));
  const usable = known.filter((value) => Number.isFinite(value) && (!log || value > 0)).map((value) => (log ? Math.log10(value) : value));
  if (!usable.length) return h("p", { class: "quiet-text" }, "no finite values");
  const [low, high] = [usable.reduce((a, b) => Math.min(a, b)), usable.reduce((a, b) => Math.max(a, b))];
  const x = (at) => (known.length > 1 ? (at / (known.length - 1)) * WIDTH : WIDTH / 2);
  const y = (value) => HEIGHT - FOOT - (high > low ? ((value - low) / (high - low)) * (HEIGHT - FOOT - 14) : HEIGHT / 3) - 2;
  const points = thinned(known).map(([at, value]) => [at, log ? Math.log10(value) : value]).filter(([, value]) => Number.isFinite(value));
  const ends = log ? [10 ** low, 10 ** high] : [low, high];
  return s("svg", { class: "line", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${label}: ${exact(known.length)} values from ${number(ends[0])} to ${number(ends[1])}` },
    s("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT - FOOT, y2: HEIGHT - FOOT }),
    s("polyline", { points: points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }),
    points.length < 40 ? points.map(([at, value]) => s("circle", { cx: x(at).toFixed(1), cy: y(value).toFixed(1), r: 1.8 })) : null,
    s("text", { x: 0, y: 10 }, number(ends[1])),
    s("text", { x: 0, y: HEIGHT - FOOT - 3 }, low === high ? "" : number(ends[0])),
    s("text", { x: 0, y: HEIGHT - 3 }, "0"),
    s("text", { x: WIDTH, y: HEIGHT - 3, "text-anchor": "end" }, exact(known.length - 1)));
}

// No more points than can be told apart: of each stretch the least and the greatest.
function thinned(values) {
  const step = Math.ceil(values.length / WIDTH);
  if (step <= 1) return values.map((value, at) => [at, value]);
  const found = [];
  for (let start = 0; start < values.length; start += step) {
    let [low, high] = [start, start];
    for (let at = start; at < Math.min(values.length, start + step); at += 1) {
      if (values[at] < values[low]) low = at;
      if (values[at] > values[high]) high = at;
    }
    for (const at of low < high ? [low, high] : [high, low]) found.push([at, values[at]]);
  }
  return found;
}

// A table of two columns: what, and how much.
export function facts(rows) {
  return h("dl", { class: "facts" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, h("bdi", {}, value))]));
}
