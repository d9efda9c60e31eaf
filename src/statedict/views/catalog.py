"""What a catalogue answers, as tables and trees; a picture of lineage as Graphviz's DOT."""

import json
from collections.abc import Sequence
from typing import Any

from statedict.catalog.adding import Added
from statedict.catalog.asking import Duplicates
from statedict.views.lines import Line, escaped
from statedict.views.numbers import counted, size
from statedict.views.table import Column, table

_LONGEST = 60


def added_lines(found: Added, path: str) -> list[Line]:
    """What was put in, in one line; and what is wrong with the first few that cannot be read."""
    unreadable = f" ({found.unreadable:,} of them unreadable)" if found.unreadable else ""
    added = f"{counted(found.added, 'checkpoint')} added{unreadable}"
    said = f"{added}, {found.unchanged:,} unchanged, {found.removed:,} removed"
    lines: list[Line] = [[("unreadable: ", "number"), (escaped(each), "")] for each in found.errors]
    if found.unreadable > len(found.errors):
        asked = "`statedict catalog sql 'SELECT path, error FROM checkpoints WHERE error IS NOT NULL'`"
        lines.append([(f"and {found.unreadable - len(found.errors):,} more: {asked}", "dim")])
    return [*lines, [(f"{escaped(path)}: ", "bold"), (said, "")]]


def duplicates_lines(found: Duplicates, width: int | None) -> list[Line]:
    """The tensors that cost most, and what one copy of each would save."""
    rows = found.largest
    columns = [
        Column("copies", [f"{each.copies:,}" for each in rows], "number", to_right=True),
        Column("bytes", [size(each.nbytes) for each in rows], "number", to_right=True),
        Column("saved", [size(each.saved) for each in rows], "number", to_right=True),
        Column("dtype", [each.dtype for each in rows], "dtype"),
        Column("shape", [str(list(each.shape)) for each in rows], "shape"),
        Column("name", [escaped(each.name) for each in rows], "name", shrinks=True),
        Column("in", [escaped(each.path) for each in rows], "", shrinks=True),
    ]
    share = f" ({found.saved / found.of:.1%})" if found.of else ""
    last = f"{counted(found.tensors, 'tensor')} stored more than once; one copy of each would save {size(found.saved)}"
    whole = f"; {counted(found.files, 'checkpoint')} with nothing that another does not hold" if found.files else ""
    total: Line = [(f"{last} of {size(found.of)}{share}{whole}", "bold")]
    return [*table(columns, width), [], total] if rows else [total]


def lineage_lines(lines: Sequence[tuple[int, str, dict[str, Any]]]) -> list[Line]:
    """Each family as a tree, with what a model has in common with the one above it."""
    drawn: list[Line] = []
    for depth, name, said in lines:
        line: Line = [("   " * (depth - 1) + "└─ " if depth else "", "dim"), (escaped(name), "name")]
        if said:
            line.append((f"  {said['similarity']:.1%} shared or close", "number"))
            line.append((f": {said['shared']:,} values shared, {said['close']:,} close", "dim"))
        drawn.append(line)
    return drawn or [[("no model derives from another here", "")]]


def lineage_dot(lines: Sequence[tuple[int, str, dict[str, Any]]]) -> str:
    """The same as a graph that Graphviz draws."""
    edges = [
        f'  {json.dumps(said["parent"])} -> {json.dumps(name)} [label="{said["similarity"]:.1%}"];\n'
        for _, name, said in lines
        if said
    ]
    return "digraph lineage {\n  rankdir=LR;\n  node [shape=box];\n" + "".join(edges) + "}\n"


def rows_lines(columns: Sequence[str], rows: Sequence[tuple[Any, ...]], width: int | None) -> list[Line]:
    """Any rows as a table."""
    cells = [[_cell(row[at]) for row in rows] for at in range(len(columns))]
    made = [
        Column(escaped(name), cells[at], "", to_right=_is_number(rows, at), shrinks=not _is_number(rows, at))
        for at, name in enumerate(columns)
    ]
    return [*table(made, width), [], [(counted(len(rows), "row"), "bold")]]


def _is_number(rows: Sequence[tuple[Any, ...]], at: int) -> bool:
    return all(isinstance(row[at], int | float) for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = escaped(str(value))
    return text if len(text) <= _LONGEST * 2 else text[: _LONGEST * 2] + "…"
