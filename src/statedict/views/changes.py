"""What an edit would change, as a diff: `-` what goes, `+` what comes; repeated blocks folded."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from statedict.index import TensorInfo
from statedict.ops.changes import Change, Changes
from statedict.views.lines import Line, Style, fitted, name_text
from statedict.views.numbers import shape, size
from statedict.views.table import Column, table

_DIGITS = re.compile(r"(?<![^._\-])(\d{1,9})(?![^._\-])|(?<=[A-Za-z])(\d{1,9})(?![^._\-])", re.ASCII)
_PARTS = ("renamed", "changed", "removed", "added")


class _Row(NamedTuple):
    sign: str
    name: str
    info: TensorInfo
    times: int


def changes_lines(changes: Changes, before: int, after: int, width: int | None) -> list[Line]:
    """A line for each name that goes or comes, alike ones folded; metadata; the totals, with bytes before and after."""
    rows = [row for group in _folded(changes.changes) for row in group]
    lines = [
        *(_table(rows, width) if rows else []),
        *(_said(key, *values, width) for key, values in changes.metadata.items()),
    ]
    parts = [f"{changes.count(what):,} {what}" for what in _PARTS if changes.count(what)]
    total = ", ".join([*parts, f"{changes.unchanged:,} as before"])
    bytes_text = f"; {size(before)} become {size(after)}" if before != after else f"; {size(before)}"
    return [*lines, *([[]] if lines else []), [(total, ""), (bytes_text, "dim")]]


def _table(rows: Sequence[_Row], width: int | None) -> list[Line]:
    columns = [
        Column("", [row.sign for row in rows]),
        Column("name", [name_text(row.name) for row in rows], "name", shrinks=True),
        Column("dtype", [row.info.dtype.short for row in rows], "dtype"),
        Column("shape", [shape(row.info.shape) for row in rows]),
        Column("", [f"{row.times:,}×" if row.times > 1 else "" for row in rows], "dim"),
    ]
    return table(columns, width)


def _said(key: str, old: object, new: object, width: int | None) -> Line:
    signs: list[tuple[str, object]] = [(sign, value) for sign, value in (("-", old), ("+", new)) if value is not None]
    style: Style = "dim"
    return fitted(
        [("metadata ", style), *((f"{sign} {key}={name_text(str(value))} ", "") for sign, value in signs)], width
    )


def _folded(changes: Iterable[Change]) -> Iterable[list[_Row]]:
    """The rows of each change, and of those that differ in numbers alone as one."""
    groups: dict[object, list[Change]] = {}
    for change in changes:
        sides = [(name, info) for name, info in ((change.name, change.before), (change.new_name, change.after))]
        key = tuple(
            None if info is None else (_DIGITS.sub("0", name or ""), info.dtype, info.shape) for name, info in sides
        )
        groups.setdefault((change.what, key), []).append(change)
    for group in groups.values():
        rows: list[_Row] = []
        first = group[0]
        if first.before is not None:
            rows.append(_Row("-", _common([change.name or "" for change in group]), first.before, len(group)))
        if first.after is not None:
            rows.append(_Row("+", _common([change.new_name or "" for change in group]), first.after, len(group)))
        yield rows


def _common(names: list[str]) -> str:
    """One pattern for names that differ in numbers: `layers.{0-11}.weight`."""
    if len(names) == 1:
        return names[0]
    columns = iter(zip(*([found[0] for found in _DIGITS.finditer(name)] for name in names), strict=True))
    return _DIGITS.sub(lambda _: _numbers(next(columns)), names[0])


def _numbers(found: Sequence[str]) -> str:
    values = sorted({int(text) for text in found})
    if len(values) == 1:
        return found[0]
    if values == list(range(values[0], values[-1] + 1)):
        return f"{{{values[0]}-{values[-1]}}}"
    return f"{{{','.join(map(str, values))}}}"
