// A report: one file, with all that it shows in it.

import { start } from "./app.js";
import { Embedded } from "./source.js";

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

unpacked(document.getElementById("data").textContent).then((data) => start(new Embedded(data)));
