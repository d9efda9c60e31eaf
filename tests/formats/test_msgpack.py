"""Flax's msgpack: a file by hand, then files by the msgpack library as Flax calls it."""

import pickle
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
import pytest
import torch

import statedict as sd
from statedict.errors import FormatError, LimitError
from statedict.formats import msgpack as reader
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.source import BytesSource
from statedict.tree.reading import read
from tests.formats.contract import FormatContract
from tests.formats.stored import CountingSource, elements, index_of

BY_HAND = (
    b"\x82"  # a map of two
    b"\xa6params\x81"
    b"\xa1w\xc7\x10\x01"  # an extension of 16 bytes, type 1
    b"\x93\x92\x01\x01\xa7float16\xc4\x02\x00\x3c"  # its shape, [1, 1]; its dtype; its two bytes
    b"\xa4step\x07"
)


def array(values: Any) -> msgpack.ExtType:
    """As `flax.serialization` packs an array."""
    values = np.asarray(values)
    return msgpack.ExtType(1, msgpack.packb((values.shape, values.dtype.name, values.tobytes("C")), use_bin_type=True))


def packed(value: Any) -> bytes:
    return msgpack.packb(value) or b""


class TestContract(FormatContract):
    format = "msgpack"

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return packed({name: array(tensor.numpy()) for name, tensor in tensors.items()})


def test_a_file_by_hand() -> None:
    index = index_of(BY_HAND)
    (info,) = index.tensors.values()
    assert (info.name, str(info.dtype), info.shape) == ("params.w", "float16", (1, 1))
    assert info.extent is not None
    assert (info.extent.offset, info.extent.size) == (28, 2)
    assert read(info).tolist() == [[1.0]]
    assert index.modules[""].attributes == {"step": 7}


NAMES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
OF_ML_DTYPES = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"]


@pytest.mark.parametrize("name", [*NAMES, *OF_ML_DTYPES])
def test_every_type(name: str) -> None:
    values = np.array([0, 1, 2]).astype(name if name in NAMES else getattr(ml_dtypes, name))
    (info,) = index_of(packed({"w": array(values)})).tensors.values()
    assert str(info.dtype) == name
    assert elements(info) == values.tobytes()


def test_plain_values_are_attributes() -> None:
    values = {
        "none": None, "yes": True, "no": False, "small": 5, "negative": -3, "f": 2.5, "text": "é" * 300,
        "list": [1, [2]],
        "sizes": [0xFF, 0xFFFF, 0xFFFFFFFF, 1 << 63, -128, -(1 << 15), -(1 << 31), -(1 << 63)], "bytes": b"ab", "d": {},
        "many": list(range(70_000)),
    }  # fmt: skip
    assert index_of(packed(values)).modules[""].attributes == values


def test_numbers_of_numpy_and_python() -> None:
    single = msgpack.packb(2.5, use_single_float=True) or b""
    of_numpy = msgpack.ExtType(3, packed(((), "int32", b"\7\0\0\0")))
    of_python = msgpack.ExtType(2, packed((1.0, -2.0)))
    data = b"\x83\xa1s" + single + b"\xa1n" + packed(of_numpy) + b"\xa1c" + packed(of_python)
    assert index_of(data).modules[""].attributes == {"s": 2.5, "n": 7, "c": 1 - 2j}


def test_a_scalar_of_a_type_that_python_has_not_is_a_tensor() -> None:
    scalar = msgpack.ExtType(3, msgpack.packb(((), "bfloat16", b"\xc0\x3f")))
    (info,) = index_of(packed({"s": scalar})).tensors.values()
    assert (info.shape, read(info)) == ((), 1.5)


def test_what_has_no_type_of_ours_is_described() -> None:
    values = {"a": msgpack.ExtType(9, b"xyz"), "b": array(np.zeros(2, "M8[D]")), "long": bytes(10_000)}
    described = index_of(packed(values)).modules[""].attributes
    assert all(isinstance(value, Opaque) for value in described.values())
    assert repr(described["b"]) == "numpy.ndarray(shape=(2,), dtype='datetime64[D]')"


def chunked(values: Any, size: int) -> dict[str, Any]:
    """As `flax.serialization` divides an array of more than a gigabyte."""
    flat = values.reshape(-1)
    pieces = [array(flat[first : first + size]) for first in range(0, flat.size, size)]
    return {
        "__msgpack_chunked_array__": True,
        "shape": {str(axis): length for axis, length in enumerate(values.shape)},
        "chunks": {str(number): piece for number, piece in enumerate(pieces)},
    }


def test_only_what_is_trained_are_parameters() -> None:
    kernel, mean = array(np.ones((2, 3), "f4")), array(np.zeros(3, "f4"))
    state = {
        "step": 1,
        "params": {"Dense_0": {"kernel": kernel}},
        "opt_state": {"0": {"count": array(np.int32(1)), "mu": {"Dense_0": {"kernel": kernel}}}},
        "batch_stats": {"BatchNorm_0": {"mean": mean}},
    }
    model = sd.open(packed(state))
    assert [name for name, _ in model.named_parameters()] == ["params.Dense_0.kernel"]
    names = ["opt_state.0.count", "opt_state.0.mu.Dense_0.kernel", "batch_stats.BatchNorm_0.mean"]
    assert [name for name, _ in model.named_buffers()] == names
    assert model.attributes == {"step": 1}


