"""What a view returns: lines made of pieces of text with a style, safe to show on a terminal and cut to its width."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

Style = Literal["", "bold", "name", "kind", "number", "shape", "dtype", "dim", "tied"]
Piece = tuple[str, Style]
Line = list[Piece]

ELLIPSIS = "…"
_WORD = re.compile(r" *[^ ]+| +")


def escaped(text: str) -> str:
    r"""`text` with whatever does not print made visible as Python does: `\x1b`, `\n`, `\u202e`; backslashes doubled.

    Control characters, escape sequences, the marks that reorder text, and lone surrogates cannot reach a terminal.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped_character(character) for character in text)


def name_text(name: str) -> str:
    """A name as `escaped` shows it, in quotes where it could be overlooked: an empty one, or spaces at an end."""
    return escaped(name) if name and name == name.strip() else f'"{escaped(name)}"'


def one_line(text: str) -> str:
    """`text` with whatever does not print made visible, and backslashes left as they are."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped_character(c) for c in text)


def _escaped_character(character: str) -> str:
    if character == "\\" or not character.isprintable():
        return character.encode("unicode_escape").decode("ascii")
    return character


def cells(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    return _wide_cells(text)


def _wide_cells(text: str) -> int:
    plain = text.translate(_ONE_CELL)
    if plain.isascii():
        return len(text)
    import rich.cells

    return rich.cells.cell_len(text)


_ONE_CELL = dict.fromkeys(map(ord, "│├└─…·×=▸▁▂▃▄▅▆▇█"), "-")
"""What the views draw with: one column each, known without asking rich."""


def shortened(text: str, width: int | None) -> str:
    """`text` cut to `width` columns, its end replaced by an ellipsis."""
    if width is None or (len(text) <= width and cells(text) <= width):
        return text
    return _cut(text, width - 1) + ELLIPSIS if width > 0 else ""


def middle_shortened(text: str, width: int | None) -> str:
    """`text` cut to `width` columns in its middle: of a dotted name, both ends tell something."""
    if width is None or (len(text) <= width and cells(text) <= width):
        return text
    if width < 8:
        return shortened(text, width)
    tail = (width - 1) // 2
    ending = _cut(text[::-1], tail)[::-1]
    return _cut(text, width - 1 - tail) + ELLIPSIS + ending


def _cut(text: str, width: int) -> str:
    """The longest beginning of `text` that takes at most `width` columns."""
    text = text[: max(width, 0)]
    while text and cells(text) > width:
        text = text[: max(len(text) - (cells(text) - width + 1) // 2, 0)] if cells(text) - width > 1 else text[:-1]
    return text


def fitted(line: Iterable[Piece], width: int | None) -> Line:
    """`line` cut to `width` columns, with an ellipsis where something was cut; without empty pieces."""
    pieces = [piece for piece in line if piece[0]]
    if width is None:
        return pieces
    while pieces and not pieces[-1][0].strip():  # spaces that would end the line are nothing to cut
        pieces.pop()
    if pieces:
        pieces[-1] = (pieces[-1][0].rstrip(" "), pieces[-1][1])
    room = width
    kept: Line = []
    for at, (text, style) in enumerate(pieces):
        taken = cells(text)
        more = at + 1 < len(pieces)
        if taken > room or (taken == room and more and any(rest.strip() for rest, _ in pieces[at + 1 :])):
            kept.append((shortened(text + " " * more, room), style))
            break
        kept.append((text, style))
        room -= taken
    return kept


def wrapped(line: Iterable[Piece], width: int | None, indent: str = "    ") -> list[Line]:
    """`line`, which is prose, in as many lines of at most `width` columns as it takes; all but the first are indented.

    It is divided at spaces; what has none and is wider is cut in its middle.
    """
    pieces = [piece for piece in line if piece[0]]
    if width is None or sum(cells(text) for text, _ in pieces) <= width:
        return [pieces]
    lines: list[Line] = [[]]
    room = width
    words: Line = [(word, style) for text, style in pieces for word in _WORD.findall(text)]
    for word, style in words:
        if cells(word) > room and any(text.strip() for text, _ in lines[-1]):
            lines.append([(indent, "")])
            room, word = width - len(indent), word.lstrip(" ")
        word = middle_shortened(word, room)
        lines[-1].append((word, style))
        room -= cells(word)
    return lines


def padded(text: str, width: int) -> str:
    """`text` filled with spaces to `width` columns."""
    return text + " " * (width - cells(text))


def right(text: str, width: int) -> str:
    """`text` with spaces before it, to `width` columns."""
    return " " * (width - cells(text)) + text


def plain(lines: Iterable[Iterable[Piece]]) -> str:
    """The lines as text without styles, each ended by a newline, without spaces at its end."""
    return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)


Align = Callable[[str, int], str]


def widest(texts: Sequence[str]) -> int:
    """Columns of the widest of `texts`; 0 when there is none."""
    return max(map(len if all(map(str.isascii, texts)) else cells, texts), default=0)
