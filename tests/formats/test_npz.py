"""NumPy's .npz: a file by hand, then files by numpy."""

import io
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
import torch

import statedict as sd
from statedict.errors import FormatError
from statedict.opaque import Opaque
from statedict.tree.reading import read
from tests import real_models
from tests.formats.contract import FormatContract
from tests.formats.stored import CountingSource, index_of

ARRAY = b"\x93NUMPY\x01\x00\x37\x00{'descr': '|i1', 'fortran_order': False, 'shape': (2,)}\x01\xff"
ENTRY = bytes(8) + zlib.crc32(ARRAY).to_bytes(4, "little") + len(ARRAY).to_bytes(4, "little") * 2 + b"\x05\x00"
BY_HAND = (
    b"PK\x03\x04\x14\x00" + ENTRY + b"\x00\x00" + b"w.npy" + ARRAY
    + b"PK\x01\x02\x14\x00\x14\x00" + ENTRY + bytes(16) + b"w.npy"
    + b"PK\x05\x06\0\0\0\0\1\0\1\0" + (46 + 5).to_bytes(4, "little") + (35 + len(ARRAY)).to_bytes(4, "little") + b"\0\0"
)  # fmt: skip


def saved(write: Any = np.savez, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    write(buffer, **arrays)
    return buffer.getvalue()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def converted(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


class TestStored(FormatContract):
    format = "npz"

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return saved(np.savez, **converted(tensors))

    def test_names_are_kept_as_they_are(self, names: list[str]) -> None:
        """All but one: Python's `zipfile` ends names at the first NUL."""
        super().test_names_are_kept_as_they_are([name for name in names if "\0" not in name])

    test_names_are_kept_as_they_are.__dict__.update(FormatContract.test_names_are_kept_as_they_are.__dict__)


class TestDeflated(TestStored):
    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return saved(np.savez_compressed, **converted(tensors))

    def test_what_a_description_tells_is_read_and_nothing_else(self) -> None:
        source = CountingSource(saved(np.savez_compressed, w=np.random.default_rng(0).random(1 << 17)))
        index_of(source)
        assert source.size > 900_000
        assert source.read_bytes < 3000


def test_a_file_by_hand() -> None:
    index = index_of(BY_HAND)
    (info,) = index.tensors.values()
    assert (info.name, str(info.dtype), info.shape) == ("w", "int8", (2,))
    assert read(info).tolist() == [1, -1]
    assert read(info).tolist() == np.load(io.BytesIO(BY_HAND))["w"].tolist()


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_all_kinds_of_arrays(write: Any) -> None:
    arrays: dict[str, Any] = {
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "mlp/~/linear_0.w": np.array(3, ">i2"),
        "config": np.array('{"hidden": 8}'),
        "tree": np.array({"w": np.ones(2)}, object),
    }
    index = index_of(saved(write, **arrays))
    assert list(index.tensors) == ["columns", "mlp/~/linear_0.w", "tree.w"], "a slash divides no name"
    assert index.tensors["columns"].stride == (1, 2)
    assert read(index.tensors["columns"]).tolist() == arrays["columns"].tolist()
    assert read(index.tensors["mlp/~/linear_0.w"]) == 3
    assert index.modules[""].attributes == {"config": '{"hidden": 8}'}


def test_arrays_without_names() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, np.ones(1), np.ones(2))
    assert list(index_of(buffer.getvalue()).tensors) == ["arr_0", "arr_1"]


def test_values_are_unpacked_when_they_are_read_in_any_order() -> None:
    array = np.random.default_rng(0).integers(0, 9, (1000, 300))
    index = index_of(saved(np.savez_compressed, w=array))
    extent = index.tensors["w"].extent
    assert extent is not None
    for first in (900, 10, 500):
        held = extent.source.read_at(extent.offset + first * 300 * 8, 300 * 8)
        assert held == array[first].tobytes()


def test_a_member_that_is_no_array_is_described() -> None:
    attributes = index_of(zipped(**{"w.npy": ARRAY, "readme.txt": b"hello"})).modules[""].attributes
    assert isinstance(attributes["readme.txt"], Opaque)
    assert attributes["readme.txt"].kwargs == {"bytes": 5}


def test_a_first_name_that_is_longer_than_what_is_sniffed() -> None:
    name = "x" * 1000
    assert list(index_of(saved(**{name: np.ones(1)})).tensors) == [name]


def test_each_kind_of_zip_archive_is_claimed_once() -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2)}, buffer)
    assert index_of(buffer.getvalue()).format == "torch"
    assert index_of(zipped(**{"w.npy": ARRAY})).format == "npz"
    with pytest.raises(
        FormatError, match=r"a zip archive, but no checkpoint: it holds a\.txt, b\.txt, and no data\.pkl"
    ):
        index_of(zipped(**{"a.txt": b"", "b.txt": b""}))


def test_a_damaged_array_is_named() -> None:
    with pytest.raises(FormatError, match=r"w\.npy: begins with b'hello'"):
        index_of(zipped(**{"w.npy": b"hello"}))


def test_a_member_that_unpacks_to_more_than_it_says_reads_what_it_says() -> None:
    data = bytearray(saved(np.savez_compressed, w=np.zeros(1 << 20)))
    at = data.rindex(b"PK\1\2") + 24
    data[at : at + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(FormatError, match="expected"):
        index_of(bytes(data))


@pytest.mark.real
def test_a_real_file() -> None:
    path = real_models.fetch("g2p_en_checkpoint20.npz")
    ours = dict(sd.open(path).named_parameters())
    with np.load(path) as expected:
        assert list(ours) == list(expected)
        for name, tensor in ours.items():
            assert np.array_equal(tensor.numpy(), expected[name]), name
            assert tensor.numpy().dtype == expected[name].dtype
    assert len(ours) == real_models.listed()["g2p_en_checkpoint20.npz"].tensors
