"""`save`: which format and which files, what is kept and what is said to be left out, again and over itself."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import statedict
from statedict.errors import StatedictError
from tests.seed_net import Net


def _same(path: Any, expected: statedict.Module) -> None:
    held = statedict.open(path).state_dict()
    assert sorted(held) == sorted(expected.state_dict())  # safetensors orders by what each needs to be aligned
    for name, tensor in expected.state_dict().items():
        assert held[name].dtype is tensor.dtype
        assert np.array_equal(held[name].numpy(), tensor.numpy())


@pytest.fixture
def net(tmp_path: Path) -> statedict.Module:
    torch.manual_seed(0)
    torch.save(Net().state_dict(), tmp_path / "net.pt")
    return statedict.open(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.safetensors", "safetensors"),
        ("a.pt", "torch"),
        ("a.PTH", "torch"),
        ("a.bin", "torch"),
        ("a.npz", "npz"),
        ("a.gguf", "gguf"),
        ("folder", "safetensors"),
    ],
)
def test_the_suffix_tells_the_format(net: statedict.Module, tmp_path: Path, name: str, format: str) -> None:
    saved = statedict.save(net, tmp_path / name)
    assert (saved.format, saved.path) == (format, tmp_path / name)
    assert saved.nbytes == sum(
        each.stat().st_size for each in ([tmp_path / name] if "." in name else (tmp_path / name).iterdir())
    )
    _same(tmp_path / name, net)


def test_a_format_that_is_named_counts_more(net: statedict.Module, tmp_path: Path) -> None:
    assert statedict.save(net, tmp_path / "a.model", format="torch").format == "torch"
    assert torch.load(tmp_path / "a.model", weights_only=True).keys() == net.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("a.foo", {}, "its suffix tells no format to write; name one of safetensors, torch"),
        ("a.pt", {"format": "onnx"}, "there is no format `onnx` to write"),
        ("a.safetensors", {"max_shard_size": "1MB"}, "shards are written to a folder; name one, without the suffix"),
        ("nowhere/a.pt", {}, "no such folder"),
    ],
)
def test_what_cannot_be_written_is_told(
    net: statedict.Module, tmp_path: Path, name: str, how: dict[str, Any], said: str
) -> None:
    with pytest.raises(StatedictError, match=said):
        statedict.save(net, tmp_path / name, **how)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


def test_over_the_file_that_it_was_opened_from(net: statedict.Module, tmp_path: Path) -> None:
    before = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    statedict.save(net * 2, tmp_path / "net.pt")
    after = statedict.open(tmp_path / "net.pt").state_dict()
    assert all(np.array_equal(after[name].numpy(), values * 2) for name, values in before.items())
    assert all(np.array_equal(net.state_dict()[name].numpy(), values) for name, values in before.items())


@pytest.mark.parametrize("how", [{"max_shard_size": "20KB"}, {"format": "dcp"}, {}], ids=["shards", "dcp", "one file"])
def test_a_folder_again_and_again(net: statedict.Module, tmp_path: Path, how: dict[str, Any]) -> None:
    folder = tmp_path / "folder"
    first = statedict.save(net, folder, **how)
    (folder / "notes.txt").write_text("mine")
    for factor in (2, 3):
        saved = statedict.save(net * factor, folder, **how)
        assert sorted(path.name for path in folder.iterdir()) == sorted((*saved.files, "notes.txt"))
        assert len(saved.files) == len(first.files)
        _same(folder, net * factor)


def test_the_config_of_a_folder_goes_along(net: statedict.Module, tmp_path: Path) -> None:
    statedict.save(net, tmp_path / "old")
    (tmp_path / "old" / "config.json").write_text('{"model_type": "mine"}')
    saved = statedict.save(statedict.open(tmp_path / "old"), tmp_path / "new")
    assert saved.files == ("config.json", "model.safetensors")
    assert saved.notes == ()
    assert json.loads((tmp_path / "new" / "config.json").read_text()) == {"model_type": "mine"}


def test_values_that_are_no_tensors_are_kept_or_said_to_be_left_out(tmp_path: Path) -> None:
    torch.save({"model": Net().state_dict(), "epoch": 3, "args": {"lr": 0.1}}, tmp_path / "training.pt")
    training = statedict.open(tmp_path / "training.pt")
    assert statedict.save(training, tmp_path / "again.pt").notes == ()
    assert torch.load(tmp_path / "again.pt", weights_only=True)["args"] == {"lr": 0.1}
    (note,) = statedict.save(training, tmp_path / "a.safetensors").notes
    assert note == "2 values that are no tensors are left out (`epoch`, `args`); a .pt file holds such"


def test_what_gguf_keeps_of_the_root_is_not_said_to_be_left_out(tmp_path: Path) -> None:
    torch.save({"model": Net().state_dict(), "epoch": 3, "args": {"lr": 0.1}}, tmp_path / "training.pt")
    notes = statedict.save(statedict.open(tmp_path / "training.pt"), tmp_path / "a.gguf").notes
    opened = statedict.open(tmp_path / "a.gguf")
    assert opened.attributes == {"epoch": 3}
    assert not any("epoch" in note for note in notes)
    assert any("`args`" in note for note in notes)
    assert not any("left out" in note for note in statedict.save(opened, tmp_path / "b.gguf").notes)
    assert statedict.save(opened, tmp_path / "b.safetensors").notes == (
        "1 value that is no tensor is left out (`epoch`)",  # which a state dict in a .pt file has no place for either
    )


def test_metadata_are_kept_or_replaced(net: statedict.Module, tmp_path: Path) -> None:
    statedict.save(net, tmp_path / "a.safetensors", metadata={"author": "me"})
    opened = statedict.open(tmp_path / "a.safetensors")
    assert opened.metadata == {"author": "me", "format": "pt"}
    statedict.save(opened, tmp_path / "b.safetensors")
    assert statedict.open(tmp_path / "b.safetensors").metadata == opened.metadata


def test_live_models_and_dicts_of_arrays(tmp_path: Path) -> None:
    live = Net()
    statedict.save(live, tmp_path / "live.pt", verify=True)
    held = torch.load(tmp_path / "live.pt", weights_only=True)
    assert all(torch.equal(held[name], tensor) for name, tensor in live.state_dict().items())
    statedict.save({"a": np.arange(6).reshape(2, 3).T, "b": {"c": np.ones(2, ">f4")}}, tmp_path / "arrays.safetensors")
    arrays = statedict.open(tmp_path / "arrays.safetensors").state_dict()
    assert arrays["a"].numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert arrays["b.c"].numpy().tolist() == [1, 1]


def test_buffers_that_are_not_persistent_stay_out(tmp_path: Path) -> None:
    live = torch.nn.Module()
    live.register_buffer("kept", torch.ones(2))
    live.register_buffer("left", torch.ones(2), persistent=False)
    statedict.save(live, tmp_path / "a.safetensors")
    assert list(statedict.open(tmp_path / "a.safetensors").state_dict()) == ["kept"]


@pytest.mark.parametrize("how", [{}, {"max_shard_size": "20KB"}], ids=["one file", "shards"])
def test_only_what_is_to_be_durable_waits_for_the_disk(
    net: statedict.Module, tmp_path: Path, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    monkeypatch.setattr(os, "fsync", fsync)
    suffix = "" if how else ".safetensors"
    for durable in (True, False):
        saved = statedict.save(net, tmp_path / f"{durable}{suffix}", durable=durable, **how)
        files = [path for path in synced if ".safetensors" in path]
        assert len(files) == (len(saved.files) if durable else 0)
        synced.clear()
        _same(saved.path, net)
