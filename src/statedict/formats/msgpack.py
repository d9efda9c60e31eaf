"""Flax's msgpack: nested maps whose leaves are arrays (`flax.serialization.msgpack_serialize`; the msgpack format).

An array is an extension of type 1: an array of shape, name of dtype, and bytes, row by row, which stay in the file.
Type 2 is a complex number, type 3 a numpy scalar. An array of more than 1 GiB is a map of flat pieces of it.
"""

import struct
from typing import Any

from statedict.composed import JoinedSource
from statedict.dtypes import DTYPES
from statedict.errors import FormatError, LimitError
from statedict.formats._flax import with_roles
from statedict.formats._graph import index_of
from statedict.formats._numpy import CODES, scalar
from statedict.formats._stored import Storage, StoredTensor, integers
from statedict.index import Index, contiguous
from statedict.limits import Limits
from statedict.narrow import is_dict, is_list
from statedict.opaque import Opaque
from statedict.source import Extent, Source

_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    **{0xCC + power: f">{code}" for power, code in enumerate("BHIQ")},
    **{0xD0 + power: f">{code}" for power, code in enumerate("bhiq")},
}
"""The code of `struct` for each byte that begins a number."""
_SINGLE = {0xC0: None, 0xC2: False, 0xC3: True}
_COUNTED = {
    **{0xC4 + power: ("bin", 1 << power) for power in range(3)},
    **{0xC7 + power: ("ext", 1 << power) for power in range(3)},
    **{0xD9 + power: ("str", 1 << power) for power in range(3)},
    **{0xDC + power: ("array", 2 << power) for power in range(2)},
    **{0xDE + power: ("map", 2 << power) for power in range(2)},
}
"""What each byte begins that is followed by a size, and by how many bytes of it."""
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"
_DTYPES = {
    name: dtype
    for name, dtype in DTYPES.items()
    if name in CODES.values() or name.startswith(("bfloat16", "float8_")) or name in {"int4", "uint4"}
}
"""Those of numpy and of ml_dtypes, which both call by the names that PyTorch has."""
_WINDOW = 1 << 12
_LONGEST_BYTES = 1 << 12


def sniff(head: bytes, source: Source) -> bool:
    """Whether it begins as a map whose first key is text, or as a lone array; an empty map is one byte."""
    if head[:1] == b"\x80":
        return source.size == 1
    skip = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x80 < head[0] < 0x90 else len(head))
    key = head[skip : skip + 6]
    if key and (0xA0 <= key[0] < 0xC0 or key[0] in (0xD9, 0xDA)):
        return key[1:2].isascii() or key[1] >= 0xC2
    return head[:1] in (b"\xc7", b"\xc8", b"\xc9") and head[1 << (head[0] - 0xC7) :][1:3] == b"\1\x93"


def read(source: Source, limits: Limits) -> Index:
    """The index of a msgpack file, of whose arrays nothing is read. Raises FormatError where it is damaged."""
    walk = _Walk(source, limits)
    try:
        graph = walk.value(0)
    except RecursionError:
        raise LimitError(f"{source.name}: nested deeper than Python can follow; `Limits.depth` is too high") from None
    if walk.position != source.size:
        raise FormatError(
            f"{source.name}: goes on behind its end, at byte {walk.position:,}; it is damaged, or another kind of file"
        )
    return with_roles(index_of(graph, "msgpack", source, limits, {}))


