"""`statedict match`: what it prints and writes, and how it ends."""

import json
from pathlib import Path

import pytest
import torch

from tests import planted
from tests.commands import run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = planted.state("mixtral")
    torch.save(state, "ours.pt")
    torch.save(planted.everything(state), "theirs.pt")
    torch.save(state | {"model.embed_tokens.weight": torch.randn(101, 32), "more": torch.zeros(3)}, "other.pt")


def test_there_and_back() -> None:
    ran = run("match", "theirs.pt", "ours.pt", "-o", "rules.toml")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("21 of 21 tensors of ours.pt are in theirs.pt: 0 under their own names, 10 rules; values")
    assert ran.out.endswith("next: statedict edit theirs.pt NEW --rules rules.toml\n")
    assert run("edit", "theirs.pt", "made.pt", "--rules", "rules.toml").code == 0
    made, ours = torch.load("made.pt"), torch.load("ours.pt")
    assert {name: tensor.shape for name, tensor in made.items()} == {
        name: tensor.shape for name, tensor in ours.items()
    }
    assert all(torch.equal(made[name], ours[name]) for name in ours)


def test_what_does_not_fit() -> None:
    ran = run("match", "other.pt", "ours.pt", "--names-only")
    assert (ran.code, ran.err) == (1, "")
    assert (
        "of another shape (1)\n  model.embed_tokens.weight [99, 32], in the source [101, 32]: the source has" in ran.out
    )
    assert "unexpected (1): the source has them, the target has no place for them\n  more\n" in ran.out


def test_json() -> None:
    ran = run("match", "theirs.pt", "ours.pt", "--json", "--names-only")
    found = json.loads(ran.out)
    assert (ran.code, found["complete"], found["values_compared"], len(found["lines"])) == (0, True, False, 21)
    assert {
        "from": "model._orig_mod.model.blocks.{i}.ffn.expert.{e}.down.weight",
        "to": "model.layers.{i-1}.mlp.experts.down_proj",
        "stack": True,
        "tensors": 2,
    } in found["rules"]
    found = json.loads(run("match", "other.pt", "ours.pt", "--json").out)
    assert (found["unexpected"], found["mismatched"][0]["found"], found["missing"]) == (["more"], [101, 32], [])


def test_what_loads_as_it_is() -> None:
    ran = run("match", "ours.pt", "ours.pt")
    assert ran.out == (
        "21 of 21 tensors of ours.pt are in ours.pt: all under their own names; values compared\n\n"
        "next: nothing; it loads as it is\n"
    )


def test_parts() -> None:
    torch.save({"model": torch.load("ours.pt"), "epoch": 3}, "train.ckpt")
    assert run("match", "train.ckpt", "ours.pt", "--key", "model").code == 0
    assert run("match", "theirs.pt", "train.ckpt", "--target-key", "model").code == 0


WRONG = {
    "no target": (["ours.pt"], "Missing argument 'TARGET'"),
    "no such target": (["ours.pt", "no.pt"], "no.pt: cannot be opened"),
    "an empty target": (["ours.pt", "empty.pt"], "empty.pt: "),
    "taken": (["ours.pt", "theirs.pt", "-o", "taken.toml"], "taken.toml: is there already"),
    "no such part": (["ours.pt", "theirs.pt", "--key", "x"], "ours.pt: has no module `x`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_told_in_one_line(case: str) -> None:
    Path("empty.pt").touch()
    Path("taken.toml").touch()
    arguments, said = WRONG[case]
    ran = run("match", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"statedict: {said}")
    assert ran.err.count("\n") == 1
