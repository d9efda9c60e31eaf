"""What is pruned of a model, as a table of its tensors and a line for each reason why others are not."""

from collections.abc import Mapping, Sequence
from typing import Any

from statedict.ops.folding import folded
from statedict.views import numbers
from statedict.views.lines import Line, escaped, fitted
from statedict.views.table import Column, table


def pruning_lines(
    rows: Sequence[tuple[str, int, int]], left_out: Mapping[str, str], width: int | None = None
) -> list[Line]:
    """A line for each tensor, given its name, its elements and how many are gone; each cut to `width` columns."""
    total = ("in all", sum(count for _, count, _ in rows), sum(gone for *_, gone in rows))
    every = [*rows, total]
    columns = [
        Column("name", [escaped(name) for name, *_ in every], "name", shrinks=True),
        Column("values", [numbers.exact(count) for _, count, _ in every], "number", to_right=True),
        Column("pruned", [numbers.exact(gone) for *_, gone in every], "number", to_right=True),
        Column("share", [_share(gone, count) for _, count, gone in every], to_right=True),
    ]
    lines: list[Line] = table(columns, width)
    if left_out:
        lines.append([])
    lines += left_out_lines(left_out)
    return [fitted(line, width) for line in lines]


def left_out_lines(left_out: Mapping[str, str]) -> list[Line]:
    """A line for each reason why tensors are not pruned, with their names."""
    lines: list[Line] = []
    for reason in dict.fromkeys(left_out.values()):
        names = ", ".join(folded(name for name, why in left_out.items() if why == reason))
        lines.append([(f"left out, {escaped(reason)}: ", "dim"), (escaped(names), "name")])
    return lines


def pruned_line(said: Mapping[str, Any]) -> Line:
    """What is pruned of a file, given what its metadata say."""
    where = numbers.counted(said["tensors"], "tensor")
    head: Line = [("pruned: ", "dim")]
    if "pruned_units" in said:
        word = said["method"] if said["method"] in ("rows", "columns", "channels") else "blocks"
        gone, total = said["pruned_units"], said["units"]
    elif "pruned" in said:
        word, gone, total = "values", said["pruned"], said["values"]
    else:
        return [*head, (f"what masks say, in {where}", "")]
    return [*head, (f"{gone:,}", "number"), (f" of {total:,} {word} ({_share(gone, total)}) in {where}", "")]


def _share(gone: int, count: int) -> str:
    return f"{100 * gone / count:.2f}%" if count else "-"
