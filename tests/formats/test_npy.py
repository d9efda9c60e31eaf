"""NumPy's .npy: a file by hand, then files by numpy."""

import io
import math
import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import statedict as sd
from statedict.errors import FormatError, LimitError
from statedict.formats import npy
from statedict.limits import DEFAULT_LIMITS
from statedict.opaque import Opaque
from statedict.source import BytesSource
from statedict.tree.reading import read
from tests import real_models
from tests.formats.stored import NAME, CountingSource, elements, index_of

BY_HAND = (
    b"\x93NUMPY\x01\x00"  # magic, version
    b"\x3b\x00"  # the length of the header
    b"{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n"
    b"\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06"
)


def saved(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def with_header(header: str | bytes, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text + data


def held(data: bytes) -> Any:
    """What a file holds that is no tensor."""
    return npy.array(BytesSource(data, NAME), DEFAULT_LIMITS, NAME)


def test_a_file_by_hand() -> None:
    index = index_of(BY_HAND)
    (info,) = index.tensors.values()
    assert index.format == "npy"
    assert (info.name, str(info.dtype), info.shape, info.stride) == ("tensor", "int16", (2, 3), (1, 2))
    assert info.encoding.byteorder == "big"
    assert info.extent is not None
    assert (info.extent.offset, info.extent.size) == (69, 12)
    assert read(info).tolist() == [[1, 3, 5], [2, 4, 6]]


CODES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", CODES)
def test_every_type_that_numpy_and_torch_share(code: str, order: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(order + code)
    (info,) = index_of(saved(array)).tensors.values()
    ours = read(info)
    assert ours.dtype == array.dtype.newbyteorder("=")
    assert ours.tolist() == array.tolist()


@given(shape=st.lists(st.integers(0, 3), max_size=4), fortran=st.booleans(), data=st.data())
def test_shape_and_order_are_numpys(shape: list[int], fortran: bool, data: st.DataObject) -> None:
    array = (
        np.arange(math.prod(shape), dtype="f4").reshape(shape).transpose(data.draw(st.permutations(range(len(shape)))))
    )
    array = np.asarray(array, order="F" if fortran else "C")
    loaded = np.load(io.BytesIO(saved(array)))
    (info,) = index_of(saved(array)).tensors.values()
    assert read(info).tobytes() == loaded.tobytes()
    assert info.shape == loaded.shape
    if info.stride is not None:
        assert info.stride == tuple(step // 4 for step in loaded.strides)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version(version: int) -> None:
    data = with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", b"\0\0\x80?", version)
    (info,) = index_of(data).tensors.values()
    assert read(info).tolist() == [1.0]


def test_a_header_by_python_2() -> None:
    (info,) = index_of(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 0L), }")).tensors.values()
    assert info.shape == (2, 0)


@pytest.mark.parametrize(
    ("name", "bits"), [("bfloat16", "bits16"), ("float8_e4m3fn", "bits8"), ("float8_e5m2", "bits8"), ("int4", "bits8")]
)
def test_types_that_numpy_saves_without_a_name_are_bits(name: str, bits: str) -> None:
    array = np.array([1, 2, -3], getattr(ml_dtypes, name))
    (info,) = index_of(saved(array)).tensors.values()
    assert str(info.dtype) == bits
    assert elements(info) == array.tobytes()
    assert read(info).view(array.dtype).tolist() == array.tolist()


@pytest.mark.parametrize(
    "array",
    [
        np.array('{"hidden": 8}'),
        np.array(["é", "", "鍵"]),
        np.array([["a", "b"]], dtype=">U3"),
        np.array([[b"ab"], [b""]]),
        np.array([], "U3"),
        np.array([[1, "x"], [None, [2]]], object),
    ],
    ids=["scalar", "list", "big-endian", "bytes", "none", "objects"],
)
def test_text_and_objects_are_plain_values(array: Any) -> None:
    assert held(saved(array)) == array.tolist()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2,), [("a", "f4"), ("b", "i2", (3,))]),
        np.array(["2020-01-01"], "M8[D]"),
        np.zeros(3, np.longdouble),
        np.zeros(2, "V7"),
    ],
    ids=["structured", "dates", "long doubles", "raw"],
)
def test_other_types_are_described(array: Any) -> None:
    described = held(saved(array))
    assert isinstance(described, Opaque)
    assert (described.name, described.kwargs["shape"]) == ("numpy.ndarray", array.shape)


