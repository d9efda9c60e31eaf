// Patterns over dotted names, as `statedict.ops.patterns` reads them: `*` within one part, `**` across parts, `{a,b}`
// alternatives, `{0-11}` ranges. The tests hold both to the same answers.

const SPECIAL = /[.*+?^${}()|[\]\\/]/g;

export class PatternError extends Error {}

// Whether a text is a pattern and not just a part of names.
export function isPattern(text) {
  return /[*{}]/.test(text);
}

// The regular expression that fits the whole of a name. Throws PatternError.
export function compiled(pattern) {
  return new RegExp(`^(?:${new Parser(Array.from(pattern)).whole()})$`, "su");
}

class Parser {
  constructor(characters) {
    this.text = characters;
    this.at = 0;
  }

  whole() {
    const pieces = [];
    while (this.at < this.text.length) {
      if (this.standsForParts()) this.addParts(pieces);
      else if (this.text[this.at] === "}") throw new PatternError("`}` closes nothing");
      else pieces.push(this.piece());
    }
    return pieces.join("");
  }

  has(text, at = this.at) {
    return this.text.slice(at, at + text.length).join("") === text;
  }

  edge(at) {
    return at < 0 || at >= this.text.length || this.text[at] === ".";
  }

  standsForParts() {
    return this.has("**") && this.edge(this.at - 1) && this.edge(this.at + 2);
  }

  addParts(pieces) {
    this.at += 2;
    while (this.has(".**") && this.edge(this.at + 3)) this.at += 3;
    if (this.has(".")) {
      this.at += 1;
      pieces.push("(?:.*\\.)?");
    } else if (pieces.at(-1) === "\\.") pieces[pieces.length - 1] = "(?:\\..*)?";
    else pieces.push(".*");
  }

  piece() {
    const character = this.text[this.at];
    if (character === "{") return this.group();
    if (character !== "*") {
      this.at += 1;
      return character.replace(SPECIAL, "\\$&");
    }
    const start = this.at;
    while (this.text[this.at] === "*") this.at += 1;
    return this.at - start > 1 ? ".*" : "[^.]*";
  }

  group() {
    this.at += 1;
    const alternatives = [];
    for (;;) {
      alternatives.push(this.alternative());
      const closing = this.text[this.at];
      this.at += 1;
      if (closing === "}") return `(?:${alternatives.join("|")})`;
    }
  }

  alternative() {
    const rest = this.text.slice(this.at, this.at + 40).join("");
    const numbers = /^([0-9]{1,18})-([0-9]{1,18})(?=[,}])/.exec(rest);
    if (numbers) {
      this.at += numbers[0].length;
      return range(numbers[1], numbers[2]);
    }
    const pieces = [];
    while (this.at < this.text.length) {
      if (this.text[this.at] === "," || this.text[this.at] === "}") return pieces.join("");
      pieces.push(this.piece());
    }
    throw new PatternError("`{` is never closed");
  }
}

function range(low, high) {
  if (BigInt(low) > BigInt(high)) throw new PatternError(`the range \`${low}-${high}\` runs backwards`);
  if (low.length > 1 && low.startsWith("0")) {
    const width = Math.max(low.length, high.length);
    return between(low.padStart(width, "0"), high.padStart(width, "0"));
  }
  const found = [];
  for (let digits = low.length; digits <= high.length; digits += 1) {
    const first = digits === low.length ? low : `1${"0".repeat(digits - 1)}`;
    found.push(between(first, digits === high.length ? high : "9".repeat(digits)));
  }
  return found.join("|");
}

function between(low, high) {
  if (!low) return "";
  if (/^0*$/.test(low) && /^9*$/.test(high)) return `[0-9]{${low.length}}`;
  if (low[0] === high[0]) return low[0] + between(low.slice(1), high.slice(1));
  const rest = low.length - 1;
  const choices = [low[0] + between(low.slice(1), "9".repeat(rest)), high[0] + between("0".repeat(rest), high.slice(1))];
  if (high[0] - low[0] > 1) choices.push(`[${+low[0] + 1}-${high[0] - 1}][0-9]{${rest}}`);
  return `(?:${choices.join("|")})`;
}
