"""`statedict hash`: lines that other tools understand, manifests, and what verifying says of other files."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import statedict
from tests.commands import Ran, run


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model in two formats, and a manifest of it."""
    monkeypatch.chdir(tmp_path)
    torch.save(net().state_dict(), "net.pt")
    statedict.save(statedict.open("net.pt"), "net.npz")
    assert run("hash", "net.pt", "--manifest", "net.json").code == 0
    return tmp_path


def other_state() -> dict[str, Any]:
    state = net().state_dict()
    state["0.weight"][1, 1] = -state["0.weight"][1, 1]
    state["0.bias"] = state["0.bias"].double()
    del state["1.bias"]
    return {**state, "2.weight": torch.ones(1)}


def error(ran: Ran) -> str:
    assert (ran.code, ran.out) == (2, "")
    return ran.err


@pytest.mark.usefixtures("folder")
def test_lines_are_those_of_the_library_and_of_sha256sum() -> None:
    ran = run("hash", "net.pt", "--algorithm", "sha256")
    lines = ran.out.splitlines(keepends=True)
    found = statedict.fingerprint(statedict.open("net.pt"), algorithm="sha256")
    assert lines == [f"{digest}  {name}\n" for name, digest in found.tensors.items()]
    total = hashlib.sha256("".join(sorted(lines, key=lambda line: line.split()[1])).encode()).hexdigest()
    assert run("hash", "net.npz", "--algorithm", "sha256", "--total").out == f"sha256:{total}  net.npz\n"


@pytest.mark.usefixtures("folder")
def test_patterns_modules_and_json() -> None:
    assert [line.split()[1] for line in run("hash", "net.pt", "**.bias").out.splitlines()] == ["0.bias", "1.bias"]
    assert [line.split()[1] for line in run("hash", "net.pt", "--modules").out.splitlines()] == ["(all)", "0", "1"]
    found = json.loads(run("hash", "net.pt", "--json").out)
    assert found["tensors"][0] == {
        "name": "0.weight", "dtype": "float32", "shape": [3, 4], "digest": run("hash", "net.pt").out.split()[0],
    }  # fmt: skip
    assert run("hash", "net.pt", "--total").out == f"{found['model']}  net.pt\n"
    modules = json.loads(run("hash", "net.pt", "--json", "--modules").out)["modules"]
    assert modules[0] == {"name": "", "digest": found["model"]}
    total = json.loads(run("hash", "net.pt", "--json", "--total").out)
    assert total == {
        "schema": "urn:statedict:hash:1", "file": "net.pt", "format": "torch", "algorithm": "blake3",
        "model": found["model"],
    }  # fmt: skip


@pytest.mark.usefixtures("folder")
def test_verifying_the_same_values_in_another_format() -> None:
    ran = run("hash", "net.npz", "--verify", "net.json")
    assert (ran.code, ran.out) == (0, "net.npz: all 7 tensors as in net.json\n")
    assert json.loads(run("hash", "net.npz", "--verify", "net.json", "--json").out)["same"] is True


@pytest.mark.usefixtures("folder")
def test_verifying_names_what_differs() -> None:
    torch.save(other_state(), "other.pt")
    ran = run("hash", "other.pt", "--verify", "net.json")
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "changed  0.weight  other values",
        "changed  0.bias  float32 [3] became float64 [3]",
        "missing  1.bias",
        "added  2.weight",
        "other.pt: 2 changed, 1 missing, 1 added of 7 tensors",
    ]
    found = json.loads(run("hash", "other.pt", "--verify", "net.json", "--json").out)
    assert [(each["name"], each["what"]) for each in found["differences"]] == [
        ("0.weight", "changed"), ("0.bias", "changed"), ("1.bias", "missing"), ("2.weight", "added"),
    ]  # fmt: skip
    assert "before" not in found["differences"][3]


@pytest.mark.usefixtures("folder")
def test_a_manifest_is_replaced_only_when_asked() -> None:
    assert "`--force`" in error(run("hash", "net.npz", "--manifest", "net.json"))
    assert "is what is read" in error(run("hash", "net.npz", "--manifest", "net.npz", "--force"))
    assert run("hash", "net.npz", "--manifest", "net.json", "--algorithm", "xxh3", "--force").code == 0
    assert run("hash", "net.pt", "--verify", "net.json").code == 0


@pytest.mark.usefixtures("folder")
def test_tensors_without_values_are_said() -> None:
    torch.save({"w": torch.ones(2), "m": torch.ones(3, device="meta")}, "meta.pt")
    assert run("hash", "meta.pt").out.splitlines()[1] == "none  m"
    assert "without its values" in json.loads(run("hash", "meta.pt", "--json").out)["tensors"][1]["reason"]
    assert run("hash", "meta.pt", "--manifest", "meta.json").code == 0
    assert run("hash", "meta.pt", "--verify", "meta.json").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--total", "--modules"], "`--modules` and `--total` cannot be had together"),
        (["--total", "--verify", "net.json"], "`--total` and `--verify` cannot be had together"),
        (["0.*", "--verify", "net.json"], "compares all tensors"),
        (["--verify", "none.json"], "none.json: cannot be opened"),
        (["--verify", "net.pt"], "net.pt: is no manifest; `statedict hash SRC --manifest FILE` writes one"),
        (["--algorithm", "md5"], "'md5' is not one of"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_use(arguments: list[str], said: str) -> None:
    assert said in error(run("hash", "net.pt", *arguments))
