"""Running the command line in tests: within this process, or as a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from statedict.cli.commands import commands


@dataclass
class Ran:
    """What a command printed, and how it ended."""

    out: str
    err: str
    code: int


def run(*arguments: str) -> Ran:
    """Run `statedict` within this process, its output a pipe."""
    result = CliRunner().invoke(commands, arguments)
    return Ran(result.stdout, result.stderr, result.exit_code)


def process(*arguments: str, folder: Path, **environment: str) -> Ran:
    """Run `python -m statedict` as a process of its own in `folder`."""
    return python("-m", "statedict", *arguments, folder=folder, **environment)


def python(*arguments: str, folder: Path, **environment: str) -> Ran:
    """Run Python as a process of its own in `folder`."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=_environment(environment),
        check=False,
        timeout=60,
    )
    return Ran(done.stdout, done.stderr, done.returncode)


def _environment(extra: dict[str, str]) -> dict[str, str]:
    unset = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "STATEDICT_TRACEBACK")
    return {name: value for name, value in os.environ.items() if name not in unset} | extra


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Let commands of this process believe that they print on a terminal without colours, `columns` wide."""
    monkeypatch.setattr("statedict.cli.output.width", lambda: columns)


GOLDEN = Path(__file__).parent / "golden"
_UNSTEADY = (
    (re.compile(r"\(torch, [^)…]*[KM]iB"), "(torch, SIZE"),
    (re.compile(r"byte [0-9,]+ of (\S+\.pt)"), r"byte OFFSET of \1"),
    (re.compile(r'"(offset|size)": [0-9]+'), r'"\1": NUMBER'),
)
"""Where tensors lie in what `torch.save` writes depends on the strings that Python had interned."""


def assert_golden(name: str, arguments: Sequence[str], ran: Ran) -> None:
    """Assert that a command printed what `golden/NAME.txt` holds; with UPDATE_GOLDEN=1 in the environment, write it."""
    text = f"$ statedict {' '.join(arguments)}\n{ran.out}"
    if ran.err:
        text += f"--- standard error\n{ran.err}"
    if ran.code:
        text += f"--- exit code {ran.code}\n"
    for pattern, steady in _UNSTEADY:
        text = pattern.sub(steady, text)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text()
