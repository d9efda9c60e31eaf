"""Distributed checkpoints as they are written: PyTorch's own loader and converter find the same."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict_loader import load as load_distributed

from statedict.dtypes import DTYPES
from statedict.errors import StatedictError
from statedict.formats import dcp
from statedict.index import Encoding, Index, ModuleInfo, TensorInfo
from statedict.source import BytesSource, Extent, Folder
from tests.formats.stored import assert_same_tensors, index_of, saved
from tests.formats.test_torch_zip_writing import STORED, assert_equal
from tests.formats.test_torch_zip_writing_nested import checkpoint
from tests.written import write_plans

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*no distributed process group",
    "ignore:torch.distributed is disabled, unavailable or uninitialized",
    "ignore:ComplexHalf support is experimental",
)
DATA = BytesSource(bytes(range(64)), "data")


def written(value: Any, folder: Path) -> tuple[str, ...]:
    """Write what torch saves; what the notes say."""
    folder.mkdir()
    plans = dcp.write_folder(index_of(saved(value)))
    assert list(plans) == ["__0_0.distcp", ".metadata"], "that which makes it a checkpoint is the last"
    write_plans(folder, plans)
    return plans["__0_0.distcp"].notes


def converted(folder: Path) -> Any:
    """What torch's own converter makes of a folder."""
    dcp_to_torch_save(folder, folder.with_suffix(".pt"))
    return torch.load(folder.with_suffix(".pt"), weights_only=True)


def test_torch_loads_a_training_checkpoint_into_a_live_one(tmp_path: Path) -> None:
    value, blank = checkpoint(), checkpoint()
    for tensor in [*blank["model"].values(), *blank["optimizer"]["state"][0].values()]:
        tensor.zero_()
    blank["epoch"], blank["optimizer"]["param_groups"][0]["lr"] = 0, 9.0
    assert written(value, tmp_path / "saved") == ()
    load_distributed(blank, storage_reader=FileSystemReader(tmp_path / "saved"))
    assert_equal(blank, value)


def test_torch_converts_what_is_written(tmp_path: Path) -> None:
    value = {
        "w": torch.arange(6.0).view(2, 3).T,
        "nested": {"row": [torch.ones(2), 4], "plain": [1, (2, None)], "text": "é"},
        "scalar": torch.tensor(2.5),
        "none": torch.empty(0, 3),
        "half": torch.ones(3).bfloat16(),
    }
    written(value, tmp_path / "saved")
    assert_equal(converted(tmp_path / "saved"), value)


def test_every_dtype(tmp_path: Path) -> None:
    kinds = {name: kind for name, kind in STORED.items() if "float" in name or "complex" in name or name == "uint16"}
    value = {name: torch.arange(16, dtype=torch.uint8).view(kind) for name, kind in kinds.items()}
    written(value, tmp_path / "saved")
    assert_equal(converted(tmp_path / "saved"), value)


def test_we_read_what_is_written(tmp_path: Path) -> None:
    value = {"a.b": torch.arange(5), "c": torch.ones(2, 2)}
    written({**value, "step": 3}, tmp_path / "saved")
    index = index_of(Folder(tmp_path / "saved"))
    assert index.modules[""].attributes["step"] == 3
    assert_same_tensors(index, value)


def test_tied_tensors_are_stored_once(tmp_path: Path) -> None:
    weight = torch.arange(10_000.0)
    written({"a": weight, "b": weight}, tmp_path / "saved")
    assert (tmp_path / "saved" / "__0_0.distcp").stat().st_size < 50_000
    assert_equal(converted(tmp_path / "saved"), {"a": weight, "b": weight})


def test_what_torch_would_refuse_is_left_out_and_named(tmp_path: Path) -> None:
    value = {"w": torch.ones(1), "args": argparse.Namespace(lr=1), "row": [1, argparse.Namespace()]}
    (note,) = written(value, tmp_path / "saved")
    assert note.endswith("left out: `args`, `row.1`")
    assert_equal(converted(tmp_path / "saved"), {"w": torch.ones(1), "row": [1, None]})


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (TensorInfo("w", DTYPES["float32"], (2,), None, device="meta"), "is no plain one"),
        (TensorInfo("w", DTYPES["float32"], None, None), "is no plain one"),
        (TensorInfo("w", DTYPES["float32"], (2,), None, encoding=Encoding(layout="sparse_coo")), "is no plain one"),
        (TensorInfo("w", DTYPES["q8_0"], (32,), Extent(DATA, 0, 34)), "a type that PyTorch does not have"),
    ],
)
def test_what_it_cannot_hold_is_refused(info: TensorInfo, said: str) -> None:
    with pytest.raises(StatedictError, match=said) as caught:
        dcp.write_folder(Index("memory", DATA, {"w": info}))
    assert str(caught.value).startswith("tensor `w` ")


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(StatedictError, match=r"two entries are called `a\.b`"):
        dcp.write_folder(index_of(saved({"a": {"b": 1}, "a.b": 2})))


def test_nesting_without_end_is_refused() -> None:
    deep: dict[str, Any] = {}
    deep["deep"] = deep
    index = Index("memory", DATA, {}, {"": ModuleInfo(container="dict", attributes=deep)})
    with pytest.raises(StatedictError, match="nested deeper than Python can follow"):
        dcp.write_folder(index)