def test_an_array_in_pieces_is_one_tensor() -> None:
    values = np.arange(60, dtype="f4").reshape(5, 4, 3)
    index = index_of(packed({"a": {"w": chunked(values, 7)}, "b": array([1])}))
    assert list(index.tensors) == ["a.w", "b"]
    info = index.tensors["a.w"]
    assert np.array_equal(read(info), values)
    assert np.array_equal(read(pickle.loads(pickle.dumps(info))), values)
    assert info.extent is not None
    for first in range(0, 240, 13):
        assert info.extent.source.read_at(first, 240 - first) == values.tobytes()[first:]


def test_a_bare_array_and_an_empty_map() -> None:
    assert list(index_of(packed(array([1, 2]))).tensors) == ["tensor"]
    assert list(index_of(packed(array(np.zeros(100)))).tensors) == ["tensor"]
    assert not index_of(packed({})).tensors


def test_values_between_arrays_are_read_and_arrays_are_not() -> None:
    source = CountingSource(packed({f"w{number}": array(np.zeros(100_000)) for number in range(10)}))
    assert len(index_of(source).tensors) == 10
    assert source.read_bytes < 100_000


def wrong(**changes: Any) -> bytes:
    return packed({"w": chunked(np.arange(4.0), 2) | changes})


REFUSED = {
    "more entries than bytes": b"\xdf\xff\xff\xff\xff\xa1w\x01",
    "a text longer than the file": b"\x81\xdb\xff\xff\xff\xff\xa1w",
    "a list longer than the file": b"\x81\xa1w\xdd\xff\xff\xff\xff",
    "an extension longer than the file": b"\x81\xa1w\xc9\xff\xff\xff\xff\x01\x93",
    "an array longer than its extension": b"\x81\xa1w\xc7\x0b\x01\x93\x91\x04\xa4int8\xc4\x09ab" + bytes(9),
    "an array shorter than its shape": packed({"w": msgpack.ExtType(1, packed(((3,), "int8", b"a")))}),
    "an extension that goes on": packed({"w": msgpack.ExtType(1, packed(((1,), "int8", b"a")) + b"\1")}),
    "an array of two things": packed({"w": msgpack.ExtType(1, packed(((1,), "int8")))}),
    "a shape that is no list": packed({"w": msgpack.ExtType(1, packed((1, "int8", b"a")))}),
    "a negative size": packed({"w": msgpack.ExtType(1, packed(((-1,), "int8", b"")))}),
    "sizes that overflow": packed({"w": msgpack.ExtType(1, packed(((1 << 62, 1 << 62), "int8", b"")))}),
    "a dtype that is no name": packed({"w": msgpack.ExtType(1, packed(((1,), 8, b"a")))}),
    "a complex number of three": packed({"w": msgpack.ExtType(2, packed((1.0, 2.0, 3.0)))}),
    "a byte that begins nothing": b"\x81\xa1w\xc1",
    "a name twice": b"\x82\xa1w\x01\xa1w\x02",
    "a name that is a list": b"\x82\xa1w\x01\x91\x01\x02",
    "more behind the end": packed({"w": 1}) + b"\x01",
    "pieces without a shape": wrong(shape=None),
    "pieces without pieces": wrong(chunks={}),
    "pieces in another order": wrong(chunks={"1": array([1.0]), "0": array([2.0])}),
    "pieces of two types": wrong(chunks={"0": array([1.0]), "1": array([2])}),
    "fewer pieces than the shape says": wrong(shape={"0": 5}),
    "a piece that is no array": wrong(chunks={"0": array([1.0]), "1": 3}),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_contradicts_itself_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"^net\.pt: ") as caught:
        index_of(data, "msgpack")
    assert type(caught.value) is FormatError
    assert len(str(caught.value).splitlines()) == 1


LIMITED = {
    "nesting": (b"\x81\xa1w" * 300 + b"\x01", Limits()),
    "nesting that limits allow": (b"\x81\xa1w" * 50_000 + b"\x01", Limits(depth=1 << 20)),
    "values": (packed({"w": list(range(2000))}), Limits(names=1000)),
    "text": (packed({"w": "x" * 2000}), Limits(header_bytes=1000)),
}


@pytest.mark.parametrize(("data", "limits"), LIMITED.values(), ids=LIMITED.keys())
def test_a_file_that_asks_for_too_much_is_refused(data: bytes, limits: Limits) -> None:
    with pytest.raises(LimitError, match=r"^net\.pt: "):
        index_of(data, "msgpack", limits)


@pytest.mark.parametrize(
    "head", [b"\x89PNG\r\n\x1a\n", b"\x80\x02}q\x00.", b"\x93NUMPY\1\0", b"\x8b\x1f\x08\x00", b"\xde"]
)
def test_other_files_are_not_claimed(head: bytes) -> None:
    assert not reader.sniff(head, BytesSource(head))
