"""Bare pickles: of numpy arrays by numpy, of tensors by torch, and one by hand."""

import pickle
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from statedict.errors import LimitError
from tests.formats.contract import FormatContract
from tests.formats.stored import assert_same, assert_same_tensors, elements, index_of, saved, saved_in_stream

BY_HAND = (
    b"\x80\x02}X\x01\x00\x00\x00wcnumpy.core.multiarray\n_reconstruct\n"
    b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nX\x02\x00\x00\x00i2K\x00K\x01\x87R"
    b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x02\x00\x03\x00tbs."
)


class TestContract(FormatContract):
    """Arrays, as numpy pickles them; the format has no types beyond numpy's."""

    format = "pickle"

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return pickle.dumps({name: tensor.numpy() for name, tensor in tensors.items()}, 4)

    def test_what_a_description_tells_is_read_and_nothing_else(self) -> None:
        """Nothing to show: the arrays lie within the pickle, so that all of it is read."""


class TestTensors(FormatContract):
    """Tensors that `pickle.dump` saved: each is a whole file of torch's older format, in bytes."""

    format = "pickle"

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return pickle.dumps(tensors, 5)

    def test_what_a_description_tells_is_read_and_nothing_else(self) -> None:
        """Nothing to show: the tensors lie within the pickle, so that all of it is read."""


