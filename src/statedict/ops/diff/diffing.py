"""`diff`: what one tree has otherwise than another: names, shapes, types, descriptions, and every value."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from statedict import collector, engine
from statedict.difference import Difference
from statedict.index import TensorInfo
from statedict.ops.diff.described import described
from statedict.ops.diff.pairs import Pair, pairs
from statedict.ops.diff.result import Diff, Row, Status, Structure
from statedict.ops.diff.values import ANY, Compared, Tolerance, compared
from statedict.ops.patterns import matching
from statedict.tree.flat import flatten
from statedict.tree.module import Module

_UNRELATED = 0.5
"""The cosine below which tensors that only shape and place brought together are two of their own."""
_SURELY_RELATED = 0.9
_OFTEN = 8
"""After how many tensors that were looked at again progress is told."""
_LEAST_TOLD = 64
"""Elements of which a cosine tells whether they are related, at least."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be compared, and by what. The executor and what follows is for `engine.run`."""

    names_only: bool = False
    exact: bool = False
    tolerance: Tolerance = ANY
    kinds: bool = True
    tensors_only: bool = False
    executor: Executor | None = None
    threads: int | None = None
    progress: engine.Progress | None = None


EVERYTHING = Asked()


def diff(a: Module, b: Module, patterns: Sequence[str] = (), asked: Asked = EVERYTHING) -> Diff:
    """What the second tree has otherwise than the first: see `statedict.diff`."""
    with collector.paused():
        old, new = flatten(a), flatten(b)
        sides = _with_parts(old.tensors), _with_parts(new.tensors)
        if patterns:
            sides = _fitting(*sides, patterns)
        found = pairs(*sides, read=not asked.names_only)
        said = [] if asked.tensors_only or patterns else described(old, new, _modules_moved(found))
    rows = _rows(found, *sides)
    if asked.names_only:
        return Diff(tuple(rows), tuple(said), names_only=True)
    told = _values(rows, asked)
    done = (_judged(row, *values, asked) for row, values in zip(rows, told, strict=True))
    by_shape = {pair.name for pair in found if pair.by == "shape"}
    return Diff(tuple(_unrelated_apart(done, by_shape)), tuple(said))


