"""`ls --json` of plain tensors, which comes tensor by tensor, against what is made of a list of all."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks import huge
from statedict.tree import build
from tests.commands import run

ONE = np.zeros((2, 2), "f4")
NETS = {
    "layers": [f"layers.{at}.{name}.weight" for at in (0, 1, 2, 3, 10) for name in ("a", "b")],
    "an optimizer's state": ["state.0.exp_avg", "state.0.step", "state.1.exp_avg", "param_groups.0.lr", "w"],
    "nothing": [],
}


@pytest.mark.parametrize("names", NETS.values(), ids=NETS.keys())
def test_tensors_come_as_from_the_list_of_all(tmp_path: Path, names: list[str]) -> None:
    path = str(tmp_path / "net.safetensors")
    save_file(dict.fromkeys(names, ONE), path)

    shown = run("ls", path, "--json")
    assert shown.code == 0, shown.err
    assert {each["name"] for each in json.loads(shown.out)["tensors"]} == set(names)
    if names:
        assert shown.out == run("ls", path, "**", "--json").out


def test_so_they_do_where_blocks_are_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "net")
    count, _ = huge.write(tmp_path / "net", 400, layers=5, shards=3)
    whole = run("ls", path, "**", "--json").out
    monkeypatch.setattr(build, "_MANY", 0)

    assert run("ls", path, "--json").out == whole
    assert len(json.loads(whole)["tensors"]) == count
