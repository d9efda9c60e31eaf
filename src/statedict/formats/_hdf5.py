"""An HDF5 file as groups of tensors: where each dataset lies, and none of its values (HDF5 File Format 3.0).

Read here and not by a library: none is needed then, and libhdf5 crashes, or runs for ever, at some damaged files. A
dataset in one piece is an extent of the file; one in chunks is read by h5py, when its values are. Nothing outside of
the file is ever opened: soft and external links, external and virtual datasets are described.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from statedict.dtypes import DTYPES
from statedict.errors import FormatError, LimitError
from statedict.formats._h5py import DatasetSource, Opened
from statedict.formats._hdf5_types import Heaps, attribute, dataspace, datatype
from statedict.index import PLAIN, Encoding, TensorInfo
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.source import Extent, Source

MAGIC = b"\x89HDF\r\n\x1a\n"
_BIG_ENDIAN = Encoding(byteorder="big")
_UNDEFINED = 0xFFFFFFFFFFFFFFFF
_SPACE, _LINK_INFO, _TYPE, _EXTERNAL, _LINK, _LAYOUT, _ATTRIBUTE, _CONTINUATION, _SYMBOLS, _MORE = (
    0x1, 0x2, 0x3, 0x7, 0x6, 0x8, 0xC, 0x10, 0x11, 0x15
)  # fmt: skip
_SHARED = 0x2
_SYMBOL = struct.Struct("<2Q3L12x")
_SOFT_LINK = 2


class Group:
    """A group: its members by name, in the order in which they were made; and its attributes.

    A member is a `Group`, a `TensorInfo`, or a plain value.
    """

    __slots__ = ("attributes", "members")

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self.members: dict[str, Any] = {}


class _Message(NamedTuple):
    """One message of an object's header, and where its bytes lie."""

    kind: int
    flags: int
    data: bytes
    offset: int


def tree(source: Source, limits: Limits, where: str) -> Group:
    """The root group. Raises FormatError, naming `where`, at a file that is damaged or of a layout that is not read."""
    walk = _Walk(source, limits, where)
    try:
        return walk.tree()
    except FormatError:
        raise
    except (struct.error, IndexError, ValueError):
        raise FormatError(f"{where}: its description contradicts itself; the file is damaged") from None
    except RecursionError:
        raise LimitError(f"{where}: nested deeper than Python can follow; `Limits.depth` is too high") from None


def _superblock(source: Source, where: str) -> int:
    """Where the file proper begins: 0, or behind what a program put before it (512 bytes, or 1,024, 2,048, ...)."""
    start = 0
    while start + len(MAGIC) <= source.size:
        if source.read_at(start, len(MAGIC)) == MAGIC:
            return start
        start = 2 * start or 512
    raise FormatError(f"{where}: has no signature of HDF5; it is damaged, or another kind of file")


