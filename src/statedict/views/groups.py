"""What an optimizer's groups hold, as a table of the groups and the names in each, folded."""

from collections.abc import Sequence
from typing import Any

from statedict.ops.folding import folded
from statedict.ops.groups import Group, Named, count
from statedict.views import numbers
from statedict.views.lines import ELLIPSIS, Line, escaped, fitted, right
from statedict.views.table import Column, table

_MOST_LINES = 12
"""Lines of names that a group gets, at most."""


def group_lines(groups: Sequence[Group], frozen: Sequence[Named] = (), width: int | None = None) -> list[Line]:
    """A line for each group, then the names that each holds, what is frozen and left out, and what is tied.

    Each is cut to `width` columns (None: never).
    """
    lines: list[Line] = table(_columns(groups), width)
    digits = len(str(max(len(groups) - 1, 0)))
    for at, group in enumerate(groups):
        lines.append([])
        lines += _names(right(str(at), digits) + "  ", group.names)
    if frozen:
        words = f"{numbers.counted(len(frozen), 'tensor')}, {numbers.counted(count(frozen), 'value')}"
        lines += _headed(f"frozen and left out: {words}")
        lines += _names(" " * (digits + 2), [each.name for each in frozen])
    tied = [each for group in groups for each in group.parameters if len(each.names) > 1]
    if tied:
        lines += _headed("tied, counted once:")
        for each in tied[:_MOST_LINES]:
            lines.append([(" " * (digits + 2) + escaped(" = ".join(each.names)), "tied")])
    return [fitted(line, width) for line in lines]


def _headed(text: str) -> list[Line]:
    return [[], [(text, "bold")]]


def _columns(groups: Sequence[Group]) -> list[Column]:
    columns = [
        Column("", [str(at) for at in range(len(groups))], "dim", to_right=True),
        Column("rule", [escaped(group.rule) for group in groups], "name", shrinks=True),
        Column("tensors", [numbers.exact(len(group.parameters)) for group in groups], "number", to_right=True),
        Column("values", [numbers.exact(group.numel) for group in groups], "number", to_right=True),
        Column("bytes", [numbers.size(group.nbytes) for group in groups], to_right=True),
    ]
    options = dict.fromkeys(name for group in groups for name in group.options)
    for name in options:
        texts = [_value(group.options[name]) if name in group.options else "" for group in groups]
        columns.append(Column(escaped(name), texts, to_right=True))
    return columns


def _value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_value, value))})"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return escaped(numbers.value(value))


def _names(head: str, names: Sequence[str]) -> list[Line]:
    patterns = folded(names)
    shown: list[Line] = [
        [(head if at == 0 else " " * len(head), "dim"), (escaped(text), "")]
        for at, text in enumerate(patterns[:_MOST_LINES])
    ]
    if hidden := len(patterns) - len(shown):
        shown.append([(f"{' ' * len(head)}{ELLIPSIS} and {hidden:,} more", "dim")])
    return shown
