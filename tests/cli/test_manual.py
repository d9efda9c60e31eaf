"""Manual pages: one for each command, with all that `--help` says, and nothing that roff would take for its own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from statedict.cli.commands import COMMANDS, commands
from statedict.cli.manual import main, pages


def test_every_command_has_a_page_with_all_its_options() -> None:
    made = pages()
    assert {"statedict.1", *(f"statedict-{name}.1" for name in COMMANDS), "statedict-catalog-add.1"} <= set(made)
    context = click.Context(commands, **commands.context_settings)
    for name in COMMANDS:
        command = commands.get_command(context, name)
        assert command is not None
        text = made[f"statedict-{name}.1"].replace("\\-", "-")
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        assert [option for option in options if option not in text] == []


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize("page", pages().values(), ids=pages())
def test_roff_takes_a_page_without_a_warning(page: str) -> None:
    command = ["groff", "-man", "-Tutf8", "-ww", "-rLL=78n"]
    done = subprocess.run(command, input=page, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "\nEXIT STATUS\n" in re.sub(r".\x08|\x1b\[[\d;]*m", "", done.stdout)


def test_they_are_written_into_a_folder(tmp_path: Path) -> None:
    main([str(tmp_path / "man" / "man1")])
    assert {path.name: path.read_text() for path in (tmp_path / "man" / "man1").iterdir()} == pages()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["a", "b"]])
def test_wrong_use_is_told_in_one_line(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"^usage: python -m statedict\.cli\.manual FOLDER$"):
        main(arguments)


def test_it_is_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "statedict.cli.manual"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "usage: python -m statedict.cli.manual FOLDER\n")
