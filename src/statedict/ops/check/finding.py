"""What every part of `check` returns: findings, each with where, what, how bad and what to do."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from statedict.index import EMPTY

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
"""From what is worth knowing to what makes a model useless, or a file dangerous."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    check: str
    """The name of what was looked for: "nan"; `--only` and `--skip` take it."""
    where: str
    """The full name of a tensor or module, or of a file."""
    severity: Severity
    what: str
    """What is there, as the rest of a sentence that begins with `where`."""
    advice: str
    """What to do about it."""
    evidence: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """The figures behind it: plain values, by name."""


@dataclass(frozen=True)
class Report:
    """What was found, the worst first, and in the order of the tree; and what was looked at."""

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    """The names of what was looked for."""
    tensors: int
    """How many tensors were looked at."""
    skipped: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Tensors without plain values, by name, and why: sparse, quantised, meta; and a file that is no checkpoint."""
    grade: Literal["safe", "unknown", "dangerous"] | None = None
    """The worst that loading the files would do; None where no file was looked at for that."""
    files: int = 0
    """How many files were looked at."""
    pickles: int = 0
    """How many pickles are in them."""

    def at_least(self, level: Severity) -> list[Finding]:
        """Those that are as bad as `level`, or worse."""
        return [each for each in self.findings if SEVERITIES.index(each.severity) >= SEVERITIES.index(level)]

    @cached_property
    def counts(self) -> dict[Severity, int]:
        """How many there are of each severity, the worst first."""
        counted = Counter(each.severity for each in self.findings)
        return {severity: counted[severity] for severity in reversed(SEVERITIES)}


def worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """The same findings, the worst first, otherwise in their order."""
    return tuple(sorted(findings, key=lambda each: -SEVERITIES.index(each.severity)))
