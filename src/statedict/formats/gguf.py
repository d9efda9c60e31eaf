"""GGUF versions 1 to 3, of either byte order, in one file or split into several (ggml's `docs/gguf.md`).

Metadata (names and typed values), then the tensors' names, shapes and places, then their bytes. Version 1 has lengths
of four bytes where the later ones have eight. GGUF names the fastest dimension first, PyTorch the slowest. It does not
tell buffers from parameters, so all tensors are parameters; the metadata are attributes of the root.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any, overload

from statedict.dtypes import DTYPES
from statedict.errors import FormatError, LimitError, ReadError
from statedict.index import PLAIN, Encoding, Index, ModuleInfo, TensorInfo, shown
from statedict.limits import Limits
from statedict.narrow import is_list, is_tuple
from statedict.source import Extent, Source

TYPES = {
    0: "float32", 1: "float16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 9: "q8_1", 10: "q2_k",
    11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k", 15: "q8_k", 16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s",
    20: "iq4_nl", 21: "iq3_s", 22: "iq2_s", 23: "iq4_xs", 24: "int8", 25: "int16", 26: "int32", 27: "int64",
    28: "float64", 29: "iq1_m", 30: "bfloat16", 31: "q4_0_4_4", 32: "q4_0_4_8", 33: "q4_0_8_8", 34: "tq1_0",
    35: "tq2_0", 36: "iq4_nl_4_4", 37: "iq4_nl_4_8", 38: "iq4_nl_8_8", 39: "mxfp4", 40: "nvfp4", 41: "q1_0",
}  # fmt: skip
"""`ggml_type`, in the words of `dtypes`."""
_MAGIC = b"GGUF"
_VERSIONS = (1, 2, 3)
_VALUES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The types of metadata of a fixed size, as `struct` has them."""
_NAMES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool", "string", "array", "uint64", "int64",
    "float64",
)  # fmt: skip
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
_MOST_DIMENSIONS = 64
_BLOCK = 1 << 16
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file begins with GGUF's four letters."""
    return head[:4] == _MAGIC


def read(source: Source, limits: Limits) -> Index:
    """The index of a GGUF file, or of all files of the split that it is one of.

    Raises FormatError where one is damaged or missing, LimitError for too long a header.
    """
    first = _File(source, limits)
    parts = [first, *_others(first, limits)]
    parts.sort(key=lambda part: part.number)
    tensors: dict[str, TensorInfo] = {}
    for part in parts:
        if twice := tensors.keys() & part.tensors.keys():
            raise FormatError(f"{source.name}: tensor `{shown(min(twice))}` stands twice in it; the file is damaged")
        tensors |= part.tensors
    said = {"version": first.version, "byteorder": first.byteorder}
    modules = _modules(tensors, parts[0].metadata)
    return Index("gguf", source, tensors, modules, said).validate(limits)


def _modules(tensors: dict[str, TensorInfo], metadata: dict[str, Any]) -> dict[str, ModuleInfo]:
    """All modules that hold tensors, each of which is a parameter."""
    held: dict[str, list[str]] = {"": []}
    for name in tensors:
        module, _, local = name.rpartition(".")
        held.setdefault(module, []).append(local)
    return {
        module: ModuleInfo(attributes={} if module else metadata, parameters=tuple(names))
        for module, names in held.items()
    }


def _others(first: "_File", limits: Limits) -> Iterator["_File"]:
    """Yield the other files of a split. Raises FormatError, naming them, where some are missing or of another split."""
    source, count = first.source, first.count
    if count <= 1:
        return
    name = source.name.replace("\\", "/").rpartition("/")[2]
    part = _PART.fullmatch(name)
    if part is None or int(part["count"]) != count or int(part["number"]) != first.number + 1:
        raise FormatError(
            f"{source.name}: is part {first.number + 1:,} of {count:,}, which are found by their names; "
            f"name them NAME-{first.number + 1:05}-of-{count:05}.gguf"
        )
    missing: list[str] = []
    for number in range(count):
        sibling = f"{part['stem']}-{number + 1:05}-of-{count:05}.gguf"
        if number == first.number:
            continue
        try:
            beside = source.sibling(sibling)
        except ReadError:
            missing.append(sibling)
            continue
        if not missing:
            yield _same_split(_File(beside, limits), first, number)
    if missing:
        raise FormatError(
            f"{source.name}: of the {count:,} files of this split {len(missing):,} are missing: "
            f"{', '.join(missing[:8])}{', …' * (len(missing) > 8)}; fetch them"
        )


def _same_split(part: "_File", first: "_File", number: int) -> "_File":
    if (part.number, part.count) == (number, first.count):
        return part
    raise FormatError(
        f"{part.source.name}: says that it is part {part.number + 1:,} of {part.count:,}, not {number + 1:,} of "
        f"{first.count:,}; it is of another split than {first.source.name}"
    )