def test_a_long_text_is_described_and_not_read() -> None:
    source = CountingSource(saved(np.array(["x" * 1000] * 5000)))
    assert npy.array(source, DEFAULT_LIMITS, NAME).kwargs["dtype"] == "<U1000"
    assert source.read_bytes < 10_000


def test_objects_become_modules() -> None:
    objects = {"net": [np.ones((2, 2)), np.zeros(3, "i4")], "epoch": 3}
    index = index_of(saved(np.array(objects, object)))
    assert [(name, info.shape) for name, info in index.tensors.items()] == [("net.0", (2, 2)), ("net.1", (3,))]
    assert index.modules[""].attributes == {"epoch": 3}


def test_nothing_in_a_pickle_runs() -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("this ran",)

    described = held(saved(np.array(Payload(), object)))
    assert repr(described) == "builtins.print('this ran')"


def test_of_a_large_array_only_the_header_is_read() -> None:
    source = CountingSource(saved(np.zeros(1 << 20)))
    index_of(source)
    assert source.read_bytes < 2000


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
REFUSED = {
    "no literal": "{'descr': open('x')}",
    "no dict": "[1, 2]",
    "no shape": "{'descr': '<f4', 'fortran_order': False}",
    "a negative size": GOOD.replace("2", "-2"),
    "a size that is a fraction": GOOD.replace("2", "2.0"),
    "a size that is a truth value": GOOD.replace("2", "True"),
    "a size beyond 64 bits": GOOD.replace("2", str(1 << 64)),
    "sizes that overflow": GOOD.replace("2", f"{1 << 62}, {1 << 62}"),
    "sixty-five dimensions": GOOD.replace("2", "1, " * 65),
    "a number of 10,000 digits": GOOD.replace("2", "1" * 10_000),
    "brackets without end": "(" * 60_000,
    "signs without end": "-" * 60_000 + "1",
    "an array beyond the file": GOOD.replace("2", "4"),
    "text beyond the file": GOOD.replace("<f4", "<U9"),
    "objects that are not there": GOOD.replace("<f4", "|O"),
    "bytes that are no text": b"\xff\xfe",
}


@pytest.mark.parametrize("header", REFUSED.values(), ids=REFUSED.keys())
def test_a_header_that_contradicts_itself_is_refused(header: str | bytes) -> None:
    with pytest.raises(FormatError, match=r"^net\.pt: ") as caught:
        index_of(with_header(header, bytes(8)))
    assert type(caught.value) is FormatError
    assert len(str(caught.value).splitlines()) == 1


def test_a_header_of_a_gigabyte_is_refused_unread() -> None:
    with pytest.raises(LimitError, match="a header of 1,073,741,824 bytes"):
        index_of(b"\x93NUMPY\2\0" + (1 << 30).to_bytes(4, "little") + bytes(600))


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(FormatError, match="version 1 to 3"):
        index_of(with_header(GOOD, bytes(8), version=9))


def test_every_prefix_is_refused() -> None:
    data = saved(np.array({"w": np.ones(2)}, object))
    for size in range(len(data)):
        with pytest.raises(FormatError):
            index_of(data[:size])


def test_an_object_array_of_an_enormous_shape_and_no_elements_is_small() -> None:
    pickled = pickle.dumps(np.empty((0, 7), object), 2)
    enormous = pickled.replace(b"K\x00K\x07\x86", b"K\x00J\xff\xff\xff\x7f\x86")
    assert enormous != pickled
    assert held(with_header("{'descr': '|O', 'fortran_order': False, 'shape': ()}", enormous)) == []


@pytest.mark.real
def test_a_real_file_of_pickled_objects() -> None:
    path = real_models.fetch("mtcnn_weights_pickled.npy")
    expected = np.load(path, allow_pickle=True).item()
    ours = sd.open(path)
    arrays = {f"{net}.{number}": array for net, layers in expected.items() for number, array in enumerate(layers)}
    tensors = dict(ours.named_parameters())
    assert list(tensors) == list(arrays)
    assert len(tensors) == real_models.listed()["mtcnn_weights_pickled.npy"].tensors
    for name, array in arrays.items():
        assert tensors[name].numpy().dtype == array.dtype
        assert np.array_equal(tensors[name].numpy(), array), name
