"""The one place that prints: where to, how wide, in which colours."""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TextIO

from statedict.views.lines import Line, Style, plain

_CODES: Mapping[Style, str] = {
    "": "",
    "bold": "1",
    "name": "36",
    "kind": "33",
    "number": "32",
    "shape": "",
    "dtype": "35",
    "dim": "2",
    "tied": "34",
}
_PIECE = 1 << 16
_DRAWN_IN_ASCII = str.maketrans("├│└─…▁▂▃▄▅▆▇█", "||`-~.:-=+*%#")


def print_lines(lines: Iterable[Line]) -> None:
    """Print lines in colour where `uses_colour` says so."""
    print_text(_coloured(lines) if uses_colour(sys.stdout, os.environ) else plain(lines))


def print_text(text: str) -> None:
    """Print `text`; when the reader has gone away, end quietly as `cat` does."""
    try:
        shown = _encodable(text, sys.stdout.encoding)
        for start in range(0, len(shown), _PIECE):  # so that a reader that has gone away is noticed early
            sys.stdout.write(shown[start : start + _PIECE])
        sys.stdout.flush()
    except BrokenPipeError:
        _end_as_by_signal()
    except OSError:
        _abandon(sys.stdout)
        raise


def uses_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to print in colour: on a terminal, unless NO_COLOR, CLICOLOR or FORCE_COLOR says otherwise."""
    if environment.get("NO_COLOR"):
        return False
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        if environment.get(name):
            return environment[name] != "0"
    if environment.get("CLICOLOR") == "0" or environment.get("TERM") == "dumb":
        return False
    return stream.isatty()


def is_plain() -> bool:
    """Whether what is printed is neither coloured nor cut: in a pipe, or into a file."""
    return width() is None and not uses_colour(sys.stdout, os.environ)


def width() -> int | None:
    """The columns of the terminal that is printed on; None where it is none, and nothing is to be cut."""
    if not sys.stdout.isatty():
        return None
    import shutil  # which loads what unpacks archives

    return shutil.get_terminal_size().columns


def _coloured(lines: Iterable[Line]) -> str:
    starts = {style: f"\x1b[{code}m" if code else "" for style, code in _CODES.items()}
    text: list[str] = []
    for line in lines:
        for piece, style in line:
            start = starts[style]
            text.append(f"{start}{piece}\x1b[0m" if start and piece.strip() else piece)
        text.append("\n")
    return "".join(text)


def _encodable(text: str, encoding: str) -> str:
    """`text` with what the terminal's encoding lacks drawn in ASCII, or escaped."""
    if text.isascii():
        return text
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_DRAWN_IN_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text


def _end_as_by_signal() -> None:
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)


def _abandon(stream: TextIO) -> None:
    """Keep Python from trying, and failing, to write the rest when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
