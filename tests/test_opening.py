"""`open` and `read_index`: what may be passed, what is picked, and what goes wrong."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import statedict as sd
from statedict.errors import FormatError, LimitError, ReadError, StatedictError, UnknownFormatError
from statedict.limits import Limits
from statedict.opening import read_index
from statedict.source import BytesSource, FileSource
from tests.formats.stored import CountingSource, saved

CHECKPOINT = {"model": {"fc": {"weight": torch.arange(6.0).reshape(2, 3)}}, "epoch": 3}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save(CHECKPOINT, tmp_path / "net.pt")
    return tmp_path / "net.pt"


def test_a_checkpoint_may_be_passed_in_several_ways(path: Path) -> None:
    for checkpoint in (path, str(path), path.read_bytes(), FileSource(path), BytesSource(path.read_bytes())):
        model = sd.open(checkpoint)
        assert [name for name, _ in model.named_modules()] == ["", "model", "model.fc"]
        assert model.get_submodule("model.fc").weight.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_key_picks_a_part(path: Path) -> None:
    assert list(sd.open(path, key="model").state_dict()) == ["fc.weight"]
    assert list(sd.open(path, key="model.fc").state_dict()) == ["weight"]


@pytest.mark.parametrize(
    ("key", "text"), [("modle", "did you mean `model`"), ("model.fc.weight", "model.fc"), ("epoch", "model")]
)
def test_a_key_that_is_no_module(path: Path, key: str, text: str) -> None:
    with pytest.raises(StatedictError, match=f"has no module `{key}`") as caught:
        sd.open(path, key=key)
    assert text in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_format_may_be_named(path: Path) -> None:
    assert read_index(path, format="torch").format == "torch"
    with pytest.raises(FormatError):
        read_index(path, format="safetensors")


def test_limits_are_passed_on(path: Path) -> None:
    with pytest.raises(LimitError):
        sd.open(path, limits=Limits(names=1))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cannot be opened") as caught:
        sd.open(tmp_path / "gone.pt")
    assert isinstance(caught.value, OSError)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    with pytest.raises(UnknownFormatError, match=r"empty\.pt: is empty \(0 bytes\)"):
        sd.open(tmp_path / "empty.pt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(path: Path) -> None:
    path.chmod(0)
    with pytest.raises(ReadError, match="cannot be opened: permission denied"):
        sd.open(path)


def test_no_weights_are_read() -> None:
    source = CountingSource(saved({"w": torch.zeros(25_000_000), "b": torch.zeros(3)}))
    assert source.size > 100_000_000
    model = sd.open(source)
    assert source.read_bytes < 70_000
    before = source.read_bytes
    model.get_parameter("b") if "b" in dict(model.named_parameters()) else model.b
    assert source.read_bytes == before
    assert model.b.numpy().tolist() == [0, 0, 0]
    assert source.read_bytes - before < 200


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_are_opened(kind: Any) -> None:
    data = kind(safetensors.torch.save({"w": torch.ones(2)}))
    assert sd.open(data).get_parameter("w").tolist() == [1.0, 1.0]


@pytest.mark.parametrize("value", [None, 3, [torch.ones(1)], io.BytesIO(b"")], ids=lambda value: type(value).__name__)
def test_what_is_nothing_to_open_says_what_is(value: Any) -> None:
    with pytest.raises(TypeError, match=r"`\w+` is nothing to open; give a path, bytes"):
        sd.open(value)
