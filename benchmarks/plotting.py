"""Pictures of what was measured, as SVG: bars of the times in the tables of a benchmark, each beside its number."""

import re
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _NAMES, _NUMBERS = 760, 290, 150
_LINE, _TITLE = 20, 34
_OURS, _PEER, _TEXT = "#00897b", "#90a4ae", "#78909c"
_SECONDS = ("warm s", "s")
_MEMORY = ("peak MiB", "peak beside, MiB")


class Bar(NamedTuple):
    """One contestant of a case."""

    name: str
    seconds: float
    mib: float

    @property
    def is_ours(self) -> bool:
        """Whether it is statedict."""
        return "statedict" in self.name or "`sd." in self.name


def tables(text: str) -> dict[str, list[Bar]]:
    """The cases in a Markdown text: each table that has times and memory, by the heading above it."""
    found: dict[str, list[Bar]] = {}
    title, columns = "", (-1, -1)
    for line in text.splitlines():
        if line.startswith("#"):
            title, columns = line.lstrip("# "), (-1, -1)
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if any(name in cells for name in _SECONDS):
            columns = (_place(cells, _SECONDS), _place(cells, _MEMORY))
        elif cells and min(columns) >= 0 and re.fullmatch(r"[\d.]+", cells[columns[0]]):
            bar = Bar(cells[0], float(cells[columns[0]]), float(cells[columns[1]]))
            found.setdefault(title, []).append(bar)
    return found


def _place(cells: Sequence[str], names: Sequence[str]) -> int:
    return next((cells.index(name) for name in names if name in cells), -1)


def bars(cases: dict[str, list[Bar]]) -> str:
    """One picture of all cases, each on a scale of its own."""
    drawn: list[str] = []
    y = 4
    for title, rows in cases.items():
        drawn.append(_text(0, y + 18, _plain(title), weight="bold"))
        y += _TITLE
        longest = max(bar.seconds for bar in rows) or 1
        for bar in rows:
            length = max((_WIDTH - _NAMES - _NUMBERS) * bar.seconds / longest, 1)
            colour = _OURS if bar.is_ours else _PEER
            drawn.append(_text(_NAMES - 8, y + 11, _plain(bar.name), anchor="end"))
            drawn.append(f'<rect x="{_NAMES}" y="{y}" width="{length:.1f}" height="14" rx="2" fill="{colour}"/>')
            drawn.append(_text(_NAMES + length + 6, y + 11, f"{bar.seconds:.2f} s, {bar.mib:,.0f} MiB"))
            y += _LINE
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 8}" width="{_WIDTH}">'
    style = f"<style>text {{ font: 12px sans-serif; fill: {_TEXT} }}</style>"
    return "\n".join((head, style, *drawn, "</svg>", ""))


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _plain(text: str) -> str:
    return text.replace("`", "")
