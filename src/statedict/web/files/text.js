// Names and numbers as people read them. Names come from files: whatever does not print is made visible, as
// `statedict.views.lines.escaped` does, and no text ever becomes markup.

const UNPRINTABLE = /[\p{C}\p{Z}\\]/gu;
const COUNT_UNITS = ["", "K", "M", "B", "T", "Q"];
const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const NAMED = new Map([["\n", "\\n"], ["\r", "\\r"], ["\t", "\\t"], ["\\", "\\\\"], [" ", " "]]);

// A text in which control characters, marks that reorder text and lone surrogates are visible: "\x1b", "\u202e".
export function shown(text) {
  return text.replace(UNPRINTABLE, (character) => {
    const named = NAMED.get(character);
    if (named !== undefined) return named;
    const code = character.codePointAt(0);
    const hex = code.toString(16);
    if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
}

// A name as `shown`, in quotes where it could be overlooked.
export function nameText(name) {
  return name && name === name.trim() ? shown(name) : `"${shown(name)}"`;
}

// A text cut in its middle: of a dotted name, both ends tell something.
export function shortened(text, most) {
  if (text.length <= most) return text;
  const tail = Math.floor((most - 1) / 2);
  return `${text.slice(0, most - 1 - tail)}…${text.slice(text.length - tail)}`;
}

// "109M", "1.24B", "768".
export function brief(count) {
  return scaled(count, 1000, COUNT_UNITS, "");
}

// "2.25 GiB", "648 B".
export function size(nbytes) {
  return scaled(nbytes, 1024, BYTE_UNITS, " ");
}

function scaled(count, base, units, gap) {
  let value = count;
  let unit = 0;
  while (value >= base - 0.5 && unit + 1 < units.length) {
    value /= base;
    unit += 1;
  }
  if (unit === 0) return `${count}${gap}${units[0]}`;
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)}${gap}${units[unit]}`;
}

// "60,000".
export function exact(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

// "1 tensor", "60,000 tensors".
export function counted(count, one, many = `${one}s`) {
  return `${exact(count)} ${count === 1 ? one : many}`;
}

// A number in few digits; "NaN" and "inf" as they are. Texts are numbers that JSON has not.
export function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "inf" : "-inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return String(value);
  if (size >= 1e-3 && size < 1e6) return String(Number(value.toPrecision(digits)));
  return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
}

// A share of 1 in percent, of which neither 0 nor 100 is rounded to.
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share === 0 || share === 1) return share ? "100 %" : "0 %";
  const value = Math.min(Math.max(share * 100, 0.01), 99.99);
  return `${value.toFixed(value < 10 ? 2 : 1)} %`;
}

// "[6, 3, 3, 3]".
export function shape(sizes) {
  return sizes === null ? "[?]" : `[${sizes.join(", ")}]`;
}

// A word of a shell's command line. What would not print is written as $'...' has it.
export function quoted(word) {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  if (shown(word) === word.replaceAll("\\", "\\\\")) return `'${word.replaceAll("'", "'\\''")}'`;
  const bytes = new TextEncoder();
  const escapes = Array.from(word, (c) => {
    if (c === "'" || c === "\\") return `\\${c}`;
    if (c >= " " && c <= "~") return c;
    return Array.from(bytes.encode(c), (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  });
  return `$'${escapes.join("")}'`;
}
