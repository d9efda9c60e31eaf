"""A zip archive as named sources: the central directory read once, each member where it lies (PKWARE's APPNOTE 6.3.10).

The standard library's `zipfile` makes an object of thirty fields for each member and checks local headers one by one;
here a member is a name, two sizes and an offset, and its local header is read when its bytes are.
"""

import struct
from itertools import repeat
from typing import Any

from statedict import accelerator
from statedict.composed import InflatedSource
from statedict.errors import FormatError, LimitError
from statedict.index import shown
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.source import Extent, Source

MAGIC = b"PK\x03\x04"
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s4x2H8x2L3H8xL")
"""Signature, flags, method, packed and plain size, lengths of name, extra field and comment, offset."""
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800
_MAX32 = 0xFFFFFFFF
_END_OF_DIRECTORY = 1 << 17
_MOST_LOCAL = 1 << 9
"""Bytes of a local header with a usual name, and what aligns the member behind it."""
_SMALL = 1 << 24
"""Bytes that no ratio makes a bomb."""


class Member(Source):
    """A member stored without compression: where its bytes begin is read from its local header, once, when needed."""

    __slots__ = ("_archive", "_header", "_start")

    def __init__(self, archive: Source, name: str, header: int, size: int) -> None:
        self._archive = archive
        self.name = name
        self.size = size
        self._header = header
        self._start = -1

    def located(self, offset: int) -> tuple[Source, int]:
        if self._start < 0:
            self._start = _data_start(self._archive, self._header, self.size, self.name)
        return self._archive.located(self._start + offset)

    def needs(self, offset: int, size: int) -> tuple[Source, int, int]:
        if self._start >= 0:
            return self._archive.needs(self._start + offset, size)
        # Where its bytes begin is not known yet: its local header is read along, with room for what may stand in it.
        return self._archive.needs(self._header, min(self._archive.size - self._header, _MOST_LOCAL + offset + size))

    def ends_before(self, end: int) -> FormatError:
        error = super().ends_before(end)
        return FormatError(f"{self._archive.name}: {error}")

    def read_at(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise self.ends_before(offset + size)
        archive, start = self.located(offset)
        return archive.read_at(start, size)

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        archive, start = self.located(offset)
        archive.readinto_at(start, buffer)

    def __reduce__(self) -> tuple[Any, ...]:
        return Member, (self._archive, self.name, self._header, self.size)


def _data_start(archive: Source, header: int, size: int, name: str) -> int:
    fields = _LOCAL.unpack(archive.read_at(header, _LOCAL.size))
    start = header + _LOCAL.size + fields[-2] + fields[-1]
    if fields[0] != MAGIC or start + size > archive.size:
        raise FormatError(
            f"{archive.name}: member `{shown(name)}` is not where the archive's directory says; the file is damaged"
        )
    return start


def is_zip(head: bytes) -> bool:
    """Whether a file that begins with `head` is a zip archive."""
    return head.startswith(MAGIC)


def is_empty_zip(head: bytes) -> bool:
    """Whether it is a zip archive without members."""
    return head.startswith(b"PK\x05\x06")


def first_name(head: bytes, source: Source) -> str:
    """The name of a zip archive's first member, which tells what kind of archive it is; "" of another file."""
    if not is_zip(head) or len(head) < _LOCAL.size:
        return ""
    end = _LOCAL.size + _LOCAL.unpack_from(head)[-2]
    data = head if len(head) >= end else source.head(end)
    return data[_LOCAL.size : end].decode("utf-8", "backslashreplace")


def holds(head: bytes, source: Source, *names: bytes) -> bool:
    """Whether it is a zip archive with a member of one of these names: looked for, not proved, in its directory.

    Of a long directory only the ends are looked at: what says what an archive is comes first or last.
    """
    if not is_zip(head):
        return False
    try:
        offset, size, _, _ = _directory(source)
        if size <= 2 * _END_OF_DIRECTORY:
            ends = source.read_at(offset, size)
        else:
            ends = source.read_at(offset, _END_OF_DIRECTORY)
            ends += source.read_at(offset + size - _END_OF_DIRECTORY, _END_OF_DIRECTORY)
    except FormatError:
        return False  # whoever reads it will say what is wrong
    return any(name in ends for name in names)


def read_zip(source: Source, limits: Limits) -> dict[str, Source]:
    """The members by name, in the directory's order; of two with one name the last, as zip readers do.

    Raises FormatError when the directory is missing or contradicts the file, LimitError over `limits.members`.
    """
    offset, size, count, shift = _directory(source)
    if count > limits.members or size > limits.header_bytes:
        raise LimitError(
            f"{source.name}: an archive of {count:,} members; `Limits.members` allows {limits.members:,} "
            f"and `Limits.header_bytes` {limits.header_bytes:,}"
        )
    data = source.read_at(offset, size)
    return _stored(data, count, shift, source) or _members(data, count, shift, source, limits)


def _stored(data: bytes, count: int, shift: int, source: Source) -> dict[str, Source] | None:
    """What `_members` finds, told by the C code; None without it, and of a directory with anything unusual in it."""
    library = accelerator.headers()
    found = library.zip_members(data, count, shift, source.size) if library else None
    if found is None:
        return None
    names, offsets, sizes = found
    members: dict[str, Source] = dict(zip(names, map(Member, repeat(source), names, offsets, sizes), strict=True))
    return members if len(members) == count else None


def _members(data: bytes, count: int, shift: int, source: Source, limits: Limits = DEFAULT_LIMITS) -> dict[str, Source]:
    """The members that the directory `data` lists, with offsets as `source` has them."""
    members: dict[str, Source] = {}
    position, last, unpack, file_size = 0, len(data) - _ENTRY.size, _ENTRY.unpack_from, source.size
    while position <= last and len(members) < count:
        magic, flags, method, packed, plain, named, extra, noted, header = unpack(data, position)
        if magic != b"PK\x01\x02":
            raise _damaged(source)
        begin = position + _ENTRY.size
        position = begin + named
        raw = data[begin:position]
        # Without arguments it is decoded in half the time.
        name = raw.decode() if raw.isascii() else raw.decode("utf-8" if flags & _UTF8 else "cp437", "backslashreplace")
        if packed == _MAX32 or plain == _MAX32 or header == _MAX32:
            packed, plain, header = widened(data[position : position + extra], packed, plain, header)
        header += shift
        if header + packed > file_size:
            raise FormatError(
                f"{source.name}: member `{shown(name)}` ends at byte {header + packed:,}, "
                f"but the file has {source.size:,}; it is truncated or damaged"
            )
        if method == _STORED and not flags & _ENCRYPTED:
            members[name] = Member(source, name, header, packed)
        elif not name.endswith("/"):
            _require_possible(source, name, packed, plain, limits)
            members[name] = _packed(source, name, header, flags, method, packed, plain)
        position += extra + noted
    if not members and count:
        raise _damaged(source)
    return members


def _require_possible(source: Source, name: str, packed: int, plain: int, limits: Limits) -> None:
    """Nothing, unless a member says that it unpacks to more than it can, or than anybody wants: a bomb."""
    if plain > max(_SMALL, min(limits.unpacked_bytes, limits.ratio * packed)):
        raise LimitError(
            f"{source.name}: member `{shown(name)}` says that its {packed:,} bytes unpack to {plain:,}; "
            f"`Limits.ratio` allows {limits.ratio:,} times as many, `Limits.unpacked_bytes` {limits.unpacked_bytes:,}"
        )


def _packed(source: Source, name: str, header: int, flags: int, method: int, packed: int, plain: int) -> Source:
    if flags & _ENCRYPTED:
        raise FormatError(
            f"{source.name}: member `{shown(name)}` is encrypted; unpack the archive with its password first"
        )
    if method == _DEFLATED:
        return InflatedSource(Extent(Member(source, name, header, packed), 0, packed), plain, f"{source.name}: {name}")
    raise FormatError(f"{source.name}: member `{shown(name)}` is compressed by method {method}; only deflate is read")


def widened(extra: bytes, packed: int, plain: int, header: int) -> tuple[int, int, int]:
    """The sizes and offset that ZIP64's extra field (header ID 1) holds for those that do not fit 32 bits."""
    position = 0
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            field = extra[position + 4 : position + 4 + size]
            values = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
            plain = next(values, plain) if plain == _MAX32 else plain
            packed = next(values, packed) if packed == _MAX32 else packed
            header = next(values, header) if header == _MAX32 else header
            break
        position += 4 + size
    return packed, plain, header


def _directory(source: Source) -> tuple[int, int, int, int]:
    """Offset and size of the central directory, its number of entries, and what to add to every offset in it."""
    for reach in (_END.size, _END.size + 0xFFFF):  # a comment may stand behind the directory; mostly there is none
        tail_start = max(0, source.size - reach)
        tail = source.read_at(tail_start, source.size - tail_start)
        if (at := tail.rfind(b"PK\x05\x06")) >= 0:
            break
    if at < 0 or at + _END.size > len(tail):
        raise FormatError(
            f"{source.name}: a zip archive without its directory, which stands at the end; "
            "it is truncated or still being written"
        )
    _, _, _, _, count, size, offset, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    if (found := _directory64(source, end)) is not None:
        offset, size, count, end = found
    shift = end - size - offset  # bytes that were put before the archive
    if shift < 0 or offset + shift + size > source.size:
        raise _damaged(source)
    return offset + shift, size, count, shift


def _directory64(source: Source, end: int) -> tuple[int, int, int, int] | None:
    at = end - _END64_LOCATOR.size
    if at < 0:
        return None
    magic, _, where, _ = _END64_LOCATOR.unpack(source.read_at(at, _END64_LOCATOR.size))
    if magic != b"PK\x06\x07":
        return None
    for start in (at - _END64.size, where):  # the second if more stands in it, the first if more stands before all
        if 0 <= start <= at - _END64.size:
            fields = _END64.unpack(source.read_at(start, _END64.size))
            if fields[0] == b"PK\x06\x06":
                return fields[9], fields[8], fields[7], start
    raise _damaged(source)


def _damaged(source: Source) -> FormatError:
    return FormatError(f"{source.name}: the directory of this zip archive contradicts the file; it is damaged")