class _Walk:
    """Reads value after value, and steps over the bytes of arrays."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.position = 0
        self._source = source
        self._limits = limits
        self._window = b""
        self._window_start = 0
        self._values = 0
        self._bytes = 0

    def value(self, depth: int) -> Any:
        """The next value: plain, a list, a dict, a tensor."""
        self._values += 1
        if self._values > self._limits.names:
            raise LimitError(
                f"{self._source.name}: more than {self._limits.names:,} values; `Limits.names` allows no more"
            )
        if depth > self._limits.depth:
            raise LimitError(f"{self._source.name}: nested more than {self._limits.depth:,} deep")
        byte = self._take(1)[0]
        if byte < 0x80 or byte >= 0xE0:
            return byte if byte < 0x80 else byte - 0x100
        if byte in _SINGLE:
            return _SINGLE[byte]
        if (code := _NUMBERS.get(byte)) is not None:
            return struct.unpack(code, self._take(struct.calcsize(code)))[0]
        return self._sized(*self._kind(byte), depth)

    def _kind(self, byte: int) -> tuple[str, int]:
        """What a byte begins that counts what follows, and how much: bytes, or entries."""
        if byte < 0xC0:
            return (
                ("map", byte & 0xF) if byte < 0x90 else ("array", byte & 0xF) if byte < 0xA0 else ("str", byte & 0x1F)
            )
        if 0xD4 <= byte <= 0xD8:
            return "ext", 1 << byte - 0xD4
        if byte not in _COUNTED:
            raise self._damaged(f"{byte:#04x} begins no value")
        kind, width = _COUNTED[byte]
        return kind, int.from_bytes(self._take(width), "big")

    def _sized(self, kind: str, size: int, depth: int) -> Any:
        left = self._source.size - self.position
        if size * (2 if kind == "map" else 1) > left:
            raise self._damaged(f"{size:,} more are promised ({kind}), but {left:,} bytes are left")
        if kind == "map":
            return self._map(size, depth)
        if kind == "array":
            return [self.value(depth + 1) for _ in range(size)]
        if kind == "ext":
            return self._extension(int.from_bytes(self._take(1), "big", signed=True), size, depth)
        if kind == "bin" and size > _LONGEST_BYTES:
            self.position += size
            return Opaque("bytes", (), {"bytes": size})
        return self._text(size) if kind == "str" else self._take(size)

    def _map(self, size: int, depth: int) -> Any:
        entries: dict[Any, Any] = {}
        for _ in range(size):
            key = self.value(depth + 1)
            if not isinstance(key, str | int | float | bytes | None):
                raise self._damaged(f"a {type(key).__name__} is no key")
            if key in entries:
                raise self._damaged(f"the key {str(key)[:40]!r} stands twice in one map")
            entries[key] = self.value(depth + 1)
        return self._joined(entries) if _CHUNKED in entries else entries

    def _extension(self, code: int, size: int, depth: int) -> Any:
        end = self.position + size
        if end > self._source.size:
            raise self._source.ends_before(end)
        made: Any = Opaque("msgpack.ExtType", (code,), {"bytes": size})
        if code in (_ARRAY, _SCALAR):
            made = self._array(end, depth)
            if code == _SCALAR and isinstance(made, StoredTensor):
                made = self._scalar(made)
        elif code == _COMPLEX:
            parts = self.value(depth + 1)
            if not is_list(parts) or [type(part) for part in parts] != [float, float]:
                raise self._damaged(f"{str(parts)[:40]} is no complex number")
            made = complex(*parts)
        else:
            self.position = end
        if self.position != end:
            raise self._damaged(f"an extension of type {code} ends at byte {end:,}")
        return made

    def _array(self, end: int, depth: int) -> Any:
        """The tensor that ends at byte `end`. Its bytes are stepped over."""
        parts = self._kind(self._take(1)[0])
        shape, name = (self.value(depth + 1), self.value(depth + 1)) if parts == ("array", 3) else (None, None)
        name = name.decode("ascii", "replace") if isinstance(name, bytes) else name
        kind, size = self._kind(self._take(1)[0])
        start, self.position = self.position, self.position + size
        try:
            shape = integers(tuple(shape or ()))
        except TypeError:
            shape = None
        if shape is None or min(shape, default=0) < 0 or not isinstance(name, str) or kind not in {"bin", "str"}:
            raise self._damaged("an array's shape, dtype and bytes are expected")
        if self.position > end:
            raise self._damaged(f"an array of {size:,} bytes does not fit its extension")
        dtype = _DTYPES.get(name)
        if dtype is None:
            return Opaque("numpy.ndarray", (), {"shape": shape, "dtype": name})
        storage = Storage(dtype, size // dtype.itemsize, "cpu", Extent(self._source, start, size))
        return StoredTensor(storage, 0, shape, contiguous(shape), dtype)

    def _scalar(self, made: StoredTensor) -> Any:
        """The value of a numpy scalar; of a type that Python has not, the tensor."""
        extent = made.storage.extent if made.storage is not None else None
        try:
            return scalar(made.dtype, extent.read()) if extent is not None and extent.size <= 16 else made
        except (KeyError, ValueError):
            return made

    def _joined(self, entries: dict[Any, Any]) -> StoredTensor:
        """The array of which a map holds the pieces."""
        sizes, pieces = _in_row(entries.get("shape")), _in_row(entries.get("chunks"))
        storages = [piece.storage for piece in pieces or () if isinstance(piece, StoredTensor)]
        extents = tuple(storage.extent for storage in storages if storage is not None and storage.extent is not None)
        try:
            shape = integers(tuple(sizes or ()))
        except TypeError:
            shape = (-1,)
        dtypes = {storage.dtype for storage in storages if storage is not None}
        if len(dtypes) != 1 or len(extents) != len(pieces or ()) or sizes is None or min(shape, default=0) < 0:
            raise self._damaged("the pieces of an array are expected, with its shape")
        (dtype,) = dtypes
        joined = JoinedSource(extents, f"{self._source.name}: an array in {len(extents)} pieces")
        storage = Storage(dtype, joined.size // dtype.itemsize, "cpu", Extent(joined, 0, joined.size))
        return StoredTensor(storage, 0, shape, contiguous(shape), dtype)

    def _text(self, size: int) -> str:
        return self._take(size).decode("utf-8", "backslashreplace")

    def _take(self, size: int) -> bytes:
        """The next bytes."""
        self._bytes += size
        if self._bytes > self._limits.header_bytes:
            raise LimitError(
                f"{self._source.name}: more than {self._limits.header_bytes:,} bytes that are no array's; "
                "raise `Limits.header_bytes` if you trust it"
            )
        begin = self.position - self._window_start
        if begin < 0 or begin + size > len(self._window):
            room = max(size, min(_WINDOW, self._source.size - self.position))
            self._window, self._window_start, begin = self._source.read_at(self.position, room), self.position, 0
        self.position += size
        return self._window[begin : begin + size]

    def _damaged(self, why: str) -> FormatError:
        return FormatError(f"{self._source.name}: at byte {self.position:,} {why}; the file is damaged")


def _in_row(entries: Any) -> list[Any] | None:
    """What a map from "0", "1", ... holds; None of anything else."""
    if not is_dict(entries) or list(entries) != [str(number) for number in range(len(entries))]:
        return None
    return list(entries.values())
