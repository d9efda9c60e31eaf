"""What GGUF's header is made of, read a block at a time, and written: numbers, texts, typed values and arrays.

The specification is ggml's `docs/gguf.md`.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, overload

from statedict.errors import FormatError, LimitError, StatedictError
from statedict.index import shown
from statedict.limits import Limits
from statedict.narrow import is_list, is_tuple
from statedict.plan import Piece
from statedict.source import Extent, Source

VALUES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The types of metadata of a fixed size, as `struct` has them."""
NAMES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool", "string", "array", "uint64", "int64",
    "float64",
)  # fmt: skip
STRING, ARRAY = 8, 9
UINT32, INT32, FLOAT32, BOOL, UINT64, INT64, FLOAT64 = 4, 5, 6, 7, 10, 11, 12
_BLOCK = 1 << 16


class Header:
    """The header, read a block at a time from its beginning on."""

    def __init__(self, source: Source, position: int, version: int, byteorder: str, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._version = version
        self._byteorder = byteorder
        self._order = "<" if byteorder == "little" else ">"
        self._length = struct.Struct(self._order + ("I" if version == 1 else "Q"))
        self._base = position
        self._data = b""
        self._place = 0

    @property
    def position(self) -> int:
        """Where in the file the next byte is."""
        return self._base + self._place

    def _take(self, size: int) -> int:
        """Where in the data the next `size` bytes are, which now count as read."""
        if self._place + size > len(self._data):
            self._fetch(size)
        place = self._place
        self._place += size
        return place

    def _fetch(self, size: int) -> None:
        position, most = self.position, self._limits.header_bytes
        if position + size > self._source.size:
            raise self._source.ends_before(position + size)
        if position + size > most:
            raise LimitError(
                f"{self._source.name}: a header of more than {self._limits.header_bytes:,} bytes; raise "
                "`Limits.header_bytes` if you trust it"
            )
        self._data = self._source.read_at(position, min(max(size, _BLOCK), min(most, self._source.size) - position))
        self._base, self._place = position, 0

    def number(self, kind: str) -> Any:
        """The next value of a fixed size, of a type in `struct`'s words."""
        form = self._order + kind
        place = self._take(struct.calcsize(form))
        return struct.unpack_from(form, self._data, place)[0]

    def size(self) -> int:
        """The next count, length or dimension."""
        place = self._take(self._length.size)
        return self._length.unpack_from(self._data, place)[0]

    def text(self) -> str:
        """The next string. What is no UTF-8 is shown as escapes."""
        size = self.size()
        place = self._take(size)
        return self._data[place : place + size].decode("utf-8", "backslashreplace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """The next value of metadata of that type; an array as a `GGUFArray`, which is not decoded."""
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            return self._array(depth)
        if kind not in VALUES:
            raise FormatError(
                f"{self._source.name}: metadata before byte {self.position:,} have the unknown type {kind}; "
                "the file is damaged"
            )
        return self.number(VALUES[kind])

    def _array(self, depth: int) -> "GGUFArray":
        if depth >= self._limits.depth:
            raise LimitError(
                f"{self._source.name}: arrays in arrays, {depth:,} deep; `Limits.depth` allows {self._limits.depth:,}"
            )
        kind, count = self.number("I"), self.size()
        start = self.position
        if kind == STRING:
            self._skip_texts(count)
        elif kind == ARRAY:
            for _ in range(count):
                self._array(depth + 1)
        elif kind in VALUES:
            self._skip(count * struct.calcsize("=" + VALUES[kind]))
        else:
            self.value(kind)
        extent = Extent(self._source, start, self.position - start)
        return GGUFArray(extent, kind, count, self._version, self._byteorder)

    def _skip(self, size: int) -> None:
        if self._place + size <= len(self._data):
            self._place += size
        elif self.position + size > self._source.size:
            raise self._source.ends_before(self.position + size)
        else:
            self._base, self._data, self._place = self.position + size, b"", 0

    def _skip_texts(self, count: int) -> None:
        """Pass over strings. A vocabulary has 150,000 of them, so the loop over a block has no calls but one."""
        width, unpack = self._length.size, self._length.unpack_from
        while count:
            data, place, left = self._data, self._place, 0
            try:
                for left in range(count, 0, -1):  # noqa: B007  it tells how far the loop came
                    place += width + unpack(data, place)[0]
                left = 0
            except (struct.error, OverflowError):  # the next length is not in this block
                pass
            self._place = min(place, len(data))
            self._skip(place - self._place)
            count = left
            if count:
                self._fetch(width)


class GGUFArray(Sequence[Any]):
    """An array of metadata, such as a vocabulary: a sequence whose items are decoded when they are looked at.

    Items are numbers, bools, strings or again such arrays. It equals any list or tuple of the same items.
    """

    __slots__ = ("_byteorder", "_count", "_extent", "_items", "_kind", "_version")

    def __init__(self, extent: Extent, kind: int, count: int, version: int, byteorder: str) -> None:
        self._extent = extent
        self._kind = kind
        self._count = count
        self._version = version
        self._byteorder = byteorder
        self._items: list[Any] | None = None

    @property
    def kind(self) -> int:
        """The type of its items."""
        return self._kind

    @property
    def stored(self) -> Extent | None:
        """Its items as version 3 has them, little end first, where the file that it is from does so."""
        return self._extent if self._version > 1 and self._byteorder == "little" else None

    def _decoded(self) -> list[Any]:
        if self._items is None:
            source, start, size = self._extent
            header = Header(source, start, self._version, self._byteorder, Limits(header_bytes=start + size))
            if self._kind in VALUES:
                form = f"{'<' if self._byteorder == 'little' else '>'}{self._count}{VALUES[self._kind]}"
                self._items = list(struct.unpack(form, self._extent.read()))
            else:
                self._items = [header.value(self._kind) for _ in range(self._count)]
        return self._items

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._decoded()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GGUFArray) or is_list(other) or is_tuple(other):
            return len(self) == len(other) and list(self) == list(other)
        return NotImplemented

    __hash__ = None  # pyright: ignore[reportAssignmentType]  as lists have none

    def __repr__(self) -> str:
        return f"GGUFArray({self._count:,} of {NAMES[self._kind]})"

    def __reduce__(self) -> tuple[Any, ...]:
        return GGUFArray, (self._extent, self._kind, self._count, self._version, self._byteorder)


def usual_kind(value: object) -> int | None:
    """The type under which a value is written unless another is asked for, as llama.cpp's converters do; None: none."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, str):
        return STRING
    if isinstance(value, int):
        kinds = (UINT32, INT32, UINT64, INT64)
        return next((kind for kind in kinds if _fits(kind, value)), None)
    if isinstance(value, float):
        return FLOAT32 if _fits(FLOAT32, value) else FLOAT64
    return ARRAY if isinstance(value, GGUFArray) or (is_list(value) and _kind_of_items(value) is not None) else None


def _kind_of_items(items: list[Any]) -> int | None:
    types = set(map(type, items))
    if types <= {int}:
        kinds = (INT32, INT64, UINT64)
        return next((kind for kind in kinds if all(_fits(kind, item) for item in items)), None)
    if types <= {int, float}:
        return FLOAT32 if all(_fits(FLOAT32, item) for item in items) else FLOAT64
    return STRING if types == {str} else BOOL if types == {bool} else None


def _fits(kind: int, value: float) -> bool:
    try:
        struct.pack("<" + VALUES[kind], value)
    except (struct.error, OverflowError):
        return False
    return True


def text_bytes(text: str) -> bytes:
    """A string as it is written. Raises StatedictError where it is no Unicode text."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise StatedictError(f"`{shown(text)}` is no Unicode text, as GGUF asks for; rename it") from None
    return struct.pack("<Q", len(data)) + data


def value_pieces(value: Any, wanted: int | None = None) -> list[Piece]:
    """A value of metadata, its type before it: the `wanted` one, where the value fits it, or the usual one.

    Raises ValueError for a value that GGUF has no type for.
    """
    kind = usual_kind(value)
    if kind is None:
        raise ValueError("not a value of GGUF")
    if isinstance(value, GGUFArray) or is_list(value):
        return [struct.pack("<I", kind), *_array_pieces(value)]
    if wanted in VALUES and not isinstance(value, str) and _fits(wanted, value):
        kind = wanted
    return [struct.pack("<I", kind) + _scalar(kind, value)]


def _scalar(kind: int, value: Any) -> bytes:
    return text_bytes(value) if kind == STRING else struct.pack("<" + VALUES[kind], value)


def _array_pieces(items: "GGUFArray | list[Any]") -> list[Piece]:
    kind = items.kind if isinstance(items, GGUFArray) else _kind_of_items(items)
    if kind is None:
        raise ValueError("not an array of GGUF")
    head = struct.pack("<IQ", kind, len(items))
    if isinstance(items, GGUFArray) and (stored := items.stored) is not None:
        return [head, stored]
    if kind == ARRAY:
        return [head, *(piece for item in items for piece in _array_pieces(item))]
    return [head, b"".join([_scalar(kind, item) for item in items])]
