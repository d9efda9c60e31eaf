"""The checksums that a zip archive has of its members, and the sizes that it says they unpack to."""

import zlib
from collections.abc import Iterator

from statedict.errors import FormatError, LimitError
from statedict.index import shown
from statedict.limits import Limits
from statedict.ops.check import zips
from statedict.ops.check.finding import Finding
from statedict.ops.check.unpacked import Room
from statedict.source import Source

NAME = "integrity"
_BLOCK = 1 << 20
_LEAST = 64 << 20
"""Bytes that may be read, or sixteen times as many as there are: members that overlap are read again and again."""
_DAMAGED = "its bytes are not those that were written: fetch or save it again"
_WRITTEN_SO = "PyTorch can be told to write no checksums; if this file was not, fetch it again"


def zip_checksums(source: Source, where: str, limits: Limits) -> Iterator[Finding]:
    """Members whose bytes do not give the checksum or the size that the directory has; all of them are read."""
    if not zips.is_zip(source):
        return
    archive = zips.read(source, limits)
    wrong: list[Finding] = []
    looked, room = 0, Room(source.size, limits, _LEAST)
    for entry in archive.entries:
        header = archive.locals.get(entry.header)
        if header is None or (not entry.packed and not entry.plain):
            continue
        looked += 1
        if (what := _wrong(archive.source, entry, header, limits, room)) is not None:
            wrong.append(Finding(NAME, f"{where}: {shown(entry.name)}", "error", what, _DAMAGED, {"kind": "checksum"}))
    if len(wrong) == looked > 1:
        what = f"none of its {looked:,} members gives the checksum that the archive has of it"
        yield Finding(NAME, where, "warning", what, _WRITTEN_SO, {"kind": "checksum", "members": looked})
    else:
        yield from wrong


def _wrong(source: Source, entry: zips.Entry, header: zips.Entry, limits: Limits, room: Room) -> str | None:
    """What is wrong with a member's bytes; None where nothing is, or where nobody can tell."""
    try:
        member = zips.opened(source, entry, header, limits, room)
        crc = 0
        room.take(member.size, member.name)
        for at in range(0, member.size, _BLOCK):
            crc = zlib.crc32(member.read_at(at, min(_BLOCK, member.size - at)), crc)
    except LimitError:
        raise
    except FormatError:
        return None  # what looks for code says so
    if member.size != entry.plain:
        return f"unpacks to {member.size:,} bytes, but the directory says {entry.plain:,}"
    if crc != entry.crc:
        return f"gives the checksum {crc:08x}, but the directory says {entry.crc:08x}"
    return None
