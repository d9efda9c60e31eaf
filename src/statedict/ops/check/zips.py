"""What a zip archive says of itself: end records, directory, and the header before each member (APPNOTE 6.3.10).

Readers of zips differ in which of these they believe. Here all are read, as they stand, and nothing is believed.
"""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from statedict.composed import PartSource
from statedict.errors import FormatError, LimitError
from statedict.formats._zip import widened
from statedict.index import shown
from statedict.limits import Limits
from statedict.ops.check.unpacked import Room, Unpacked
from statedict.source import Extent, Source

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_MAX32, _MAX16 = 0xFFFFFFFF, 0xFFFF
STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
ENCRYPTED, DESCRIPTOR, UTF8 = 0x1, 0x8, 0x800
_TAIL = 1 << 17
_MOST_HIDDEN = 1_000
_GAP_PIECE = 1 << 20
_MOST_GAPS = 256 << 20
"""Bytes between members in which hidden ones are looked for."""


class Entry(NamedTuple):
    """What one header says of a member."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    plain: int
    header: int
    """Where its local header is, as bytes of the file."""
    mode: int = 0
    """The rights and kind of file that Unix has, where the directory tells."""
    data: int = 0
    """Where its bytes begin; of a local header only."""
    at: int = 0
    """Where this header itself is."""
    size: int = 0
    """The bytes of this header itself."""


class End(NamedTuple):
    """An end-of-directory record, and where it says that the directory is."""

    at: int
    members: int
    size: int
    offset: int
    """As it stands in the record."""
    end: int
    """Where the record ends, its comment included."""
    wide: bool
    """Whether a ZIP64 record overrules it."""
    before: int = 0
    """Where the directory must end: at the record, or at the ZIP64 record before it."""
    narrow: tuple[int, int, int] = (0, 0, 0)
    """Count, size and offset that the short record has, where a ZIP64 record has others."""

    @property
    def start(self) -> int:
        """Where the directory begins, counted back from the record, as most readers do."""
        return self.before - self.size

    @property
    def shift(self) -> int:
        """What must be added to the offsets: bytes that were put before the archive."""
        return self.start - self.offset


@dataclass
class Archive:
    """A zip archive, read."""

    source: Source
    ends: list[End]
    """All end records in its tail, the last one first."""
    entries: list[Entry] = field(default_factory=list[Entry])
    """What its directory lists, in order."""
    locals: dict[int, Entry] = field(default_factory=dict[int, Entry])
    """The header before each member, by its place; what is not there is missing."""
    hidden: list[Entry] = field(default_factory=list[Entry])
    """Members that no directory lists."""
    problems: list[str] = field(default_factory=list[str])
    """What could not be read of it."""
    unread: str = ""
    """Why not all of it was read that its records name, though it is there."""


def is_zip(source: Source) -> bool:
    """Whether a zip reader would open the file: by its beginning, or by a record at its end."""
    return source.head(4) in (LOCAL, END) or bool(_ends(source))


def read(source: Source, limits: Limits) -> Archive:
    """The archive, as far as it can be read. Raises LimitError where it has too many members."""
    archive, directories = Archive(source, []), 0
    for end in _ends(source):
        if any(end.start == other.start for other in archive.ends) or _is_inside(archive, end):
            continue
        archive.ends.append(end)
        if (directories := directories + end.size) > 2 * source.size:
            archive.unread = "has directories that lie within each other, of which not all are read"
            continue
        _directory(archive, end, limits)
        _locals(archive)
    _hidden(archive, limits)
    if archive.unread:
        archive.problems.append(archive.unread)
    return archive


def _locals(archive: Archive) -> None:
    """Read the header before each member, as long as they can be beside each other in the file."""
    room = 2 * archive.source.size - sum(header.size for header in archive.locals.values())
    for entry in archive.entries:
        if entry.header not in archive.locals and (found := local(archive.source, entry.header)) is not None:
            if (room := room - found.size) < 0:
                archive.unread = "has headers that lie within each other, of which not all are read"
                return
            archive.locals[entry.header] = found


def _is_inside(archive: Archive, end: End) -> bool:
    """Whether the record is part of a member: of another archive, in this one."""
    for entry in archive.entries:
        header = archive.locals.get(entry.header)
        if header is not None and header.data <= end.start and end.at < header.data + entry.packed:
            return True
    return False


def _ends(source: Source) -> list[End]:
    """The end records in the last bytes of the file, the last one first."""
    start = max(0, source.size - _TAIL)
    tail = source.read_at(start, source.size - start)
    found: list[End] = []
    at = tail.rfind(END)
    while at >= 0 and len(found) < 16:
        if at + _END.size <= len(tail):
            _, _, _, _, count, size, offset, comment = _END.unpack_from(tail, at)
            record = End(start + at, count, size, offset, start + at + _END.size + comment, False, start + at)
            found.append(_wide(source, record))
        at = tail.rfind(END, 0, at)
    return [end for end in found if 0 <= end.start <= source.size and (end.size or not end.members)]


def _wide(source: Source, end: End) -> End:
    """The record with what a ZIP64 record before it says, where there is one."""
    at = end.at - _END64_LOCATOR.size
    if at < 0:
        return end
    magic, _, where, _ = _END64_LOCATOR.unpack(source.read_at(at, _END64_LOCATOR.size))
    if magic != b"PK\x06\x07":
        return end
    for start in (at - _END64.size, where):
        if 0 <= start <= at - _END64.size:
            fields = _END64.unpack(source.read_at(start, _END64.size))
            if fields[0] == b"PK\x06\x06":
                narrow = (end.members, end.size, end.offset)
                return End(end.at, fields[7], fields[8], fields[9], end.end, True, start, narrow)
    return end


def _directory(archive: Archive, end: End, limits: Limits) -> None:
    if end.size > limits.header_bytes or end.members > limits.members:
        raise LimitError(
            f"{archive.source.name}: an archive of {end.members:,} members; `Limits.members` allows {limits.members:,} "
            f"and `Limits.header_bytes` {limits.header_bytes:,}"
        )
    data = archive.source.read_at(end.start, end.size)
    position, listed = 0, 0
    while position + _CENTRAL.size <= len(data) and data.startswith(CENTRAL, position):
        entry, position = _entry(data, position, end)
        archive.entries.append(entry)
        listed += 1
    if position != len(data):
        archive.problems.append(f"its directory has {len(data) - position:,} bytes behind its last entry")
    if listed != end.members:
        archive.problems.append(f"its directory lists {listed:,} members, but its end record says {end.members:,}")


def _entry(data: bytes, position: int, end: End) -> tuple[Entry, int]:
    fields = _CENTRAL.unpack_from(data, position)
    flags, method, _, _, crc, packed, plain = fields[3:10]
    named, extra, noted, _, _, external, header = fields[10:]
    begin = position + _CENTRAL.size
    raw = data[begin : begin + named]
    packed, plain, header = widened(data[begin + named : begin + named + extra], packed, plain, header)
    after = begin + named + extra + noted
    entry = Entry(
        _name(raw, flags), flags, method, crc, packed, plain, header + end.shift, external >> 16,
        at=end.start + position, size=after - position,
    )  # fmt: skip
    return entry, after


def _name(raw: bytes, flags: int) -> str:
    return raw.decode("utf-8" if flags & UTF8 else "cp437", "backslashreplace") if not raw.isascii() else raw.decode()


def local(source: Source, at: int) -> Entry | None:
    """What the header at that byte says; None where there is none."""
    if not 0 <= at <= source.size - _LOCAL.size:
        return None
    data = source.read_at(at, _LOCAL.size)
    if not data.startswith(LOCAL):
        return None
    _, _, flags, method, _, _, crc, packed, plain, named, extra = _LOCAL.unpack(data)
    begin = at + _LOCAL.size
    if begin + named + extra > source.size:
        return None
    rest = source.read_at(begin, named + extra)
    packed, plain, _ = widened(rest[named:], packed, plain, 0)
    data_at = begin + named + extra
    return Entry(
        _name(rest[:named], flags), flags, method, crc, packed, plain, at, data=data_at, at=at, size=data_at - at
    )


def stretches(archive: Archive) -> list[tuple[int, int, str]]:
    """What lies where, by its first byte: members with their headers, directories, end records."""
    found: list[tuple[int, int, str]] = []
    for entry in archive.entries:
        header = archive.locals.get(entry.header)
        if header is not None:
            found.append((header.at, header.data + entry.packed, entry.name))
    for end in archive.ends:
        found.append((end.start, end.end, "its directory"))
    return sorted(set(found))


def gaps(archive: Archive) -> list[tuple[int, int]]:
    """The bytes that belong to nothing, as first byte and end, descriptors behind members left out."""
    found: list[tuple[int, int]] = []
    reached = 0
    described = {
        header.data + entry.packed
        for entry in archive.entries
        if (entry.flags & DESCRIPTOR) and (header := archive.locals.get(entry.header)) is not None
    }
    for start, end, _ in stretches(archive):
        if start > reached and not (reached in described and start - reached <= 24):
            found.append((reached, start))
        reached = max(reached, end)
    if reached < archive.source.size:
        found.append((reached, archive.source.size))
    return found


def _hidden(archive: Archive, limits: Limits) -> None:
    """Find the members that stand in no directory, where nothing else does."""
    left = _MOST_GAPS
    for start, end in gaps(archive):
        left -= end - start
        if left < 0:
            archive.problems.append("has too many bytes that belong to nothing to look through them all")
            return
        for at in _signatures(archive.source, start, end):
            entry = local(archive.source, at)
            if len(archive.hidden) >= _MOST_HIDDEN:
                archive.problems.append(f"has more than {_MOST_HIDDEN:,} members that stand in no directory")
                return
            if entry is not None and entry.name:
                size = entry.packed or max(0, end - entry.data)
                archive.hidden.append(entry._replace(packed=min(size, archive.source.size - entry.data)))


def _signatures(source: Source, start: int, end: int) -> list[int]:
    found: list[int] = []
    for piece in range(start, end, _GAP_PIECE):
        data = source.read_at(piece, min(_GAP_PIECE + 3, end - piece))
        at = data.find(LOCAL)
        while at >= 0:
            found.append(piece + at)
            at = data.find(LOCAL, at + 1)
    return sorted(set(found))


_DECODERS: dict[int, Callable[[], Any]] = {
    DEFLATED: lambda: zlib.decompressobj(-zlib.MAX_WBITS),
    BZIP2: bz2.BZ2Decompressor,
    LZMA: lambda: lzma.LZMADecompressor(),  # noqa: PLW0108 - whose first argument is another
}


def opened(source: Source, entry: Entry, header: Entry, limits: Limits, room: Room | None = None) -> Source:
    """The plain bytes of a member, by the method that its own header or the directory names."""
    where = f"{source.name}: {shown(entry.name)}"
    if not header.data:
        raise FormatError(f"{where}: has no header where the directory says that it is")
    packed = Extent(source, header.data, min(entry.packed, source.size - header.data))
    if entry.method == STORED:
        return PartSource(packed, where)
    if entry.method not in _DECODERS:
        raise FormatError(f"{where}: is compressed by method {entry.method}, which is not looked into")
    if entry.method == LZMA:
        raise FormatError(f"{where}: is compressed by LZMA in a zip archive, which is not looked into")
    return Unpacked(packed, _DECODERS[entry.method], where, limits, room)
