"""The formats that can be read, as a table and as fields of a JSON document."""

from collections.abc import Callable, Sequence
from typing import Any

from statedict.formats import FORMATS, Format
from statedict.views.lines import Line
from statedict.views.table import WIDE, Column, table


def formats_table(
    formats: Sequence[Format], is_installed: Callable[[str], bool], width: int | None = None
) -> list[Line]:
    """A line for each format, cut to `width` columns (None: never)."""
    columns = [
        Column("name", [entry.name for entry in formats], "name"),
        Column("suffixes", [" ".join(entry.suffixes) or "folders" * entry.folders for entry in formats], "kind"),
        Column("can", ["read, write" if entry.writes else "read" for entry in formats]),
        Column("extra", [_needed(entry, is_installed) for entry in formats], "dtype"),
        Column("what it is", [_about(entry).replace("`", "") for entry in formats], shrinks=True),
    ]
    if width is not None and width < WIDE:  # what it is tells more than what it is called, and what else there is
        columns = [column for column in columns if column.title not in ("suffixes", "extra")]
    return table(columns, width)


def _needed(entry: Format, is_installed: Callable[[str], bool]) -> str:
    if entry.extra is None:
        return ""
    return entry.extra + (" (installed)" if is_installed(entry.extra) else "")


def _about(entry: Format) -> str:
    return entry.about if entry in FORMATS else f"{entry.about} (plugged in: {entry.module})"


def formats_fields(formats: Sequence[Format], is_installed: Callable[[str], bool]) -> list[dict[str, Any]]:
    """The same as what JSON has."""
    return [
        {
            "name": entry.name,
            "suffixes": entry.suffixes,
            "folders": entry.folders,
            "reads": True,
            "writes": entry.writes,
            "about": entry.about,
            "extra": entry.extra,
            "installed": entry.extra is None or is_installed(entry.extra),
            "plugged_in": None if entry in FORMATS else entry.module,
        }
        for entry in formats
    ]
