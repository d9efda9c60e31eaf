"""The explorer in a real browser, on 60,000 tensors and on a tensor of 10 GB: `python -m benchmarks.exploring`.

The server is a process of its own, whose memory the kernel tells; what is measured in the page is measured by the page.
"""

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.asking import begin, options
from benchmarks.samples import FULL, QUICK, SHARDS, make

_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
          "--disable-component-update", "--disable-sync")  # fmt: skip
_WORDS = (
    "experts.17",
    "up_proj.weight_scale",
    "**.experts.{0-99}.{up,down}_proj.weight",
    "layernorm",
    "nothing.at.all",
)
_TILES = """async ([side]) => {
    const spent = [];
    for (const [top, bottom] of [[0, side], [0, side / 2], [side / 4, side / 4 + 8192], [17, 273]]) {
        const begun = performance.now();
        const window = {top, bottom, left: top, right: bottom, height: 256, width: 256};
        const asked = new URLSearchParams({side: 0, at: 1, rows: 0, columns: 1, fixed: "", ...window});
        const response = await fetch(`api/tile?${asked}`);
        await response.arrayBuffer();
        if (!response.ok) throw new Error("no tile");
        spent.push(performance.now() - begun);
    }
    return spent;
}"""


@contextmanager
def served(*files: Path) -> Generator[tuple[str, int, float]]:
    """The address of the explorer, its process and the seconds from its start to its address."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "statedict", "explore", *map(str, files), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found is not None
    try:
        yield found[0], process.pid, time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def resident(pid: int, field: str) -> int:
    """Bytes that the kernel says of a process: `VmRSS` now, `VmHWM` at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


def processor(pid: int) -> float:
    """Seconds of processor time that a process took so far, which other work on the machine disturbs less."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def look(browser: Any, address: str) -> tuple[float, float, float, Any]:
    """Seconds to the first paint of the page and to its tree; milliseconds of the slowest search."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(address)
    page.wait_for_selector("body[data-painted]")
    painted = page.evaluate("() => performance.getEntriesByName('painted')[0].startTime")
    first = page.evaluate("() => performance.getEntriesByType('paint').map((each) => each.startTime)")
    searched: list[float] = []
    for words in _WORDS:
        page.get_by_role("searchbox").fill(words)
        searched.append(float(page.locator(".search .status").get_attribute("data-milliseconds")))
    return max(first, default=painted) / 1000, painted / 1000, max(searched), page


def large(folder: Path, side: int) -> Path:
    """A safetensors file of one float32 matrix of that many rows and columns, none of whose bytes was written."""
    path = folder / f"matrix-{side}.safetensors"
    size = 4 * side * side
    header = f'{{"w":{{"dtype":"F32","shape":[{side},{side}],"data_offsets":[0,{size}]}}}}'.encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as out:
        out.write(len(header).to_bytes(8, "little") + header)
        out.truncate(8 + len(header) + size)
    return path


def main(given: list[str] | None = None) -> None:
    """Measure, and print a table."""
    from playwright.sync_api import sync_playwright

    asked = begin(options("exploring", __doc__, rounds=5), given)
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        raise SystemExit("Chromium is not installed (on Debian: `apt-get install chromium`)")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, QUICK if asked.quick else FULL)
        browser = playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))
        _tree(browser, folder / SHARDS, asked.rounds)
        _tiles(browser, large(folder, 1_000 if asked.quick else 50_000), asked.rounds)
        browser.close()


def _tree(browser: Any, folder: Path, rounds: int) -> None:
    starts, firsts, paints, searches, spent = ([] for _ in range(5))
    most = 0
    for _ in range(rounds):
        with served(folder) as (address, pid, start):
            first, painted, searched, page = look(browser, address)
            spent.append(processor(pid))
            page.get_by_role("button", name="Unfold all").click()
            page.wait_for_timeout(300)
            most = max(most, resident(pid, "VmHWM"))
            page.close()
        for kept, value in ((starts, start), (firsts, first), (paints, painted), (searches, searched)):
            kept.append(value)
    print(f"{folder.name}, from a cold server:")
    print(f"  command to address      {statistics.median(starts):.2f} s")
    print(f"  page to its first paint {statistics.median(firsts):.2f} s")
    print(f"  page to its tree        {statistics.median(paints):.2f} s (at most {max(paints):.2f})")
    print(f"  server's CPU time by then {statistics.median(spent):.2f} s")
    print(f"  slowest search          {statistics.median(searches):.0f} ms (at most {max(searches):.0f})")
    print(f"  server's memory         {most / 2**20:.0f} MiB at most")


def _tiles(browser: Any, file: Path, rounds: int) -> None:
    side = int(file.stem.rpartition("-")[2])
    slowest: list[float] = []
    with served(file) as (address, pid, _):
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-painted]")
        page.evaluate(_TILES, [side])
        before = processor(pid)
        for _ in range(rounds):
            slowest.append(max(page.evaluate(_TILES, [side])))
        spent = (processor(pid) - before) / (4 * rounds)
        page.close()
        most = resident(pid, "VmHWM")
    print(f"a matrix of {4 * side * side / 1e9:.0f} GB:")
    print(f"  slowest tile            {statistics.median(slowest):.0f} ms (at most {max(slowest):.0f})")
    print(f"  server's CPU time a tile {1000 * spent:.0f} ms")
    print(f"  server's memory         {most / 2**20:.0f} MiB at most")


if __name__ == "__main__":
    main()
