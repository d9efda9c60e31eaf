"""The manual pages, from the same texts as `--help`: `python -m statedict.cli.manual FOLDER` writes one a command."""

import re
import sys
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
        for name, said in COMMANDS.items():
            lines += [".TP", f"\\fBstatedict-{_text(name)}\\fR({_SECTION})", _text(said)]
    lines += [".SH EXIT STATUS", "0 done, 1 found what it looks for, 2 wrong use or unreadable input."]
    return "".join(f"{line}\n" for line in lines)


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    top = click.Context(commands, info_name="statedict", **commands.context_settings)
    made = {f"statedict.{_SECTION}": page(commands, top, "look into neural-network checkpoints")}
    for name, about in COMMANDS.items():
        command = commands.get_command(top, name)
        if command is not None:
            made[f"statedict-{name}.{_SECTION}"] = page(command, click.Context(command, top, name), about)
    return made


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
