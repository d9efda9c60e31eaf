"""What numpy's pickles call to rebuild arrays and scalars, as descriptions: `_reconstruct`, `scalar`, `_frombuffer`."""

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from statedict.dtypes import DTYPES, DType
from statedict.errors import FormatError
from statedict.formats._inert import is_class, spend
from statedict.formats._stored import Storage, StoredTensor, integers
from statedict.index import contiguous
from statedict.narrow import is_list, is_tuple
from statedict.opaque import Opaque
from statedict.source import BytesSource, Extent

CODES = {
    **{f"f{size}": f"float{size * 8}" for size in (2, 4, 8)},
    **{f"{code}{size}": f"{name}{size * 8}" for code, name in (("i", "int"), ("u", "uint")) for size in (1, 2, 4, 8)},
    "c8": "complex64",
    "c16": "complex128",
    "b1": "bool",
}
"""The element type of each of numpy's codes, without its byte order."""
_SCALARS = {
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "bool": "?",
    "complex64": "ff",
    "complex128": "dd",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
}
"""The code of `struct` for each type of scalar."""


class NumpyDType:
    """A numpy dtype as it is pickled: a code ("f4"), and a byte order that arrives later."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_flags: Any) -> None:
        if is_class(code):
            code = code.full_name.removeprefix("ml_dtypes.").removeprefix("numpy.")
        if not isinstance(code, str):
            raise TypeError("not a dtype")
        self.order = code[0] if code[:1] in "<>=|" else "<"
        self.code = code.lstrip("<>=|")

    def __setstate__(self, state: Any) -> None:
        if is_tuple(state) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    @property
    def dtype(self) -> DType:
        return DTYPES[CODES.get(self.code, self.code)]


class NumpyArray:
    """A numpy array while its pickle is read: `__setstate__` brings shape, dtype and bytes."""

    __slots__ = ("value",)

    def __init__(self, *_arguments: Any) -> None:
        self.value: Any = Opaque("numpy.ndarray", ())

    def __setstate__(self, state: Any) -> None:
        try:
            _version, shape, dtype, fortran, data = state
            if is_list(data):
                spend(len(data))
                self.value = nested(data, integers(shape))
            else:
                self.value = _array(data, dtype, shape, "F" if fortran else "C")
        except FormatError:
            raise
        except (TypeError, ValueError, KeyError, AttributeError):
            self.value = Opaque("numpy.ndarray", (), state=state)


def nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    """The values of an array, row by row, in lists as deep as it has dimensions; the only one where it has none.

    Raises ValueError where they are not as many as the shape says.
    """
    if math.prod(shape) != len(values):
        raise ValueError("not an array's values")
    if not values:
        return []  # also of (1_000_000_000, 0)
    for size in shape[:0:-1]:
        values = [values[first : first + size] for first in range(0, len(values), size)]
    return values if shape else values[0]


def _array(data: Any, dtype: NumpyDType, shape: Any, order: str = "C") -> StoredTensor:
    kind, size = dtype.dtype, integers(shape)
    if isinstance(data, str):
        spend(len(data))
        data = data.encode("utf-8", "surrogateescape")
    if not isinstance(data, bytes | bytearray):
        raise TypeError("not bytes")
    stride = contiguous(size) if order == "C" else tuple(reversed(contiguous(size[::-1])))
    source = BytesSource(data, "an array in the pickle")
    extent = Extent(source, 0, len(data))
    storage = Storage(kind, len(data) // kind.itemsize, "cpu", extent, dtype.order == ">")
    return StoredTensor(storage, 0, size, stride, kind)


def _scalar(dtype: NumpyDType, data: Any = b"") -> Any:
    if isinstance(data, str):
        spend(len(data))
        data = data.encode("utf-8", "surrogateescape")
    return scalar(dtype.dtype, data, dtype.order == ">")


def scalar(dtype: DType, data: bytes, big_endian: bool = False) -> Any:
    """The value in the bytes of one element. Raises KeyError where Python has no such type, ValueError otherwise."""
    code = (">" if big_endian else "<") + _SCALARS[dtype.name]
    if struct.calcsize(code) != len(data):
        raise ValueError("not one scalar")
    values = struct.unpack(code, data)
    return complex(*values) if len(values) == 2 else values[0]


KNOWN: Mapping[str, Callable[..., Any]] = {
    "numpy.dtype": NumpyDType,
    "numpy.ndarray": NumpyArray,
    **{f"numpy.{core}.multiarray._reconstruct": NumpyArray for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array for core in ("core", "_core")},
}
