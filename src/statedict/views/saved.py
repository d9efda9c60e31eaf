"""What was written, as a line and its notes; what an extracted adapter keeps, as a table."""

from collections.abc import Mapping

from statedict.saving import Saved
from statedict.views.lines import Line
from statedict.views.numbers import counted, size
from statedict.views.table import Column, table


def saved_lines(saved: Saved, doing: str) -> list[Line]:
    """One line that says where, what and how large, and one for each note."""
    files = f", {counted(len(saved.files), 'file')}" if len(saved.files) > 1 else ""
    head: Line = [(str(saved.path), "name"), (f": {doing}, ", ""), (size(saved.nbytes), "number"), (files, "")]
    return [head, *([("note: ", "dim"), (note, "")] for note in saved.notes)]


def energy_table(energy: Mapping[str, float], width: int | None) -> list[Line]:
    """A row for each module: which share of the squares of its change is kept."""
    columns = [
        Column("module", list(energy), "name", shrinks=True),
        Column("kept", [f"{share:.2%}" for share in energy.values()], "number", to_right=True),
    ]
    return table(columns, width)
