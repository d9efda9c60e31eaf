"""Everything that is measured, and the page with it: `python -m benchmarks` writes docs/benchmarks.md and its pictures.

Each benchmark is a process of its own, one after the other; what it prints, which names the machine, replaces what the
page has of it. `--only` measures some, `--quick` shows in minutes that all of them work and leaves the page alone,
`--pictures` draws anew what the page says. Nothing else should run on the machine meanwhile.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.plotting import bars, tables

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "opening": ("--markdown",),
    "saving": ("--markdown",),
    "casting": ("--markdown",),
    "stats": ("--markdown",),
    "kernels": (),
    "live": (),
    "merging": ("--markdown",),
    "prune": ("--markdown",),
    "diff": ("--markdown",),
    "loading": ("--markdown",),
}
"""Each benchmark, in the order of the page, with what its program is told so that it prints Markdown."""
BY_HAND = ("cluster", "diff_tools", "exploring", "huge", "tools", "trust", "zoo")
"""Those that need what is not here, other tools, a browser or a cluster, or are told how much to make."""
_MEASURED = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def measured(name: str, more: tuple[str, ...] = ()) -> str:
    """What a benchmark prints. Raises CalledProcessError, with what it said, where it fails."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *BENCHMARKS[name], *more]
    print(" ".join(command[1:]), file=sys.stderr, flush=True)
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def placed(page: str, found: dict[str, str]) -> str:
    """The page with what was measured in place of what it had. Raises ValueError where it has no place for one."""
    places = {name for _, name, _ in _MEASURED.findall(page)}
    if missing := found.keys() - places:
        raise ValueError(f"{PAGE.name}: has no `<!-- measured: {min(missing)} -->`")
    return _MEASURED.sub(lambda at: f"{at[1]}\n{found[at[2]].strip()}\n\n{at[3]}" if at[2] in found else at[0], page)


def draw(page: str) -> dict[str, str]:
    """The pictures of a page, by the names of their files: the times of each benchmark that has tables of them."""
    drawn = ((name, tables(text)) for _, name, text in _parts(page))
    return {f"benchmarks-{name}.svg": bars(cases) for name, cases in drawn if cases}


def _parts(page: str) -> list[tuple[str, str, str]]:
    return [(found[1], found[2], found[0]) for found in _MEASURED.finditer(page)]


def main(given: list[str] | None = None) -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=BENCHMARKS, metavar="NAME", help="; ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="tiny files, printed: do all of them work?")
    parser.add_argument("--pictures", action="store_true", help="measure nothing; draw what the page says")
    asked = parser.parse_args(given)
    names = [] if asked.pictures else asked.only or list(BENCHMARKS)
    if asked.quick:
        for name in names:
            print(measured(name, ("--quick",)), flush=True)
        return
    page = PAGE.read_text(encoding="utf-8")
    for name in names:  # each is kept as soon as it is known: all of them take an hour
        page = placed(page, {name: measured(name)})
        PAGE.write_text(page, encoding="utf-8")
    for name, picture in draw(page).items():
        PAGE.with_name(name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