def test_a_file_by_hand() -> None:
    index = index_of(BY_HAND)
    (weight,) = index.tensors.values()
    assert (weight.name, str(weight.dtype), weight.shape, weight.stride) == ("w", "int16", (2,), None)
    assert elements(weight) == b"\x02\x00\x03\x00"
    assert index.format == "pickle"


ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "C order": np.arange(6.0).reshape(2, 3),
    "Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "every other": np.arange(10)[::2],
    "big-endian": np.arange(3, dtype=">f4"),
    "big-endian complex": np.arange(3, dtype=">c8"),
    "no elements": np.zeros((0, 3), "i1"),
    "no dimensions": np.array(5.0),
    **{name: np.arange(4).astype(name) for name in ("f2", "f8", "i1", "i4", "u2", "u4", "u8", "?", "c8", "c16")},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays(array: "np.ndarray[Any, Any]", protocol: int) -> None:
    info = index_of(pickle.dumps({"w": array}, protocol)).tensors["w"]
    assert info.shape == array.shape
    assert str(info.dtype) == array.dtype.name
    assert elements(info) == array.astype(array.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_arrays_of_ml_dtypes(name: str) -> None:
    array = np.arange(4).astype(getattr(ml_dtypes, name))
    info = index_of(pickle.dumps({"w": array}, 4)).tensors["w"]
    assert str(info.dtype) == name
    assert elements(info) == array.tobytes()


OPAQUE: dict[str, Any] = {
    "records": np.zeros(2, [("a", "i4"), ("b", "f8")]),
    "texts": np.array(["ab", "c"]),
    "bytes": np.array([b"ab"]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "long double": np.zeros(2, np.longdouble),
    "masked": np.ma.masked_array([1.0, 2.0], [True, False]),
}


@pytest.mark.parametrize("array", OPAQUE.values(), ids=OPAQUE.keys())
def test_arrays_that_no_tensor_can_be_are_opaque(array: Any) -> None:
    index = index_of(pickle.dumps({"w": array, "v": np.ones(1)}, 4))
    assert list(index.tensors) == ["v"]
    assert index.modules[""].attributes["w"].name.startswith("numpy.")


def test_arrays_of_objects_are_lists_of_them() -> None:
    value = index_of(pickle.dumps({"w": np.array([[{}, None], [1, "a"]])}, 4)).modules[""].attributes["w"]
    assert value == [[{}, None], [1, "a"]]


WHOLE = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
SCALARS = {
    name: getattr(np, name)(1) for name in ("bool_", "float16", "float32", "float64", "complex64", "complex128", *WHOLE)
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("scalar", SCALARS.values(), ids=SCALARS.keys())
def test_scalars_are_plain_numbers(scalar: Any, protocol: int) -> None:
    value = index_of(pickle.dumps({"value": scalar, "swapped": scalar}, protocol)).modules[""].attributes["value"]
    assert type(value) is type(scalar.item())
    assert value == scalar.item()


@pytest.mark.parametrize("scalar", [np.str_("a"), np.bytes_(b"a"), np.datetime64("2020"), np.longdouble(1)], ids=str)
def test_other_scalars_are_opaque(scalar: Any) -> None:
    value = index_of(pickle.dumps({"value": scalar}, 4)).modules[""].attributes["value"]
    assert value.name in {"numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"}


def test_a_scalar_of_too_few_bytes_is_opaque() -> None:
    data = pickle.dumps({"value": np.float64(1)}, 2)
    short = data.replace(struct.pack("<d", 1), struct.pack("<f", 1))
    if short == data:  # protocol 2 has it as text
        short = data.replace("\x00\x00\x00\x00\x00\x00\xf0?".encode(), b"\x00")
        short = short.replace(b"X\x09\x00\x00\x00", b"X\x01\x00\x00\x00")
    assert index_of(short).modules[""].attributes["value"].name.endswith("multiarray.scalar")


def test_dtypes_by_themselves() -> None:
    value = index_of(pickle.dumps({"value": np.dtype("f4"), "type": np.float32}, 4)).modules[""].attributes
    assert repr(value["value"]) == "numpy.dtype('f4')"
    assert repr(value["type"]) == "numpy.float32"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_share_nothing_but_are_right(protocol: int) -> None:
    tensors = {
        "t": torch.arange(6.0).reshape(2, 3).t(),
        "half": torch.randn(3).half(),
        "p": torch.nn.Parameter(torch.ones(2)),
    }
    index = index_of(pickle.dumps(tensors, protocol))
    assert_same_tensors(index, tensors)
    assert index.modules[""].parameters == ("p",)


def test_a_whole_module() -> None:
    module = torch.nn.Linear(2, 3)
    index = index_of(pickle.dumps(module, 4))
    assert index.modules[""].class_name == "torch.nn.modules.linear.Linear"
    assert_same_tensors(index, dict(module.named_parameters()))


def load_from_bytes(inner: bytes, times: int = 1) -> bytes:
    """A pickle of a list of tensors, all from one run of bytes."""
    held = b"B" + struct.pack("<I", len(inner)) + inner + b"q\x00"
    again = b"h\x01h\x00\x85R"
    return b"\x80\x03" + held + b"0ctorch.storage\n_load_from_bytes\nq\x010](" + again * times + b"e."


@pytest.mark.parametrize("save", [saved, saved_in_stream])
def test_both_of_torchs_formats_within_a_pickle(save: Any) -> None:
    index = index_of(load_from_bytes(save(torch.arange(3))))
    assert_same(index.tensors["0"], torch.arange(3))


def test_bytes_that_are_no_tensor_are_opaque() -> None:
    value = index_of(load_from_bytes(b"hello")).modules[""].attributes["0"]
    assert repr(value) == "torch.storage._load_from_bytes(b'hello')"


def test_a_bomb_of_one_file_read_a_hundred_thousand_times() -> None:
    with pytest.raises(LimitError, match=r"^net\.pt: .*over and over"):
        index_of(load_from_bytes(saved(torch.zeros(1)), 100_000))


def test_pickles_within_pickles_end_at_the_second() -> None:
    """Within a tensor's bytes no further tensor is read from bytes: torch never writes that."""
    inner = saved_in_stream(torch.ones(1))
    stub = b"\x80\x02ctorch.storage\n_load_from_bytes\n(" + b"U\x01xtR."
    heads = saved_in_stream([])
    nested = heads.replace(b"\x80\x02]q\x00.\x80\x02]q\x00.", stub + b"\x80\x02].")
    assert nested != heads
    assert list(index_of(load_from_bytes(inner)).tensors) == ["0"]
    assert index_of(load_from_bytes(nested)).modules[""].attributes["0"].name == "torch.storage._load_from_bytes"


def test_what_follows_the_pickle_is_left_alone() -> None:
    assert list(index_of(BY_HAND + b"anything").tensors) == ["w"]
