"""`statedict edit`: in the order given, in place, as a diff, and never half."""

from pathlib import Path

import pytest
import safetensors
import torch

import statedict as sd
from tests.commands import run
from tests.sample_checkpoints import write_all


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_options_are_done_in_their_order() -> None:
    torch.save({"a": torch.ones(1), "b": torch.zeros(1)}, "two.pt")
    assert run("edit", "two.pt", "out.pt", "--drop", "a", "--rename", "b=a").code == 0
    assert torch.load("out.pt")["a"].item() == 0
    assert run("edit", "two.pt", "--drop=b", "other.pt", "--rename", "a=b").code == 0
    assert torch.load("other.pt")["b"].item() == 1
    ran = run("edit", "two.pt", "none.pt", "--rename", "b=a", "--drop", "a")
    assert ran.code == 2
    assert not Path("none.pt").exists()


def test_everything_at_once() -> None:
    Path("rules.toml").write_text('cast = ["**.bias=f16"]\n')
    ran = run(
        "edit", "net.pt", "out.safetensors", "--rename", "features.**=f.**", "--drop", "classifier.**", "--slice",
        "f.0.weight=[:, 0:1]", "--add", "language.pt:embedding.*", "--cast", "f.0.weight=bf16", "--rules", "rules.toml",
        "--set-metadata", "format=pt", "--set-metadata", "who=me", "--verify",
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    with safetensors.safe_open("out.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "who": "me"}
        assert sorted(file.keys()) == sorted(
            [*(f"f{name.removeprefix('features')}" for name in torch.load("net.pt") if name.startswith("features")),
             "embedding.weight"]
        )  # fmt: skip
        live = torch.load("net.pt")
        assert torch.equal(file.get_tensor("f.0.weight"), live["features.0.weight"][:, 0:1].bfloat16())
        assert torch.equal(file.get_tensor("f.4.bias"), live["features.4.bias"].half())
        assert torch.equal(file.get_tensor("embedding.weight"), torch.load("language.pt")["embedding.weight"])


@pytest.mark.parametrize("source", ["net.pt", "net.safetensors", "net_whole.pt", "train.ckpt"])
def test_in_place(source: str) -> None:
    names = list(sd.open(source).state_dict())
    ran = run("edit", source, "--in-place", "--rename", "**=m.**")
    assert (ran.code, ran.err) == (0, "")
    assert sorted(sd.open(source).state_dict()) == sorted(f"m.{name}" for name in names)
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_in_place_without_a_suffix() -> None:
    Path("net.pt").rename("weights")
    assert run("edit", "weights", "--in-place", "--drop", "classifier.**").code == 0
    assert all(name.startswith("features") for name in torch.load("weights"))


def test_in_place_of_a_folder() -> None:
    run("convert", "net.pt", "shards", "--shard-size", "100KB")
    Path("shards/config.json").write_text('{"a": 1}')
    assert run("edit", "shards", "--in-place", "--drop", "classifier.**").code == 0
    assert sorted(path.name for path in Path("shards").iterdir()) == ["config.json", "model.safetensors"]
    Path("shards/model.safetensors").rename("shards/diffusion_pytorch_model.safetensors")
    ran = run("edit", "shards", "--in-place", "--drop", "**.bias")
    assert ran.err == (
        "statedict: shards: `diffusion_pytorch_model.safetensors` is not called as the files that are written; "
        "give the name of a new folder\n"
    )


def test_the_source_stays_whole_where_an_edit_fails() -> None:
    before = Path("net.pt").read_bytes()
    torch.save({"w": torch.tensor([1e6])}, "large.pt")
    large = Path("large.pt").read_bytes()
    assert run("edit", "net.pt", "--in-place", "--rename", "**.weight=w").code == 2
    assert run("edit", "large.pt", "--in-place", "--cast", "f16", "--overflow", "error").code == 2
    assert Path("net.pt").read_bytes() == before
    assert Path("large.pt").read_bytes() == large


WRONG = {
    "no target": (["net.pt"], "give either DST or `--in-place`, or `--dry-run` (see"),
    "both": (["net.pt", "out.pt", "--in-place"], "give either DST or `--in-place` (see"),
    "a part in place": (["train.ckpt", "--in-place", "--key", "model"], "`--key` takes a part, and `--in-place` would"),
    "over the source": (
        ["net.pt", "net.pt", "--force"],
        "net.pt: is what is read; give another place, or write over it",
    ),
    "taken": (["net.pt", "lstm.pt"], "lstm.pt: is there already; choose another name, or replace it with `--force`"),
    "nothing fits": (["net.pt", "o.pt", "--drop", "feature.**"], "`feature.**` matches no name"),
    "no rule": (["net.pt", "o.pt", "--rename", "a"], "`a` is no rule; expected PATTERN=REPLACEMENT"),
    "no slice": (["net.pt", "o.pt", "--slice", "a"], "`a` is no slice; expected PATTERN=[...]"),
    "no type": (["net.pt", "o.pt", "--cast", "**=x"], "`x` is no element type"),
    "no file to add": (["net.pt", "o.pt", "--add", "x.pt"], "x.pt: cannot be opened"),
    "no rules": (["net.pt", "o.pt", "--rules", "x.toml"], "x.toml: cannot be opened"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_told_in_one_line(case: str) -> None:
    arguments, said = WRONG[case]
    ran = run("edit", *arguments)
    assert ran.code == 2
    assert ran.err.startswith(f"statedict: {said}")
    assert ran.err.count("\n") == 1
    assert not Path("o.pt").exists()


def test_a_dry_run_writes_nothing() -> None:
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    for target in ([], ["out.pt"], ["--in-place"]):
        assert run("edit", "net.pt", *target, "--dry-run", "--drop", "classifier.**").code == 0
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before
