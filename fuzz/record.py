"""What has been fuzzed so far, of each target: a JSON file that runs add to, and the table that the docs have of it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_COLUMNS = 2
"""Targets beside each other in the table."""


@dataclass(frozen=True)
class Ran:
    """What the inputs of a target took, in one run or in several together."""

    inputs: int = 0
    seconds: float = 0.0
    """Processor time of the process in all: making inputs, reading them, measuring."""
    slowest: float = 0.0
    """Processor time of the input that took longest."""
    largest: int = 0
    """Bytes of memory of the input that took most."""
    faults: int = 0

    def __add__(self, other: "Ran") -> "Ran":
        return Ran(
            self.inputs + other.inputs,
            self.seconds + other.seconds,
            max(self.slowest, other.slowest),
            max(self.largest, other.largest),
            self.faults + other.faults,
        )


def read(path: Path) -> dict[str, Ran]:
    """The record by target; empty where there is none yet."""
    held = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return {name: Ran(**figures) for name, figures in held.items()}


def add(path: Path, name: str, ran: Ran) -> None:
    """Add a run of a target to the record."""
    held = read(path)
    held[name] = held.get(name, Ran()) + ran
    new = path.with_suffix(".new")
    new.write_text(json.dumps({name: asdict(each) for name, each in held.items()}, indent=1) + "\n", "utf-8")
    new.replace(path)


def table(held: Mapping[str, Ran], targets: Iterable[str]) -> str:
    """The record as a table of Markdown, the targets in that order; what has not been fuzzed is in it, with dashes."""
    head = "| target | inputs | minutes | slowest, s | most MiB "
    lines = ["| ".join([head] * _COLUMNS).strip() + "|", "|---|---|---|---|---" * _COLUMNS + "|"]
    rows = [_row(name, held.get(name)) for name in targets]
    half = -(-len(rows) // _COLUMNS)
    for at in range(half):
        beside = rows[at::half]
        lines.append("".join(beside + ["| | | | | "] * (_COLUMNS - len(beside))) + "|")
    return "\n".join(lines) + "\n"


def _row(name: str, ran: Ran | None) -> str:
    if ran is None:
        return f"| {name} | – | – | – | – "
    return f"| {name} | {ran.inputs:,} | {ran.seconds / 60:.1f} | {ran.slowest:.2f} | {ran.largest / 2**20:.0f} "
