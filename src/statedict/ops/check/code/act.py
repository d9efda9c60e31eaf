"""What a file would do: one `Act`, with its grade, the expression that says it and the reason for the grade."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Grade = Literal["safe", "unknown", "dangerous"]
GRADES: tuple[Grade, ...] = ("safe", "unknown", "dangerous")
"""From what is known to build values and nothing else, to what runs or reads what the file wants."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of a name, and why."""

    grade: Grade
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that loading a file would do."""

    grade: Grade
    where: str
    """The file, and what in it: a member of an archive, in which another may lie."""
    expression: str
    """What would be run, as Python writes it: "os.system('id')"; "" where that cannot be told."""
    reason: str
    """Why it has that grade, as the rest of a sentence."""
    at: int | None = None
    """The byte of `where` at which it is asked for."""
    count: int = 1
    """How often the file does it; the expression is the first."""


def worst(grades: Iterable[Grade]) -> Grade:
    """The worst of the grades; "safe" of none."""
    return max((*grades, GRADES[0]), key=GRADES.index)
