// Where answers come from: the server that made this page's address, or what a report brings with it.

export class Live {
  constructor() {
    this.live = true;
  }

  async ask(path, options = {}) {
    const response = await fetch(path, { credentials: "omit", ...options });
    const isJson = (response.headers.get("content-type") ?? "").startsWith("application/json");
    if (!isJson) throw new Error(response.status === 404 ? "the server does not know this page any more" : `the server answered ${response.status}`);
    const found = await response.json();
    if (!response.ok) throw new Error(found.error);
    return found;
  }

  model(side) { return this.ask(`api/model?side=${side}`); }
  facts(side, at) { return this.ask(`api/facts?side=${side}&at=${at}`); }
  statistics(side, at) { return this.ask(`api/statistics?side=${side}&at=${at}`); }
  spectrum(side, at) { return this.ask(`api/spectrum?side=${side}&at=${at}`); }
  row(side, at, index) { return this.ask(`api/row?side=${side}&at=${at}&index=${index}`); }
  filters(side, at, first, channel) { return this.ask(`api/filters?side=${side}&at=${at}&first=${first}&channel=${channel}`); }
  stop(name) { return this.ask(`api/stop?name=${name}`, { method: "POST" }); }

  rules(rows) {
    return this.ask("api/rules", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(rows) });
  }

  // The result of a job of the server's, begun now unless it was before; `tell(done, total)` is called meanwhile.
  async job(name, tell = () => {}) {
    await this.ask(`api/begin?name=${name}`, { method: "POST" });
    for (let pause = 40; ; pause = Math.min(500, pause * 1.5)) {
      const found = await this.ask(`api/job?name=${name}`);
      if (found.state === "done") return found.result;
      if (found.state === "failed") throw new Error(found.error);
      if (found.state === "stopped") throw new Error("stopped");
      tell(found.done, found.total);
      await new Promise((wake) => { setTimeout(wake, pause); });
    }
  }

  // A tile of a heat map: see `HeatMap`.
  async tile(asked) {
    const response = await fetch(`api/tile?${new URLSearchParams(asked)}`, { credentials: "omit" });
    if (!response.ok) throw new Error((await response.json()).error);
    const { rows, columns, seen, total } = JSON.parse(response.headers.get("x-tile"));
    const data = await response.arrayBuffer();
    const count = rows * columns;
    const planes = [0, 1, 2].map((at) => new Float32Array(data, at * 4 * count, count));
    return { rows, columns, seen, total, planes, unusual: new Uint8Array(data, 12 * count, count) };
  }
}

// A report: everything is there from the begin, and nothing more is to be had.
export class Embedded {
  constructor(data) {
    this.live = false;
    this.data = data;
  }

  async model(side) { return this.data.sides[side]; }
  async statistics(side, at) { return this.data.statistics[side][at] ?? { error: "not in this report" }; }
  async job(name) {
    if (name in this.data.jobs) return this.data.jobs[name];
    throw new Error("not in this report");
  }
}
