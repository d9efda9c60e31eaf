"""HDF5's datatypes, dataspaces and attributes: the description of one element, the shape, and small values."""

import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from statedict.dtypes import DTYPES, DType
from statedict.formats._numpy import nested, scalar
from statedict.opaque import Opaque

_FIXED, _FLOAT, _STRING, _OPAQUE, _COMPOUND, _ENUM, _VLEN, _COMPLEX = 0, 1, 3, 5, 6, 8, 9, 11
_FLOATS = {
    (2, 10, 5, 10, 15): "float16",
    (4, 23, 8, 23, 127): "float32",
    (8, 52, 11, 52, 1023): "float64",
    (2, 7, 8, 7, 127): "bfloat16",
    (1, 3, 4, 3, 7): "float8_e4m3fn",
    (1, 2, 5, 2, 15): "float8_e5m2",
}
"""Size, place and bits of the exponent, bits of the mantissa, and bias of each type of float."""
_MOST_VALUES = 1 << 16
_MOST_DEPTH = 16


class Heaps:
    """The global heaps, in which strings of varying length lie: each is read once, when one of its strings is."""

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self._read = read
        self._heaps: dict[int, dict[int, bytes]] = {}

    def string(self, pointer: bytes) -> bytes | None:
        """What 16 bytes of a length, an address and a number refer to; None where there is nothing."""
        length, address, number = struct.unpack("<LQL", pointer)
        if length == 0:
            return b""
        if address not in self._heaps:
            self._heaps[address] = self._objects(address)
        held = self._heaps[address].get(number)
        return held[:length] if held is not None else None

    def _objects(self, address: int) -> dict[int, bytes]:
        head = self._read(address, 16)
        if head[:4] != b"GCOL":
            return {}
        data, at = self._read(address, struct.unpack_from("<Q", head, 8)[0]), 16
        found: dict[int, bytes] = {}
        while at + 16 <= len(data):
            number, _, _, size = struct.unpack_from("<2HLQ", data, at)
            if number == 0:
                break
            found[number] = data[at + 16 : at + 16 + size]
            at += 16 + -(-size // 8) * 8
        return found


class Kind(NamedTuple):
    """One datatype. `code` says what it is where it has no `dtype`: "S" fixed text, "vlen" text, or its class."""

    code: str
    size: int
    dtype: DType | None = None
    big_endian: bool = False

    def __str__(self) -> str:
        return self.code

    def value(self, data: bytes, heaps: Heaps) -> Any:
        """The plain value in the bytes of one element."""
        if self.dtype is not None and not self.dtype.name.startswith(("bits", "bfloat", "float8")):
            return scalar(self.dtype, data, self.big_endian)
        if self.code == "S":
            return data.rstrip(b"\0 ").decode("utf-8", "backslashreplace")
        if self.code == "vlen":
            held = heaps.string(data)
            return held.rstrip(b"\0").decode("utf-8", "backslashreplace") if held is not None else None
        return Opaque("h5py.Value", (), {"dtype": self.code})


def datatype(data: bytes, depth: int = 0) -> Kind:
    """The kind of element that a datatype message describes."""
    kind, bits, size = data[0] & 0xF, int.from_bytes(data[1:4], "little"), int.from_bytes(data[4:8], "little")
    properties, version = data[8:], data[0] >> 4
    big_endian = bool(bits & 1) and size > 1
    if kind == _FIXED and size in (1, 2, 4, 8) and struct.unpack_from("<2H", properties) == (0, 8 * size):
        name = f"{'int' if bits & 8 else 'uint'}{8 * size}"
        return Kind(name, size, DTYPES[name], big_endian)
    if kind == _FLOAT and not bits & 0x40:
        offset, precision, place, width, begin, mantissa, bias = struct.unpack_from("<2H4BL", properties)
        found = _FLOATS.get((size, place, width, mantissa, bias))
        if found and (offset, precision, begin) == (0, 8 * size, 0):
            return Kind(found, size, DTYPES[found], big_endian)
    if kind == _STRING:
        return Kind("S", size)
    if kind == _OPAQUE and size in (1, 2):
        return Kind(f"V{size}", size, DTYPES[f"bits{8 * size}"])
    if kind == _VLEN and bits & 0xF == 1 and size == 16:
        return Kind("vlen", size)
    if depth < _MOST_DEPTH:
        if kind == _ENUM:
            return _enum(datatype(properties, depth + 1), properties, bits & 0xFFFF)
        if kind == _COMPLEX:
            return _complex(datatype(properties, depth + 1), size)
        if kind == _COMPOUND and bits & 0xFFFF == 2:
            return _compound(properties, size, version, depth)
    return Kind(f"class {kind} of {size} bytes", size)


def _enum(base: Kind, properties: bytes, count: int) -> Kind:
    """Truth values, as h5py stores them; other enumerations as the numbers that they are."""
    is_bool = base.size == 1 and count == 2 and b"FALSE\0" in properties and b"TRUE\0" in properties
    return Kind("bool", 1, DTYPES["bool"]) if is_bool else base


def _complex(part: Kind, size: int) -> Kind:
    name = {("float32", 8): "complex64", ("float64", 16): "complex128"}.get((part.code, size))
    return Kind(name, size, DTYPES[name], part.big_endian) if name else Kind(f"complex of {part.code}", size)


def _compound(properties: bytes, size: int, version: int, depth: int) -> Kind:
    """A complex number, as h5py stores it: two members `r` and `i`."""
    parts: list[tuple[bytes, int, Kind]] = []
    at = 0
    for _ in range(2):
        end = properties.index(b"\0", at)
        name = properties[at:end]
        at = end + 1 if version >= 3 else at + -(-(end + 1 - at) // 8) * 8
        width = 4 if version < 3 else max(1, (size.bit_length() + 7) // 8)
        offset = int.from_bytes(properties[at : at + width], "little")
        at += width + (28 if version == 1 else 0)
        part = datatype(properties[at:], depth + 1)
        at += 8 + (12 if part.code.startswith("float") else 4)
        parts.append((name, offset, part))
    (real, first, part), (imaginary, second, other) = parts
    if (real, imaginary, first, second) == (b"r", b"i", 0, size // 2) and part == other:
        return _complex(part, size)
    return Kind("compound", size)


def dataspace(data: bytes) -> tuple[int, ...] | None:
    """The shape; None where there are no elements at all (HDF5's null)."""
    if data[0] == 2 and data[3] == 2:
        return None
    at = 8 if data[0] == 1 else 4
    return struct.unpack_from(f"<{data[1]}Q", data, at)


def attribute(data: bytes, heaps: Heaps) -> tuple[str, Any]:
    """The name and the plain value of an attribute; what is neither number nor text, or long, is described."""
    version, flags = data[0], data[1]
    sizes = struct.unpack_from("<3H", data, 2)
    at = 9 if version == 3 else 8
    pieces: list[bytes] = []
    for size in sizes:
        pieces.append(data[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    name = pieces[0].rstrip(b"\0").decode("utf-8", "backslashreplace")
    if version > 1 and flags:  # its type or space is kept elsewhere
        return name, Opaque("h5py.Attribute", (), {"dtype": "named"})
    kind, shape = datatype(pieces[1]), dataspace(pieces[2])
    if shape is None:
        return name, None
    count = math.prod(shape)
    values = data[at : at + count * kind.size]
    if count > _MOST_VALUES or len(values) < count * kind.size:
        return name, Opaque("h5py.Attribute", (), {"shape": shape, "dtype": kind.code})
    made = [kind.value(values[place * kind.size : (place + 1) * kind.size], heaps) for place in range(count)]
    return name, nested(made, shape)
