"""The views of a live model of 10,000 modules, ours against PyTorch's own: `python -m benchmarks.live [--quick]`.

Both walk the same model in this process, in turn. What ours names is proved to be the same before anything is measured.
"""

import argparse
import gc
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from torch import nn

import statedict as sd
from benchmarks.measuring import machine

VIEWS = ("named_modules", "named_parameters", "state_dict")


def model(blocks: int) -> nn.Module:
    """A model of `blocks` squared blocks of four modules: 50 makes 10,051."""
    return nn.Sequential(*(nn.Sequential(*(_block() for _ in range(blocks))) for _ in range(blocks)))


def _block() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.ReLU())


def names(tree: Any, view: str) -> list[str]:
    """What a view names."""
    found = getattr(tree, view)()
    return list(found) if isinstance(found, dict) else [name for name, _ in found]


def seconds(call: Callable[[], object]) -> float:
    """The time that one call takes, nothing being left over from the one before."""
    gc.collect()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def measure(live: nn.Module, view: str, rounds: int) -> tuple[float, float, float]:
    """Median seconds of PyTorch's view, of ours, and of ours with the opening; all in turn in each round."""
    tree = sd.open(live)
    if names(tree, view) != names(live, view):
        raise ValueError(f"{view}: ours and PyTorch's name different things")
    contestants = (lambda: names(live, view), lambda: names(tree, view), lambda: names(sd.open(live), view))
    times = [[seconds(call) for call in contestants] for _ in range(rounds)]
    theirs, ours, opened = map(median, zip(*times, strict=True))
    return theirs, ours, opened


def main(given: list[str] | None = None) -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small model and few rounds: does it work at all?")
    quick = parser.parse_args(given).quick
    live, rounds = model(3 if quick else 50), 3 if quick else 31
    print(f"{machine()}. {len(list(live.modules())):,} modules, medians of {rounds} rounds.\n")
    print("| view | PyTorch ms | ours ms | ours / PyTorch | with `open` ms |\n|---|--:|--:|--:|--:|")
    for view in VIEWS:
        theirs, ours, opened = measure(live, view, rounds)
        print(f"| `{view}` | {theirs * 1e3:.1f} | {ours * 1e3:.1f} | {ours / theirs:.2f} | {opened * 1e3:.1f} |")


if __name__ == "__main__":
    main()
