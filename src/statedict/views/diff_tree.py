"""What differs as a tree of lines, before they are text: alike parts folded into one, and what is the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from statedict.ops.diff.result import Diff, Row
from statedict.views.lines import escaped, name_text
from statedict.views.numbers import counted

_MOST_LONE = 12
"""Tensors of one module that came, or went, and have a line each."""


@dataclass(slots=True)
class _Node:
    """A module or a tensor, under one name or several alike ones."""

    label: str
    rows: list[Row] = field(default_factory=list[Row])
    """What is named exactly so."""
    children: dict[str, "_Node"] = field(default_factory=dict[str, "_Node"])

    def all(self) -> Iterator[Row]:
        """Every row in it."""
        yield from self.rows
        for child in self.children.values():
            yield from child.all()


@dataclass(slots=True)
class Shown:
    """One line: what it is called, and the rows that it is of."""

    label: str
    rows: Sequence[Row]
    is_tensor: bool
    sign: str = "~"
    about: str = ""


def tree_of(diff: Diff) -> Iterator[Shown]:
    """The lines of all that differs, parents first; none where nothing does."""
    root = _Node("")
    for row in diff.rows:
        node = root
        for part in row.name.split("."):
            node = node.children.setdefault(part, _Node(part))
        node.rows.append(row)
    if diff.changes and _is_one_change(list(diff.rows)):
        yield _at_once("(all)", diff.rows)
    elif diff.changes:
        yield from _below(root, "")


def _below(node: _Node, indent: str) -> Iterator[Shown]:
    """The lines of all that is in a node: what changed in order, and then what did not."""
    same: list[_Node] = []
    folds: dict[object, list[_Node]] = {}
    for child in node.children.values():
        if all(row.is_same for row in child.all()):
            same.append(child)
        else:
            key = _signature(child) if child.label.isdecimal() else child.label
            folds.setdefault(key, []).append(child)
    lone: dict[str, list[_Node]] = {"+": [], "-": []}
    for alike in folds.values():
        node = _folded(alike)
        sign = "~" if node.children else sign_of(node.rows)
        if sign in lone:
            lone[sign].append(node)
        if sign not in lone or len(lone[sign]) <= _MOST_LONE:
            yield from _lines_of(node, indent)
    for sign, nodes in lone.items():
        if rows := [row for node in nodes[_MOST_LONE:] for row in node.rows]:
            yield Shown(indent + "…", rows, False, sign, counted(len(rows), "more tensor"))
    if same:
        rows = [row for child in same for row in child.all()]
        yield Shown(indent + _names([child.label for child in same]), rows, False, "", _sameness(rows))


def _lines_of(node: _Node, indent: str) -> Iterator[Shown]:
    label = node.label
    while len(node.children) == 1 and not node.rows:
        node = _folded(list(node.children.values()))
        label = f"{label}.{node.label}"
    rows = list(node.all())
    sign = sign_of(rows)
    if not node.children:
        yield Shown(indent + label, rows, True, sign)
    elif sign in "+-":
        yield Shown(indent + label, rows, False, sign, counted(len(rows), "tensor"))
    elif _is_one_change(rows):
        yield _at_once(indent + label, rows)
    else:
        changed = sum(not row.is_same for row in rows)
        yield Shown(indent + label, rows, False, "", f"{changed:,} of {counted(len(rows), 'tensor')}")
        if node.rows:
            yield Shown(indent + "  " + label, node.rows, True, sign_of(node.rows))
        yield from _below(node, indent + "  ")


def _is_one_change(rows: Sequence[Row]) -> bool:
    """Whether one thing, which has a name, happened to all rows but those that it leaves as they are."""
    changed = [row for row in rows if not row.is_same]
    if len(changed) < 2 or not all(row.kinds or not row.has_changed_values for row in changed):
        return False
    first = changed[0]
    if {"added", "removed", "reshaped", "retied"} & {*first.structure} or len(
        {_what_happened(row) for row in changed}
    ) > 1:
        return False
    after = first.after and first.after.dtype
    left = (row.before.dtype for row in rows if row.is_same and row.before is not None)
    return all(not dtype.is_floating_point or (dtype is after and "recast" in first.structure) for dtype in left)


def _what_happened(row: Row) -> object:
    """Equal for rows to which the same happened; what a cast left equal was cast as well."""
    dtypes = tuple(info and info.dtype for info in (row.before, row.after)) if "recast" in row.structure else ()
    kinds = tuple(kind.text for kind in row.kinds)
    cast = dtypes and (not row.has_changed_values or [kind.name for kind in row.kinds] == ["rounded"])
    return row.structure, dtypes, cast or (row.has_changed_values, kinds), row.note, _moved(row)


def _moved(row: Row) -> tuple[str, str]:
    """What stood before the end that both names have, and what stands there now."""
    old, new = row.name.split("."), row.new_name.split(".")
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return ".".join(old), ".".join(new)


def _at_once(label: str, rows: Sequence[Row]) -> Shown:
    """One line for rows to which one thing happened."""
    changed = [row for row in rows if not row.is_same]
    first = changed[0]
    said = [f"{len(changed):,} of {counted(len(rows), 'tensor')}"]
    dtypes = arrow([info.dtype.short for info in (first.before, first.after) if info is not None])
    said += [dtypes] if "recast" in first.structure else []
    if "renamed" in first.structure:
        old, new = (f"{escaped(part)}.**" if part else "**" for part in _moved(first))
        said.append(f"{old} → {new}")
    told = next((row for row in changed if row.kinds), first)
    said += [kind.text for kind in told.kinds] or [first.status]
    return Shown(label, rows, False, "~", "; ".join(said))


def sign_of(rows: Sequence[Row]) -> str:
    """What happened to all rows."""
    if all("added" in row.structure for row in rows):
        return "+"
    return "-" if all("removed" in row.structure for row in rows) else "~"


def _signature(node: _Node) -> object:
    """Equal for nodes that may share their lines: all but names that are numbers, and figures."""
    rows = tuple(
        (
            row.structure,
            row.status,
            _form(row.before),
            _form(row.after),
            tuple(kind.name for kind in row.kinds),
            row.note,
        )
        for row in node.rows
    )
    return rows, tuple((child.label, _signature(child)) for child in node.children.values())


def _form(info: Any) -> object:
    return None if info is None else (info.dtype, info.shape)


def _folded(alike: list[_Node]) -> _Node:
    """One node of several that look the same."""
    if len(alike) == 1:
        return alike[0]
    labels = [node.label for node in alike]
    made = _Node(labels[0] if len(set(labels)) == 1 else _numbers(labels), [row for node in alike for row in node.rows])
    for label in alike[0].children:
        made.children[label] = _folded([node.children[label] for node in alike])
    return made


def _numbers(labels: list[str]) -> str:
    """`{0-3,7}` of labels that are numbers."""
    values = sorted(int(label) for label in labels)
    runs = [[value for _, value in run] for _, run in groupby(enumerate(values), lambda pair: pair[1] - pair[0])]
    text = ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"{{{text}}}" if len(values) > 1 else text


def _names(labels: list[str]) -> str:
    """Some names in a few words."""
    numbers = [label for label in labels if label.isdecimal()]
    words = [name_text(label) for label in labels if not label.isdecimal()]
    return ", ".join([*([_numbers(numbers)] if numbers else []), *words[:3], *(["…"] if len(words) > 3 else [])])


def _sameness(rows: Sequence[Row]) -> str:
    """How it is known that nothing changed."""
    said = [f"{counted(len(list(group)), 'tensor')}: {status}" for status, group in groupby(sorted(_known(rows)))]
    return ", ".join(said)


def _known(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        yield "same name, type, shape" if row.status == "not compared" else row.status


def arrow(sides: list[str]) -> str:
    """What was and what is, or once what stayed."""
    return " → ".join(dict.fromkeys(sides))
