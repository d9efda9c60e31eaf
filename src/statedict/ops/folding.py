"""Many names as few patterns: `h.{0-11}.{ln_1,ln_2}.{weight,bias}` fits exactly the names that it stands for."""

from collections.abc import Iterable
from itertools import pairwise

_RESERVED = frozenset("*{},")
_MOST_NAMES = 20_000
"""Names that are looked at; more come as they are."""


def folded(names: Iterable[str]) -> list[str]:
    """Patterns of `patterns.compile_pattern` that together fit these names and no others, in the order of the names.

    Numbers that follow each other become ranges, other parts alternatives. A name with characters that mean something
    in a pattern stands for itself.
    """
    given = list(dict.fromkeys(names))
    if len(given) > _MOST_NAMES:
        return given
    split = [tuple(frozenset([part]) for part in name.split(".")) for name in given if _RESERVED.isdisjoint(name)]
    rows = dict.fromkeys(split)
    for at in range(max(map(len, rows), default=0)):
        rows = _merged(rows, -1 - at)
    shown = [(_first(row, given), ".".join(_written(part) for part in row)) for row in rows]
    shown += [(at, name) for at, name in enumerate(given) if not _RESERVED.isdisjoint(name)]
    return [text for _, text in sorted(shown)]


_Row = tuple[frozenset[str], ...]
"""What may stand in each part of a name: the row stands for every combination."""


def _merged(rows: Iterable[_Row], at: int) -> dict[_Row, None]:
    """The rows of which those that differ in part `at` alone are one."""
    alike: dict[tuple[_Row, _Row], set[str]] = {}
    kept: dict[_Row, None] = {}
    for row in rows:
        if len(row) < -at:
            kept[row] = None
        else:
            alike.setdefault((row[:at], row[len(row) + at + 1 :]), set()).update(row[at])
    return kept | {(*before, frozenset(parts), *after): None for (before, after), parts in alike.items()}


def _first(row: _Row, given: list[str]) -> int:
    """The place of the first name that a row stands for."""
    return next(
        at
        for at, name in enumerate(given)
        if len(parts := name.split(".")) == len(row) and all(part in may for part, may in zip(parts, row, strict=True))
    )


def _written(parts: frozenset[str]) -> str:
    numbers = sorted(int(part) for part in parts if _is_number(part))
    words = sorted((part for part in parts if not _is_number(part)), key=lambda word: (word != "weight", word))
    pieces = [*_ranges(numbers), *words]
    return pieces[0] if len(parts) == 1 else f"{{{','.join(pieces)}}}"


def _is_number(part: str) -> bool:
    """Whether a range could stand for it: digits of ASCII, without zeros before them."""
    return part.isascii() and part.isdecimal() and len(part) < 19 and part == str(int(part))


def _ranges(numbers: list[int]) -> list[str]:
    """Runs of at least three numbers as "0-11", others one by one."""
    starts = [0, *(at + 1 for at, (one, next_) in enumerate(pairwise(numbers)) if next_ != one + 1), len(numbers)]
    found: list[str] = []
    for start, stop in pairwise(starts):
        run = numbers[start:stop]
        found += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run)
    return found
