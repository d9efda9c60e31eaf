"""The manual pages, from the same texts as `--help`: `python -m statedict.cli.manual FOLDER` writes one a command."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from statedict._version import __version__
from statedict.cli.commands import COMMANDS, commands

_SECTION = "1"


def page(command: click.Command, context: click.Context, about: str) -> str:
    """A command's manual page, in the `man` macros of roff."""
    name = context.command_path.replace(" ", "-")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{_text(name.upper())}" "{_SECTION}" "" "statedict {__version__}" "statedict"',
        *(".SH NAME", f"{_text(name)} \\- {_text(about)}"),
        *(".SH SYNOPSIS", f"\\fB{_text(context.command_path)}\\fR {_text(usage)}"),
        *(".SH DESCRIPTION", *_paragraphs(command.help or "")),
        ".SH OPTIONS",
    ]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            lines += [".TP", f"\\fB{_text(record[0])}\\fR", _text(record[1])]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for name, _, said in _within(command, context):
            lines += [
                ".TP",
                f"\\fB{_text(context.command_path.replace(' ', '-'))}\\-{_text(name)}\\fR({_SECTION})",
                _text(said),
            ]
    lines += [".SH EXIT STATUS", "0 done, 1 found what it looks for, 2 wrong use or unreadable input."]
    return "".join(f"{line}\n" for line in lines)


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    top = click.Context(commands, info_name="statedict", **commands.context_settings)
    return dict(_pages(commands, top, "look into neural-network checkpoints"))


def _pages(command: click.Command, context: click.Context, about: str) -> Iterator[tuple[str, str]]:
    """Yield the page of a command and, of a group, those of the commands in it."""
    yield f"{context.command_path.replace(' ', '-')}.{_SECTION}", page(command, context, about)
    if isinstance(command, click.Group):
        for name, inner, said in _within(command, context):
            yield from _pages(inner, click.Context(inner, context, name), said)


def _within(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command, str]]:
    """Yield each command of a group: its name, itself, and what it does in one line."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            yield name, command, COMMANDS[name] if group is commands else command.get_short_help_str(200)


def _paragraphs(text: str) -> list[str]:
    return [line for part in re.split(r"\n\s*\n", text.strip()) for line in (".PP", _text(" ".join(part.split())))]


def _text(text: str) -> str:
    """Text as roff takes it: no character of it is a command."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("'", "\\(aq")
    return "\\&" + plain if plain.startswith(".") else plain


def main(arguments: list[str]) -> None:
    """Write all pages into the folder that is named, which is made where it is not there."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.exit("usage: python -m statedict.cli.manual FOLDER")
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