class _Walk:
    """Lists the file; what has two names is made once."""

    def __init__(self, source: Source, limits: Limits, where: str) -> None:
        self._source = source
        self._where = where
        self._opened = Opened(source, where)
        self._limits = limits
        self._base = 0
        self._budget = limits.header_bytes
        self._made: dict[int, Any] = {}
        self._heaps = Heaps(self._read)

    def _read(self, address: int, size: int) -> bytes:
        """So many bytes of the file's description, all of which together `Limits.header_bytes` bounds."""
        self._budget -= size
        if self._budget < 0:
            raise LimitError(
                f"{self._where}: a description of more than {self._limits.header_bytes:,} bytes, or one without "
                "end; raise `Limits.header_bytes` if you trust it"
            )
        return self._source.read_at(self._base + address, size)

    def tree(self) -> Group:
        root = self._root()
        return self.group(root, self._messages(root), "", 0)

    def _root(self) -> int:
        """The address of the root group's header, from the superblock."""
        start = _superblock(self._source, self._where)
        head = self._source.read_at(start, min(104, self._source.size - start))
        version = head[8]
        sizes = head[13:15] if version < 2 else head[9:11]
        if version > 3 or sizes != b"\x08\x08":
            raise FormatError(
                f"{self._where}: has superblock version {version} and addresses of {sizes[0]} bytes; versions up "
                "to 3 and 8 bytes are read: `h5repack` writes such a file"
            )
        if version < 2:
            at = 24 if version == 0 else 28
            base, _, end, _, _, root = struct.unpack_from("<6Q", head, at)
        else:
            base, _, end, root = struct.unpack_from("<4Q", head, 12)
        self._base = base
        if end > self._source.size:
            raise self._source.ends_before(end)
        return root

    # Headers

    def _messages(self, address: int) -> list[_Message]:
        """The messages of the object whose header is at `address`, in either version of headers."""
        start = self._read(address, 16)
        if start[:4] == b"OHDR":
            flags = start[5]
            width = 1 << (flags & 3)
            skip = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            size = int.from_bytes(self._read(address + skip, width), "little")
            blocks, prefix, ordered = [(address + skip + width, size)], 4, bool(flags & 4)
        elif start[0] == 1:
            blocks, prefix, ordered = [(address + 16, int.from_bytes(start[8:12], "little"))], 8, False
        else:
            raise self._damaged(address, "is no object")
        found: list[_Message] = []
        for begin, size in blocks:  # grows as continuations are met
            for message in self._block(begin, size, prefix, ordered):
                if message.kind == _CONTINUATION:
                    where, length = struct.unpack_from("<2Q", message.data)
                    blocks.append((where, length) if prefix == 8 else (where + 4, length - 8))
                else:
                    found.append(message)
        return found

    def _block(self, begin: int, size: int, prefix: int, ordered: bool) -> Iterator[_Message]:
        data = self._read(begin, max(size, 0))
        head, at = prefix + 2 * ordered, 0
        while at + head <= len(data):
            if prefix == 8:
                kind, length, flags = struct.unpack_from("<HHB", data, at)
            else:
                kind, length, flags = struct.unpack_from("<BHB", data, at)
            at += head
            yield _Message(kind, flags, data[at : at + length], begin + at)
            at += length

    def _attributes(self, messages: list[_Message]) -> dict[str, Any]:
        found = dict(attribute(message.data, self._heaps) for message in messages if message.kind == _ATTRIBUTE)
        if any(message.kind == _MORE and self._dense(message.data, 2) for message in messages):
            found["…"] = Opaque("attributes", (), {"stored": "densely, which is not read"})
        return found

    def _dense(self, data: bytes, width: int) -> bool:
        """Whether links or attributes are kept in a heap of their own, as newer HDF5 does with many."""
        return int.from_bytes(data[2 + width * (data[1] & 1) :][:8], "little") != _UNDEFINED

    # Groups

    def group(self, address: int, messages: list[_Message], path: str, depth: int) -> Group:
        if depth > self._limits.depth:
            raise LimitError(f"{self._where}: `{path[:40]}…` is nested more than {self._limits.depth:,} deep")
        made = self._made[address] = Group(self._attributes(messages))
        for name, target in self._links(messages, path):
            made.members[name] = self._member(target, f"{path}/{name}", depth)
        return made

    def _links(self, messages: list[_Message], path: str) -> Iterator[tuple[str, Any]]:
        """The name of each member, and its address, or what describes a link that is not followed."""
        for message in messages:
            if message.kind == _SYMBOLS:
                tree, heap = struct.unpack_from("<2Q", message.data)
                names = self._heap(heap)
                symbols = [
                    symbol for table in self._tables(tree, self._limits.depth) for symbol in self._symbols(table)
                ]
                # Sorted by name, but names are added to the heap as members are added to the group.
                for place, target, soft in sorted(symbols):
                    if soft is None:
                        yield _text(names, place), target
                    else:
                        yield _text(names, place), Opaque("h5py.SoftLink", (), {"path": _text(names, soft)})
            elif message.kind == _LINK:
                yield self._link(message.data)
            elif message.kind == _LINK_INFO and self._dense(message.data, 8):
                raise FormatError(
                    f"{self._where}: the group `{path or '/'}` lists its members in a form that only newer HDF5 "
                    "has, and that is not read; `h5repack --high=v18` or h5py's `libver='earliest'` write the usual one"
                )

    def _heap(self, address: int) -> bytes:
        """The names of a group's members, one after the other."""
        head = self._read(address, 32)
        size, _, start = struct.unpack_from("<3Q", head, 8)
        if head[:4] != b"HEAP":
            raise self._damaged(address, "is no heap of names")
        return self._read(start, size)

    def _tables(self, address: int, depth: int) -> Iterator[int]:
        """The addresses of a group's tables of symbols, from the B-tree over them."""
        head = self._read(address, 24)
        if head[:5] != b"TREE\0" or depth < 0:
            raise self._damaged(address, "is no tree of a group")
        (count,) = struct.unpack_from("<H", head, 6)
        data = self._read(address + 24, 16 * count)
        for place in range(count):
            (child,) = struct.unpack_from("<Q", data, 16 * place + 8)
            if head[5]:
                yield from self._tables(child, depth - 1)
            else:
                yield child

    def _symbols(self, address: int) -> Iterator[tuple[int, int, int | None]]:
        """Where in the heap each name begins, the address of what it names, and where a soft link's path begins."""
        head = self._read(address, 8)
        if head[:4] != b"SNOD":
            raise self._damaged(address, "is no table of a group's members")
        (count,) = struct.unpack_from("<H", head, 6)
        data = self._read(address + 8, _SYMBOL.size * count)
        for name, target, cached, _, value in _SYMBOL.iter_unpack(data):
            yield name, target, value if cached == _SOFT_LINK else None

    def _link(self, data: bytes) -> tuple[str, Any]:
        flags, at = data[1], 2
        kind = data[at] if flags & 8 else 0
        at += bool(flags & 8) + 8 * bool(flags & 4) + bool(flags & 16)
        width = 1 << (flags & 3)
        size = int.from_bytes(data[at : at + width], "little")
        at += width
        name = data[at : at + size].decode("utf-8", "backslashreplace")
        held = data[at + size :]
        if kind == 0:
            return name, struct.unpack_from("<Q", held)[0]
        text = held[2:].rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "backslashreplace").strip()
        return name, Opaque("h5py.SoftLink" if kind == 1 else "h5py.ExternalLink", (), {"path": text})

    # Members

    def _member(self, target: Any, path: str, depth: int) -> Any:
        """What stands at an address."""
        if not isinstance(target, int):
            return target
        if target not in self._made:
            if len(self._made) >= self._limits.names:
                raise LimitError(f"{self._where}: more than the {self._limits.names:,} names of `Limits.names`")
            messages = self._messages(target)
            kinds = {message.kind for message in messages}
            if kinds & {_SYMBOLS, _LINK_INFO, _LINK}:
                self.group(target, messages, path, depth + 1)
            else:
                self._made[target] = self._dataset(messages, path) if _LAYOUT in kinds else Opaque("h5py.Datatype")
        return self._made[target]

    def _dataset(self, messages: list[_Message], path: str) -> Any:
        """A tensor; the value of a short text; else a description."""
        found = {message.kind: message for message in messages}
        shape = dataspace(found[_SPACE].data) if _SPACE in found else None
        kind = datatype(self._resolved(found[_TYPE])) if _TYPE in found else None
        described = Opaque("h5py.Dataset", (), {"shape": shape, "dtype": str(kind)})
        if shape is None or kind is None:
            return described
        start, is_virtual = self._place(found[_LAYOUT])
        if is_virtual or _EXTERNAL in found:
            return Opaque("h5py.Dataset", (), {"shape": shape, "storage": "virtual" if is_virtual else "external"})
        dtype = kind.dtype
        if dtype is None:
            short = shape == () and start is not None
            return kind.value(self._read(start or 0, kind.size), self._heaps) if short else described
        if kind.code == "V2" and self._attributes(messages).get("dtype") == "bfloat16":
            dtype = DTYPES["bfloat16"]  # Keras says so, since it stores bytes without a meaning
        needed = math.prod(shape) * kind.size
        if needed and start is None:
            extent = Extent(DatasetSource(self._opened, path, needed), 0, needed)
        else:
            extent = Extent(self._source, self._base + (start or 0) if needed else 0, needed)
        encoding = _BIG_ENDIAN if kind.big_endian else PLAIN
        return TensorInfo(path.strip("/").replace("/", "."), dtype, shape, extent, encoding=encoding)

    def _resolved(self, message: _Message) -> bytes:
        """A message's data; of one that a datatype with a name of its own stands for, that datatype's."""
        if not message.flags & _SHARED:
            return message.data
        at = 8 if message.data[0] == 1 else 2
        (address,) = struct.unpack_from("<Q", message.data, at)
        for other in self._messages(address):
            if other.kind == _TYPE and not other.flags & _SHARED:
                return other.data
        raise self._damaged(address, "is no datatype")

    def _place(self, layout: _Message) -> tuple[int | None, bool]:
        """The address of a dataset's bytes, None where they are not in one piece; and whether others hold them."""
        data = layout.data
        version, kind = data[0], data[1] if data[0] >= 3 else data[2]
        if kind == 0 and version >= 3:  # in the header itself
            return layout.offset + 4, False
        if kind == 1:
            (address,) = struct.unpack_from("<Q", data, 2 if version >= 3 else 8)
            return None if address == _UNDEFINED else address, False
        return None, kind == 3

    def _damaged(self, address: int, why: str) -> FormatError:
        return FormatError(f"{self._where}: what stands at byte {self._base + address:,} {why}; the file is damaged")


def _text(data: bytes, start: int) -> str:
    end = data.find(b"\0", start)
    return data[start : end if end >= 0 else len(data)].decode("utf-8", "backslashreplace")