def _with_parts(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The tensors, those made of parts with a line for each part."""
    if not any(info.encoding.parts for info in tensors.values()):
        return dict(tensors)
    found: dict[str, TensorInfo] = {}
    for name, info in tensors.items():
        if info.extent is not None or not info.encoding.parts:
            found[name] = info
        found |= {f"{name}.{part}": held for part, held in info.encoding.parts.items()}
    return found


def _fitting(
    old: Mapping[str, TensorInfo], new: Mapping[str, TensorInfo], patterns: Sequence[str]
) -> tuple[dict[str, TensorInfo], dict[str, TensorInfo]]:
    chosen = matching(list(dict.fromkeys([*old, *new])), patterns)
    kept = [{name: info for name, info in side.items() if name in chosen} for side in (old, new)]
    return kept[0], kept[1]


def _modules_moved(found: Iterable[Pair]) -> dict[str, str]:
    """The new name of each module of which a tensor has one."""
    moved: dict[str, str] = {}
    for pair in found:
        if pair.name is not None and pair.new_name is not None and pair.name != pair.new_name:
            name, new_name = pair.name.split("."), pair.new_name.split(".")
            if name[-1] == new_name[-1]:
                moved.setdefault(".".join(name[:-1]), ".".join(new_name[:-1]))
    return moved


# What headers tell


def _rows(found: Sequence[Pair], old: Mapping[str, TensorInfo], new: Mapping[str, TensorInfo]) -> list[Row]:
    """The rows with what is otherwise by the headers alone."""
    ties = _Ties(found, old, new)
    return [_row(pair, old, new, ties) for pair in found]


class _Ties:
    """Which names share a tensor, on either side, under the names of the first."""

    def __init__(self, found: Sequence[Pair], old: Mapping[str, TensorInfo], new: Mapping[str, TensorInfo]) -> None:
        self._both = [pair for pair in found if pair.name is not None and pair.new_name is not None]
        self.firsts: dict[int, str] = {}
        for pair in self._both:
            self.firsts.setdefault(id(old[pair.name or ""]), pair.name or "")
            self.firsts.setdefault(id(new[pair.new_name or ""]), pair.new_name or "")
        self.retied = self._retied(old, new) if self._any(old) or self._any(new) else set[str | None]()

    def _any(self, side: Mapping[str, TensorInfo]) -> bool:
        return len(set(map(id, side.values()))) < len(side)

    def _retied(self, old: Mapping[str, TensorInfo], new: Mapping[str, TensorInfo]) -> set[str | None]:
        groups: list[dict[int, list[str]]] = [{}, {}]
        for pair in self._both:
            groups[0].setdefault(id(old[pair.name or ""]), []).append(pair.name or "")
            groups[1].setdefault(id(new[pair.new_name or ""]), []).append(pair.name or "")
        named = [{name: frozenset(names) for names in side.values() for name in names} for side in groups]
        return {name for name in named[0] if named[0][name] != named[1][name]}


def _row(pair: Pair, old: Mapping[str, TensorInfo], new: Mapping[str, TensorInfo], ties: _Ties) -> Row:
    if pair.new_name is None or pair.name is None:
        name, side = pair.name or pair.new_name or "", old if pair.new_name is None else new
        first = ties.firsts.get(id(side[name]))
        structure: Structure = "removed" if pair.new_name is None else "added"
        note = "" if first is None else f"a second name of {first}, which both have"
        infos = (side[name], None) if pair.new_name is None else (None, side[name])
        return Row(name, name, *infos, ("retied",) if first is not None else (structure,), note=note)
    before, after = old[pair.name], new[pair.new_name]
    checks: tuple[tuple[Structure, bool], ...] = (
        ("renamed", pair.name != pair.new_name),
        ("reshaped", before.shape != after.shape),
        ("recast", before.dtype is not after.dtype),
        ("retied", pair.name in ties.retied),
    )
    note = "its shape and the end of its name alone say so" if pair.by == "shape" else ""
    return Row(pair.name, pair.new_name, before, after, tuple(what for what, holds in checks if holds), note=note)


# What values tell


def _values(rows: Sequence[Row], asked: Asked) -> list[tuple[Compared, Row]]:
    """What each row's values tell: of two tensors once, however many names both have."""
    wanted = {
        (id(row.before), id(row.after)): (row.before, row.after)
        for row in rows
        if row.before is not None and row.after is not None
    }
    found = compared(
        list(wanted.values()),
        asked.tolerance,
        kinds=asked.kinds,
        executor=asked.executor,
        threads=asked.threads,
        progress=asked.progress,
    )
    by_pair = dict(zip(wanted, found, strict=True))
    told: dict[tuple[int, int], tuple[Compared, Row]] = {}
    total = sum(before.nbytes for before, _ in wanted.values())
    done = 0
    for row in rows:
        key = id(row.before), id(row.after)
        if key in by_pair and key not in told:
            told[key] = by_pair[key], _with_kinds(row, by_pair[key], kinds=asked.kinds)
            done += 0 if row.before is None else row.before.nbytes
            if asked.progress is not None and asked.kinds and (done == total or len(told) % _OFTEN == 0):
                asked.progress(done, total)
    return [told.get((id(row.before), id(row.after)), (Compared(), row)) for row in rows]


def _with_kinds(row: Row, values: Compared, *, kinds: bool) -> Row:
    """The row with the kinds of change that are proved."""
    difference = values.difference
    if not kinds or row.before is None or row.after is None or difference is None or difference.same_bits:
        return row
    from statedict.ops.diff.kinds import kinds as proved
    from statedict.ops.diff.later import kinds_later

    found = proved(row.before, row.after, difference, values.evidence)
    if not found and difference.changed:
        found = kinds_later(row.before, row.after, difference)
    return replace(row, kinds=found)


def _judged(row: Row, values: Compared, known: Row, asked: Asked) -> Row:
    if row.before is None or row.after is None:
        return row
    difference = values.difference
    if values.same_place:
        return replace(row, status="same bytes")
    if difference is None:
        status: Status = "unlike" if row.before.shape != row.after.shape else "not compared"
        return replace(row, status=status, note=values.note)
    status = _status(row, difference, asked)
    alike = status != "different" or (difference.cosine or 0.0) >= _SURELY_RELATED
    note = values.note or ("" if alike else row.note)
    return replace(row, status=status, values=difference, kinds=known.kinds, note=note)


def _status(row: Row, difference: Difference, asked: Asked) -> Status:
    if difference.same_bits:
        return "equal bits"
    if difference.same_values and (not asked.exact or "recast" in row.structure):
        return "equal values"
    return "close" if asked.tolerance.is_given and not difference.beyond else "different"


def _unrelated_apart(rows: Iterable[Row], by_shape: set[str | None]) -> Iterable[Row]:
    """The rows; those of tensors that only their shape brought together, and that have nothing in common, as two."""
    for row in rows:
        values = row.values
        related = values is None or values.count < _LEAST_TOLD or (values.cosine or 0.0) >= _UNRELATED
        if row.name not in by_shape or row.status != "different" or related:
            yield row
        else:
            yield Row(row.name, row.name, row.before, None, ("removed",))
            yield Row(row.new_name, row.new_name, None, row.after, ("added",))
