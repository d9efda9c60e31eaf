"""`statedict convert`: each format to each, what lies beside, what is refused, and that nothing is lost."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

import statedict as sd
from tests.commands import run
from tests.sample_checkpoints import write_all


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state(path: str) -> dict[str, torch.Tensor]:
    return {name: tensor.torch() for name, tensor in sd.open(path).state_dict().items()}


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert value.dtype == b[name].dtype, name
        assert torch.equal(value, b[name]), name


@pytest.mark.parametrize("target", ["out.safetensors", "out.pt", "out.npz", "out", "out.gguf"])
@pytest.mark.parametrize("source", ["net.pt", "net_whole.pt", "net.safetensors"])
def test_to_each_format(source: str, target: str) -> None:
    ran = run("convert", source, target, "--verify")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{target}: 18 tensors, f32, ")
    assert_equal(state(target), state(source))


def test_what_the_reference_libraries_open() -> None:
    run("convert", "net.safetensors", "out.pt", "--dtype", "bf16")
    run("convert", "net.pt", "out.safetensors", "--dtype", "bf16")
    live = {
        name: value.bfloat16() if value.is_floating_point() else value for name, value in torch.load("net.pt").items()
    }
    assert_equal(torch.load("out.pt", weights_only=True), live)
    assert_equal(safetensors.torch.load_file("out.safetensors"), live)


def test_a_part_and_what_is_left_out() -> None:
    assert run("convert", "train.ckpt", "model.safetensors", "--key", "model").code == 0
    assert_equal(state("model.safetensors"), torch.load("train.ckpt", weights_only=False)["model"])
    ran = run("convert", "train.ckpt", "all.safetensors")
    assert "note: 5 values that are no tensors are left out (`epoch`, `best`, `hyper_parameters`, …)" in ran.out


def test_prefixes() -> None:
    torch.save({"module.fc.weight": torch.ones(2)}, "wrapped.pt")
    run("convert", "wrapped.pt", "out.pt", "--strip")
    assert list(torch.load("out.pt")) == ["fc.weight"]


def test_folders_and_what_lies_beside() -> None:
    source = Path("source")
    source.mkdir()
    Path("net.safetensors").rename(source / "model.safetensors")
    (source / "config.json").write_text('{"torch_dtype": "float32"}')
    (source / "tokenizer.json").write_text("{}")
    ran = run("convert", "source", "target", "--shard-size", "100KB", "--dtype", "bf16")
    assert ran.out.splitlines()[-1] == "copied: config.json, tokenizer.json"
    names = sorted(path.name for path in Path("target").iterdir())
    assert names[:2] == ["config.json", "model-00001-of-00002.safetensors"]
    assert json.loads(Path("target/config.json").read_text()) == {"torch_dtype": "bfloat16"}
    assert run("convert", "target", "one.safetensors").out.startswith("one.safetensors: 18 tensors, bf16")


@pytest.mark.parametrize(
    ("dtype", "overflow", "expected"),
    [("f16", "torch", float("inf")), ("f16", "saturate", 65504.0), ("f8_e4m3fn", "torch", 448.0)],
)
def test_numbers_beyond_the_largest(dtype: str, overflow: str, expected: float) -> None:
    torch.save({"w": torch.tensor([1.0, 1e6])}, "large.pt")
    assert run("convert", "large.pt", "out.pt", "--dtype", dtype, "--overflow", overflow).code == 0
    assert torch.load("out.pt")["w"].float().tolist() == [1.0, expected]


def test_scales_are_not_forgotten_in_silence() -> None:
    weight = torch.ones(2, 2).to(torch.float8_e4m3fn)
    torch.save({"fc.weight": weight, "fc.weight_scale_inv": torch.ones(1), "other": weight}, "scaled.pt")
    ran = run("convert", "scaled.pt", "out.pt", "--dtype", "bf16")
    assert "note: 1 tensor cast without the scale beside it, such as `fc.weight`\n" in ran.out
    assert "note" not in run("convert", "scaled.pt", "same.pt").out


def test_an_error_on_the_way_leaves_what_was_there() -> None:
    torch.save({"w": torch.tensor([1.0, 1e6])}, "large.pt")
    Path("out.pt").write_text("old")
    ran = run("convert", "large.pt", "out.pt", "--dtype", "f16", "--overflow", "error", "--force")
    assert ran.code == 2
    assert ran.err.startswith("statedict: tensor `w` holds 1e+06, beyond the largest float16, 65504; ")
    assert Path("out.pt").read_text() == "old"
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_what_is_there_stays_unless_forced() -> None:
    for target in ("net_whole.pt", "taken"):
        Path("taken").mkdir(exist_ok=True)
        Path("taken/file").write_text("x")
        ran = run("convert", "net.pt", target)
        assert ran.err == f"statedict: {target}: is there already; choose another name, or replace it with `--force`\n"
        assert ran.code == 2
    assert run("convert", "net.pt", "net_whole.pt", "--force").code == 0
    assert run("convert", "net.pt", "taken", "--force").code == 0
    assert_equal(state("taken"), state("net.pt"))
    assert Path("taken/file").read_text() == "x"
    Path("empty").mkdir()
    assert run("convert", "net.pt", "empty").code == 0


@pytest.mark.parametrize("target", ["net.pt", "./net.pt", "link.pt", "net.pt/"])
def test_the_source_is_not_written_over(target: str) -> None:
    Path("link.pt").symlink_to("net.pt")
    before = Path("net.pt").read_bytes()
    for force in ([], ["--force"]):
        assert run("convert", "net.pt", target, *force).code == 2
    assert Path("net.pt").read_bytes() == before


REFUSED = {
    "": "statedict: an empty path names no place to write to; name a file or a folder",
    "out.zip": "statedict: out.zip: its suffix tells no format to write; name one of safetensors, torch, ",
    "nowhere/out.pt": "nowhere: there is no such folder to write in",
    "net.safetensors/out.pt": "net.safetensors: is no folder",
}


@pytest.mark.parametrize("target", REFUSED)
def test_targets_that_cannot_be(target: str) -> None:
    ran = run("convert", "net.pt", target)
    assert ran.code == 2
    assert REFUSED[target] in ran.err
    assert ran.err.endswith(" with `--to`\n") == (target == "out.zip")
    assert ran.err.count("\n") == 1


BAD_SOURCES = {
    "empty.pt": "is empty (0 bytes)",
    "cut.pt": "it is truncated or still being written",
    "nowhere.pt": "cannot be opened: no such file or directory",
    "text.pt": "which is no checkpoint format",
}


@pytest.mark.parametrize("command", [["convert"], ["edit", "--drop", "x"], ["edit", "--dry-run", "--drop", "x"]])
@pytest.mark.parametrize("source", BAD_SOURCES)
def test_sources_that_are_none(source: str, command: list[str]) -> None:
    Path("empty.pt").touch()
    Path("cut.pt").write_bytes(Path("net.pt").read_bytes()[:5000])
    Path("text.pt").write_text("some text\n")
    ran = run(command[0], source, "out.safetensors", *command[1:])
    assert ran.code == 2
    assert BAD_SOURCES[source] in ran.err
    assert ran.err.count("\n") == 1
    assert not Path("out.safetensors").exists()
