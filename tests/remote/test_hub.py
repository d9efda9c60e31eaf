"""`hf://`: what huggingface_hub is let ask of the hub, which is one on the loopback interface."""

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.remote.hub import COMMITS, REPO, Hub, model_hub

pytest.importorskip("huggingface_hub")
FILE = f"hf://{REPO}/model.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Generator[Hub]:
    for commit, value in zip(COMMITS, (1.0, 2.0), strict=True):
        (tmp_path / commit).mkdir()
        state = {"a.weight": np.full((300, 300), value, "f4"), "a.bias": np.zeros(3, "f4")}
        save_file(state, tmp_path / commit / "model.safetensors")
        (tmp_path / commit / "config.json").write_text("{}")
    with model_hub(tmp_path) as found:
        yield found


def asked(hub: Hub, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What Python says in a process that knows this hub alone: huggingface_hub finds it as it is imported."""
    environment = os.environ | hub.environment
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def ranges(hub: Hub, name: str) -> list[str | None]:
    return [asked for path, asked in hub.requests if path.endswith(f"/{name}")]


def test_a_repository_is_a_folder(hub: Hub) -> None:
    done = asked(hub, "-m", "statedict", "tree", f"hf://{REPO}")
    assert done.returncode == 0, done.stderr
    assert "weight [300, 300]" in done.stdout
    assert ranges(hub, "model.safetensors") == ["bytes=0-32767"]


def test_values_come_by_ranges_of_one_commit_though_the_branch_moves(hub: Hub) -> None:
    program = (
        "import sys, statedict as sd, urllib.request\n"
        f"model = sd.open({FILE!r})\n"
        "input()\n"
        "print(model.get_parameter('a.weight')[0, :3].numpy().tolist())\n"
    )
    command = [sys.executable, "-c", program]
    environment = os.environ | hub.environment
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        while not ranges(hub, "model.safetensors"):
            assert process.poll() is None
        hub.main = COMMITS[1]
        said, _ = process.communicate("\n", timeout=60)
    assert said == "[1.0, 1.0, 1.0]\n"
    assert {path.split("/")[4] for path, _ in hub.requests if "/resolve/" in path} == {COMMITS[0]}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"hf://{REPO}/none.safetensors", "cannot be opened: no such file"),
        ("hf://org/nothing", "cannot be opened: no such file"),
    ],
)
def test_what_is_not_there_is_said_at_once(hub: Hub, url: str, said: str) -> None:
    done = asked(hub, "-m", "statedict", "ls", url)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"{url}: {said}" in done.stderr


def test_a_gated_repository_is_refused_in_one_line(hub: Hub) -> None:
    hub.gated = True
    done = asked(hub, "-m", "statedict", "ls", FILE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "is refused: the credentials that the environment gives do not allow it" in done.stderr
