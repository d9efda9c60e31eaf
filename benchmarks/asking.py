"""What the command line of a benchmark asks for: the options that all have in common, and how each begins."""

import argparse
from pathlib import Path

from benchmarks.measuring import machine


def options(name: str, text: str | None, **runs: int) -> argparse.ArgumentParser:
    """The options of `python -m benchmarks.NAME`; `runs` names those that say how often, with what holds otherwise."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=(text or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small files and single runs: does it work at all?")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="make the files to read there, or take them, and leave them"
    )
    for option, often in runs.items():
        kind = "" if option == "rounds" else f", the file {_WHERE[option]}"
        parser.add_argument(f"--{option}", type=int, metavar="N", help=f"runs of each ({often}; 1 when quick){kind}")
    parser.set_defaults(often=runs)
    return parser


_WHERE = {"warm": "in memory", "cold": "on the disk only"}


def begin(parser: argparse.ArgumentParser, given: list[str] | None) -> argparse.Namespace:
    """What is asked for, once the machine and the number of runs are printed."""
    asked = parser.parse_args(given)
    said: list[str] = []
    for option, often in asked.often.items():
        runs = getattr(asked, option) or (1 if asked.quick else often)
        setattr(asked, option, runs)
        said.append(f"{runs} {option}" if option in _WHERE else f"{runs}")
    if asked.quick:
        print("Tiny files: this shows that everything works, and the figures mean nothing.\n")
    print(f"{machine()}. Medians of {' and '.join(said)} runs, most memory.\n", flush=True)
    return asked
