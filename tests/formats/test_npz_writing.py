"""NumPy's .npz as we write it: read by numpy and by us."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict.errors import StatedictError
from statedict.formats._numpy import CODES
from statedict.formats.npz import write
from statedict.index import Index
from tests.formats.stored import bits, index_of
from tests.written import bytes_of_plan, flat, indexes, plain, same_contents

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def written(index: Index) -> bytes:
    return bytes_of_plan(write(index))


def loaded(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data)) as opened:
        return dict(opened)


@settings(deadline=5000)
@given(indexes([*CODES.values(), "bits8", "bits16"], names))
def test_what_is_written_is_read_again(index: Index) -> None:
    data = written(index)
    again = index_of(data)
    assert list(again.tensors) == list(index.tensors)
    for name, info in index.tensors.items():
        found = again.tensors[name]
        assert found.extent is not None
        assert info.extent is not None
        assert (found.dtype, found.shape) == (info.dtype, info.shape)
        assert found.extent.read() == info.extent.read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None


@pytest.mark.slow
@settings(deadline=5000)
@given(indexes(list(CODES.values()), names))
def test_numpy_finds_the_same(index: Index) -> None:
    found = loaded(written(index))
    assert list(found) == list(index.tensors)
    for name, array in found.items():
        info = index.tensors[name]
        assert info.extent is not None
        assert (array.dtype.name, array.shape) == (str(info.dtype), info.shape)
        assert array.tobytes() == info.extent.read()


def test_headers_are_those_of_numpy() -> None:
    arrays = {"w": np.ones((2, 3), np.float32), "n": np.array(3), "b": np.zeros(4, bool), "z": np.ones((1, 0), np.int8)}
    index = flat({name: torch.from_numpy(array) for name, array in arrays.items()})
    with zipfile.ZipFile(io.BytesIO(written(index))) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            assert archive.read(f"{name}.npy") == buffer.getvalue(), name


def test_arrays_begin_aligned() -> None:
    for name, info in index_of(
        written(flat({"a": torch.ones(1), "longer": torch.ones(3), "b": torch.ones(2)}))
    ).tensors.items():
        assert info.extent is not None
        assert info.extent.source.located(info.extent.offset)[1] % 64 == 0, name


def test_tied_tensors_are_under_each_name() -> None:
    shared = torch.ones(2)
    plan = write(flat({"a": shared, "b": shared}))
    assert plan.notes == ("tied tensors are written under each name, as .npz has no ties: `b` is `a`",)
    assert {name: array.tolist() for name, array in loaded(bytes_of_plan(plan)).items()} == {"a": [1, 1], "b": [1, 1]}


def test_metadata_are_told_to_be_left_out() -> None:
    said = {"byteorder": "little", "version": "3", "epoch": 3, "by": "hand"}
    assert write(flat({}, said)).notes == ("metadata left out, as .npz has no place for them: `epoch`, `by`",)


@pytest.mark.parametrize(
    ("dtype", "size", "instead"),
    [("bfloat16", 2, "float32"), ("float8_e4m3fn", 1, "float32"), ("complex32", 4, "complex64")],
)
def test_types_that_numpy_has_not_are_refused(dtype: str, size: int, instead: str) -> None:
    with pytest.raises(StatedictError, match=rf"tensor `a\.w` is {dtype}, which numpy cannot hold; cast .*={instead}'"):
        write(flat({"a.w": plain("a.w", dtype, (1,), bytes(size))}))


def test_a_name_with_a_nul_is_refused() -> None:
    with pytest.raises(StatedictError, match="NUL in its name"):
        write(flat({"a\0b": torch.ones(1)}))


def test_bits_that_are_no_ordinary_numbers() -> None:
    tensor = torch.tensor([0x7FC00001, -0x80000000, 0x7F800001], dtype=torch.int64).to(torch.int32).view(torch.float32)
    again = index_of(written(flat({"w": tensor})))
    same_contents(index_of(written(again)), again)
    assert loaded(written(flat({"w": tensor})))["w"].tobytes() == bits(tensor)
