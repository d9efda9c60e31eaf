// Colours: of kinds and types, of amounts, of signed values. Each scale reads in light and in dark, and without red and
// green apart; those of amounts are cut from matplotlib's viridis (CC0).

const SERIES = [
  "#4477aa", "#ee8866", "#44a08d", "#aa5599", "#bbaa33", "#66aadd",
  "#cc6677", "#7a8b99", "#88aa55", "#8877cc", "#cc9955", "#5599aa",
];
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
const LOWER = ["#0b3c8c", "#2f6fbe", "#74a9da", "#bcd7ee"];
const UPPER = ["#f6d2bf", "#e8936b", "#cc4f39", "#8c1422"];

export const UNUSUAL = { 1: "#ff00c8", 2: "#ffd500", 3: "#ff00c8" };

// A colour of its own for each name, the same each time names come in this order.
export function categories(names) {
  return new Map(names.map((name, at) => [name, name === "" ? "#9aa3ab" : SERIES[at % SERIES.length]]));
}

function channels(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

function ramp(stops, steps) {
  const found = new Uint8ClampedArray(steps * 3);
  const colours = stops.map(channels);
  for (let at = 0; at < steps; at += 1) {
    const place = (at / (steps - 1)) * (colours.length - 1);
    const first = Math.min(colours.length - 2, Math.floor(place));
    for (let c = 0; c < 3; c += 1) {
      found[at * 3 + c] = colours[first][c] + (place - first) * (colours[first + 1][c] - colours[first][c]);
    }
  }
  return found;
}

const STEPS = 512;
const MIDDLE = { light: "#f7f7f5", dark: "#f7f7f5" };
const SIGNED = ramp([...LOWER, MIDDLE.light, ...UPPER], STEPS);
const AMOUNT = ramp(VIRIDIS, STEPS);
const GREY = ramp(["#000000", "#ffffff"], STEPS);
export const SCALES = { signed: SIGNED, amount: AMOUNT, grey: GREY };

// The colour of a share from 0 to 1 on a scale.
export function colour(scale, share) {
  const at = Math.round(Math.min(1, Math.max(0, share)) * (STEPS - 1)) * 3;
  const colours = SCALES[scale];
  return `rgb(${colours[at]},${colours[at + 1]},${colours[at + 2]})`;
}

// Whether black is read better than white on a colour.
export function isLight(text) {
  const [r, g, b] = text.startsWith("#") ? channels(text) : text.match(/\d+/g).map(Number);
  const linear = [r, g, b].map((c) => (c <= 10 ? c / 3295 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179;
}
