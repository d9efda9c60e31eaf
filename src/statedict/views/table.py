"""Columns of text, aligned: the tables of `ls`, the numbers of `tree`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from statedict.views.lines import Line, Style, cells, fitted, middle_shortened, padded, right, widest

WIDE = 100
"""Columns of a terminal that has room for exact numbers."""
NARROW = 60
"""Columns of one that has room for what things are, and for few numbers."""

MOST_ALIGNED = 160
"""The widest column: one name of a hostile file must not fill each of a million lines with spaces."""

_GAP = "  "
_NARROWEST = 12


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a title, its texts, one a row, and how they are shown."""

    title: str
    texts: Sequence[str]
    style: Style = ""
    to_right: bool = False
    shrinks: bool = False
    """Whether its texts are cut in the middle when the table is wider than there is room."""

    @property
    def width(self) -> int:
        """Columns of the terminal that its widest text takes; longer ones than `MOST_ALIGNED` stand out."""
        return min(max(cells(self.title), widest(self.texts)), MOST_ALIGNED)


def aligned(column: Column, width: int | None = None) -> Column:
    """The same column, its title and every text filled to its own width, or filled and cut to `width`."""
    texts: Sequence[str] = [column.title, *column.texts]
    if column.shrinks and width is not None:
        texts = [middle_shortened(text, width) for text in texts]
    width = column.width if width is None else width
    if all(map(str.isascii, texts)):
        fill = str.rjust if column.to_right else str.ljust
    else:
        fill = right if column.to_right else padded
    title, *rows = [fill(text, width) for text in texts]
    return replace(column, title=title, texts=rows)


def table(columns: Sequence[Column], width: int | None = None) -> list[Line]:
    """A line of titles and one a row, cut to `width` columns (None: never); nothing but titles for no rows."""
    if width is None:
        made = [aligned(column) for column in columns]
    else:
        widths = _shrunk(columns, [column.width for column in columns], width)
        made = [aligned(column, given) for column, given in zip(columns, widths, strict=True)]
    spaced = [*([text + _GAP for text in column.texts] for column in made[:-1]), made[-1].texts]
    styles: list[Style] = [column.style for column in made]
    titles: Line = [(column.title + _GAP, "dim") for column in made]
    lines = [titles, *(list(zip(row, styles, strict=True)) for row in zip(*spaced, strict=True))]
    return lines if width is None else [fitted(line, width) for line in lines]


def _shrunk(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """The widths when columns that may shrink have done so; the last is left to be cut at its end."""
    over = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1) + min(widths[-1], _NARROWEST) - width
    for at, column in enumerate(columns):
        if column.shrinks and over > 0:
            cut = min(over, max(widths[at] - _NARROWEST, 0))
            widths[at] -= cut
            over -= cut
    return widths
