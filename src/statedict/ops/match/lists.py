"""The lists of modules in a scope: those that numbers name, or words with numbers; and lists in lists as one row."""

import re
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise

from statedict.narrow import is_number
from statedict.ops.match.units import Parts, Unit
from statedict.ops.match.words import meaning

_NUMBERED = re.compile(r"(\D+|.*\D)(\d{1,9})", re.ASCII | re.DOTALL)


class Listed:
    """A list of modules: those that are named by numbers, by these; or by a word with numbers at its end."""

    def __init__(self, path: Parts, stem: str = "") -> None:
        self.path = path
        self.stem = stem
        self.items: dict[int, list[Unit]] = {}

    def __repr__(self) -> str:
        return f"Listed({'.'.join((*self.path, self.stem))}, {len(self.items)})"

    @cached_property
    def numbers(self) -> list[int]:
        return sorted(self.items)

    @cached_property
    def numels(self) -> list[int]:
        return [sum(unit.numel for unit in self.items[number]) for number in self.numbers]

    @property
    def place(self) -> int:
        return min(unit.place for units in self.items.values() for unit in units)

    @property
    def depth(self) -> int:
        """How many parts the name of an item has."""
        return len(self.path) + 1

    @cached_property
    def words(self) -> tuple[tuple[str, ...], ...]:
        return tuple(meaning(part) for part in (*self.path, self.stem) if part)

    def head(self, number: int) -> str:
        """What stands before the names in an item."""
        return ".".join((*self.path, f"{self.stem}{number}", ""))

    def signature(self, number: int) -> tuple[object, ...]:
        """What an item is like: the names in it, and the shapes."""
        return tuple((unit.parts[self.depth :], tuple(unit.shapes.items())) for unit in self.items[number])


class Row(Listed):
    """The items of lists that are in a list, one after the other: `blocks.{i}.{j}`, counted through."""

    def __init__(self, path: Parts) -> None:
        super().__init__(path)
        self._heads: list[str] = []

    def __repr__(self) -> str:
        return f"Row({'.'.join(self.path)}, {len(self.items)})"

    @property
    def depth(self) -> int:
        return self._heads[0].count(".")

    def head(self, number: int) -> str:
        return self._heads[number]

    def add(self, head: Parts, units: list[Unit]) -> None:
        """Let it have one item more, whose name is `head`."""
        self.items[len(self._heads)] = units
        self._heads.append(".".join((*head, "")))


def rows_of(units: Iterable[Unit]) -> list[Row]:
    """The rows that lists within lists make, those of several lists with several items."""
    found: dict[tuple[Parts, Parts], dict[tuple[int, int], list[Unit]]] = {}
    for unit in units:
        numbered = [at for at, part in enumerate(unit.parts) if is_number(part)]
        for outer, inner in pairwise(numbered):
            held = found.setdefault((unit.parts[:outer], unit.parts[outer + 1 : inner]), {})
            held.setdefault((int(unit.parts[outer]), int(unit.parts[inner])), []).append(unit)
    rows: list[Row] = []
    for (path, between), items in found.items():
        if 1 < len({outer for outer, _ in items}) < len(items):
            row = Row((*path, *between))
            for (outer, inner), held in sorted(items.items()):
                row.add((*path, str(outer), *between, str(inner)), held)
            rows.append(row)
    return rows


def lists_of(units: Iterable[Unit]) -> list[Listed]:
    """The lists in a scope, outer ones first."""
    found: dict[tuple[Parts, str], Listed] = {}
    for unit in units:
        for at, part in enumerate(unit.parts):
            stem = "" if is_number(part) else _stem(part)
            if stem is not None:
                held = found.setdefault((unit.parts[:at], stem), Listed(unit.parts[:at], stem))
                held.items.setdefault(int(part[len(stem) :]), []).append(unit)
    lists = (each for each in found.values() if not each.stem or _is_list(each))
    return sorted(lists, key=lambda each: (len(each.path), each.place))


def _stem(part: str) -> str | None:
    """What stands before the number at the end of a part, where it is written as `Listed.head` writes it."""
    found = _NUMBERED.fullmatch(part)
    return found[1] if found is not None and is_number(found[2]) else None


def _is_list(listed: Listed) -> bool:
    """Whether what a word with numbers names are modules of several layers each, not `conv1` and `conv2`."""
    return len(listed.items) > 1 and all(len(units) > 1 for units in listed.items.values())