class _File:
    """What one file's header says."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source = source
        self._limits = limits
        self.version, self.byteorder = _version(source)
        self._header = header = _Header(source, 8, self.version, self.byteorder, limits)
        tensors, values = header.size(), header.size()
        self.metadata = {header.text(): header.value(header.number("I")) for _ in range(values)}
        self.count = self._whole("split.count", 0)
        self.number = self._whole("split.no", 0)
        self.tensors = self._tensors(tensors)

    def _whole(self, key: str, default: int) -> int:
        value = self.metadata.get(key, default)
        if type(value) is not int or not 0 <= value < 1 << 32:
            raise FormatError(f"{self.source.name}: `{key}` is {shown(repr(value))}, but should be a whole number")
        return value

    def _tensors(self, count: int) -> dict[str, TensorInfo]:
        """The tensors, whose places are counted from the end of the header, rounded up."""
        header = self._header
        described = [self._described() for _ in range(count)]
        alignment = self._whole("general.alignment", _ALIGNMENT) or 1
        start = -(-header.position // alignment) * alignment
        encoding = Encoding(byteorder="big") if self.byteorder == "big" else PLAIN
        tensors: dict[str, TensorInfo] = {}
        for name, kind, shape, offset in described:
            dtype = self._dtype(name, kind, shape)
            if name in tensors:
                raise FormatError(f"{self.source.name}: tensor `{shown(name)}` stands twice in it; the file is damaged")
            numel = 1
            for size in shape:
                numel *= size
            extent = Extent(self.source, start + offset, dtype.nbytes(numel))
            tensors[name] = TensorInfo(name, dtype, shape, extent, encoding=encoding)
        return tensors

    def _described(self) -> tuple[str, int, tuple[int, ...], int]:
        """Name, type, shape and offset of the next tensor."""
        header = self._header
        name, dimensions = header.text(), header.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise FormatError(
                f"{self.source.name}: tensor `{shown(name)}` has {dimensions:,} dimensions; the file is damaged"
            )
        shape = tuple(reversed([header.size() for _ in range(dimensions)]))
        return name, header.number("I"), shape, header.number("Q")

    def _dtype(self, name: str, kind: int, shape: tuple[int, ...]) -> Any:
        if kind not in TYPES:
            raise FormatError(
                f"{self.source.name}: tensor `{shown(name)}` has the unknown type {kind}; a newer statedict may know it"
            )
        dtype = DTYPES[TYPES[kind]]
        if dtype.block_bytes and (shape or (1,))[-1] % dtype.block_numel:
            raise FormatError(
                f"{self.source.name}: tensor `{shown(name)}` of {dtype} has rows of {(shape or (1,))[-1]:,}, which are "
                f"no blocks of {dtype.block_numel}; the file is damaged"
            )
        return dtype


def _version(source: Source) -> tuple[int, str]:
    """Version and byte order: the one in which the version is a small number."""
    data = source.read_at(4, 4)
    little, big = int.from_bytes(data, "little"), int.from_bytes(data, "big")
    version, order = (little, "little") if little <= big else (big, "big")
    if version not in _VERSIONS:
        raise FormatError(f"{source.name}: is GGUF version {version:,}, but statedict reads 1 to 3; update statedict")
    return version, order


class _Header:
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
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._array(depth)
        if kind not in _VALUES:
            raise FormatError(
                f"{self._source.name}: metadata before byte {self.position:,} have the unknown type {kind}; "
                "the file is damaged"
            )
        return self.number(_VALUES[kind])

    def _array(self, depth: int) -> "GGUFArray":
        if depth >= self._limits.depth:
            raise LimitError(
                f"{self._source.name}: arrays in arrays, {depth:,} deep; `Limits.depth` allows {self._limits.depth:,}"
            )
        kind, count = self.number("I"), self.size()
        start = self.position
        if kind == _STRING:
            self._skip_texts(count)
        elif kind == _ARRAY:
            for _ in range(count):
                self._array(depth + 1)
        elif kind in _VALUES:
            self._skip(count * struct.calcsize("=" + _VALUES[kind]))
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

    def _decoded(self) -> list[Any]:
        if self._items is None:
            source, start, size = self._extent
            header = _Header(source, start, self._version, self._byteorder, Limits(header_bytes=start + size))
            if self._kind in _VALUES:
                form = f"{'<' if self._byteorder == 'little' else '>'}{self._count}{_VALUES[self._kind]}"
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
        return f"GGUFArray({self._count:,} of {_NAMES[self._kind]})"

    def __reduce__(self) -> tuple[Any, ...]:
        return GGUFArray, (self._extent, self._kind, self._count, self._version, self._byteorder)
