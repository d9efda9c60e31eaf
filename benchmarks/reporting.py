"""What was measured, as tables for a terminal or in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.measuring import Contestant, Run

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Goal:
    """What the first contestant, the command line, is to reach; None: nothing was promised."""

    seconds: float | None = None
    peak_bytes: int | None = None
    ahead: float | None = None
    """How many times as long the slowest peer is to take."""


NO_GOAL = Goal()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case as it was measured: the figures of each contestant, in the order of the contestants."""

    title: str
    contestants: Sequence[Contestant]
    warm: Sequence[Run]
    cold: Sequence[Run] = field(default=())
    """Empty where no file is opened."""
    goal: Goal = NO_GOAL


def report(outcome: Outcome, *, markdown: bool) -> str:
    """The case under its title: a row for each contestant, and what became of the goals."""
    lines = [f"### {outcome.title}" if markdown else outcome.title, "", *_table(_rows(outcome), markdown=markdown)]
    if verdicts := judged(outcome):
        lines += ["", f"Goals: {'; '.join(verdicts)}."]
    return "".join(f"{line}\n" for line in lines)


def judged(outcome: Outcome) -> list[str]:
    """Each goal, with what was reached, and whether that is enough."""
    first, goal = outcome.warm[0], outcome.goal
    verdicts: list[str] = []
    if goal.seconds is not None:
        verdicts.append(_verdict(f"at most {goal.seconds} s", f"{first.seconds:.2f} s", first.seconds <= goal.seconds))
    if goal.peak_bytes is not None:
        verdicts.append(
            _verdict(
                f"at most {_mib(goal.peak_bytes)} MiB",
                f"{_mib(first.peak_bytes)} MiB",
                first.peak_bytes <= goal.peak_bytes,
            )
        )
    if goal.ahead is not None:
        peers = [run for run, who in zip(outcome.warm, outcome.contestants, strict=True) if not who.is_ours]
        ahead = max(run.seconds for run in peers) / first.seconds
        verdicts.append(_verdict(f"{goal.ahead:.0f} times ahead", f"{ahead:.1f} times", ahead >= goal.ahead))
    return verdicts


def _verdict(wanted: str, reached: str, enough: bool) -> str:
    return f"{wanted}: {reached}, {'reached' if enough else 'missed'}"


def _rows(outcome: Outcome) -> list[list[str]]:
    """The cells of the table, titles first. Times are relative to the first contestant's."""
    first = outcome.warm[0].seconds
    rows = [["process", "warm s", "times", "CPU s", "peak MiB", "read MiB"]]
    for contestant, run in zip(outcome.contestants, outcome.warm, strict=True):
        rows.append(
            [
                contestant.name,
                f"{run.seconds:.3f}",
                f"{run.seconds / first:.1f}",
                f"{run.cpu_seconds:.3f}",
                _mib(run.peak_bytes),
                f"{run.read_bytes / _MIB:.2f}",
            ]
        )
    if outcome.cold:
        rows[0] += ["cold s", "cold times", "from disk MiB"]
        for row, run in zip(rows[1:], outcome.cold, strict=True):
            row += [
                f"{run.seconds:.3f}",
                f"{run.seconds / outcome.cold[0].seconds:.1f}",
                f"{run.disk_bytes / _MIB:.2f}",
            ]
    return rows


def _mib(size: int) -> str:
    return f"{size / _MIB:.0f}"


def _table(rows: list[list[str]], *, markdown: bool) -> list[str]:
    """The rows with columns aligned, the first to the left; in Markdown with its rules."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    filled = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    if not markdown:
        return ["  ".join(row) for row in filled]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [f"| {' | '.join(row)} |" for row in (filled[0], rule, *filled[1:])]
