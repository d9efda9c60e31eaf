"""Zip and tar archives whose parts contradict each other, overlap, or lead out of the folder."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from statedict.index import shown
from statedict.limits import Limits
from statedict.ops.check import tars, zips
from statedict.ops.check.finding import Finding
from statedict.ops.check.structure.odd import odd
from statedict.ops.check.zips import Archive, Entry
from statedict.source import Source

_USUAL_FLAGS = zips.DESCRIPTOR | zips.UTF8 | 0x6
_LINK = 0o120000
_KIND = 0o170000
_ABSOLUTE = re.compile(r"^([/\\]|[A-Za-z]:)")
_SMALL = 1 << 24
_MOST = 20
"""Members of which one oddness is told."""
_PADDING = 64 * 1024


def zip_oddities(source: Source, where: str, limits: Limits) -> Iterator[Finding]:
    """What is odd about a zip archive; nothing of another file."""
    if not zips.is_zip(source):
        return
    archive = zips.read(source, limits)
    if not archive.ends:
        return  # whoever reads it says that it has no directory
    yield from _whole(archive, where)
    counted: Counter[str] = Counter()
    for finding in (*_twice(archive, where), *_members(archive, where, limits), *_places(archive, where)):
        kind = finding.evidence["kind"]
        counted[kind] += 1
        if counted[kind] <= _MOST:
            yield finding


def _whole(archive: Archive, where: str) -> Iterator[Finding]:
    """Of its end records, and what stands before and behind them."""
    source, first = archive.source, archive.ends[0]
    if len(archive.ends) > 1:
        places = ", ".join(f"{end.at:,}" for end in archive.ends)
        yield odd(
            "directories", where, "error", f"has {len(archive.ends)} directories, which end at {places}", "readers"
        )
    head = source.head(4)
    if head not in (zips.LOCAL, zips.END):
        yield odd(
            "polyglot", where, "error", f"is a zip archive by its end, but begins with {head.hex(' ')}", "readers"
        )
    elif first.shift:
        yield odd("offsets", where, "error", f"has offsets that are {first.shift:,} bytes off", "readers")
    if first.wide:
        yield from _zip64(first.narrow, (first.members, first.size, first.offset), where)
    for problem in archive.problems:
        yield odd("directory", where, "error", problem, "readers")
    if first.end < source.size:
        behind = source.size - first.end
        yield odd("trailing", where, "warning", f"has {behind:,} bytes behind its end", "hiding", {"bytes": behind})
    if first.end > source.size:
        yield odd("trailing", where, "error", "ends within the comment at its end", "damaged")
    if (comment := first.end - first.at - 22) > 0:
        yield odd("comment", where, "note", f"has a comment of {comment:,} bytes at its end", "hiding")


def _zip64(narrow: tuple[int, int, int], wide: tuple[int, int, int], where: str) -> Iterator[Finding]:
    for name, short, long, most in zip(
        ("count", "size", "offset"), narrow, wide, (0xFFFF, *[0xFFFFFFFF] * 2), strict=True
    ):
        if short not in (most, long):
            what = f"says in its two end records that the {name} is {short:,} and {long:,}"
            yield odd("zip64", where, "error", what, "readers")


def _twice(archive: Archive, where: str) -> Iterator[Finding]:
    names = Counter(entry.name for entry in archive.entries)
    for name, count in names.items():
        if count > 1:
            yield odd("duplicate", where, "error", f"has {count:,} members called `{shown(name)}`", "readers")
    folded: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        folded[name.casefold()].add(name)
    for alike in folded.values():
        if len(alike) > 1:
            listed = ", ".join(f"`{shown(name)}`" for name in sorted(alike)[:4])
            what = f"has members whose names differ in capitals only: {listed}"
            yield odd("capitals", where, "note", what, "on some systems one would replace the other")
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) > 1:
        listed = ", ".join(f"`{shown(name)}`" for name in pickles[:4])
        yield odd("pickles", where, "error", f"has several objects: {listed}", "readers")


def _members(archive: Archive, where: str, limits: Limits) -> Iterator[Finding]:
    for entry in archive.entries:
        member = f"{where}: {shown(entry.name)}"
        header = archive.locals.get(entry.header)
        yield from _path(entry.name, member)
        if entry.mode & _KIND == _LINK:
            yield odd("link", member, "error", "is a symbolic link", "escapes")
        if entry.plain > max(_SMALL, limits.ratio * max(entry.packed, 1)):
            what = f"unpacks from {entry.packed:,} to {entry.plain:,} bytes"
            yield odd("bomb", member, "error", what, "do not unpack it: it fills disk and memory")
        if entry.method == zips.STORED and entry.packed != entry.plain:
            what = f"is stored, but has the sizes {entry.packed:,} and {entry.plain:,}"
            yield odd("sizes", member, "error", what, "readers")
        if header is None:
            yield odd("missing", member, "error", f"has no header at byte {entry.header:,}", "damaged")
        else:
            yield from _disagreements(entry, header, member)
    for entry in archive.hidden:
        what = f"stands at byte {entry.at:,}, but in no directory"
        yield odd("hidden", f"{where}: {shown(entry.name)}", "error", what, "readers")


def _disagreements(entry: Entry, header: Entry, member: str) -> Iterator[Finding]:
    """Of a member's own header and the directory."""
    if header.name != entry.name:
        what = f"is called `{shown(header.name)}` in its own header"
        yield odd("names", member, "error", what, "readers")
    if header.method != entry.method:
        what = f"is compressed by method {entry.method} in the directory, by {header.method} in its own header"
        yield odd("methods", member, "error", what, "readers")
    flags = (entry.flags | header.flags) & ~_USUAL_FLAGS
    if (entry.flags | header.flags) & zips.ENCRYPTED:
        yield odd("encrypted", member, "error", "is marked as encrypted", "readers")
    elif flags or (entry.flags ^ header.flags) & ~0x6:
        what = f"has the flags {entry.flags:#06x} in the directory, {header.flags:#06x} in its own header"
        yield odd("flags", member, "warning" if flags else "note", what, "readers")
    if not header.flags & zips.DESCRIPTOR:
        if (header.packed, header.plain) != (entry.packed, entry.plain):
            what = (
                f"has {entry.packed:,} bytes, {entry.plain:,} unpacked, in the directory, "
                f"but {header.packed:,} and {header.plain:,} in its own header"
            )
            yield odd("sizes", member, "error", what, "readers")
        if header.crc != entry.crc:
            what = f"has the checksum {entry.crc:08x} in the directory, {header.crc:08x} in its own header"
            yield odd("checksums", member, "error", what, "readers")


def _path(name: str, member: str) -> Iterator[Finding]:
    if _ABSOLUTE.match(name) or ".." in re.split(r"[/\\]", name):
        yield odd("path", member, "error", "leads out of the folder that it would be unpacked into", "escapes")
    elif "\\" in name:
        yield odd(
            "path", member, "warning", "has a backslash in its name, which some systems take for a slash", "escapes"
        )
    if any(not character.isprintable() for character in name):
        yield odd("name", member, "warning", "has a name with characters that are not shown", "readers")


def _places(archive: Archive, where: str) -> Iterator[Finding]:
    """Of stretches that overlap, and those that belong to nothing."""
    reached, last = 0, ""
    for start, end, name in zips.stretches(archive):
        if start < reached:
            what = f"`{shown(name)}` begins at byte {start:,}, within `{shown(last)}`"
            yield odd("overlap", where, "error", what, "readers")
        if end > reached:
            reached, last = end, name
    size = archive.source.size
    for start, end in zips.gaps(archive):
        if end < size or not archive.ends or start < archive.ends[0].end:
            empty = not archive.source.read_at(start, min(end - start, _PADDING)).strip(b"\0")
            what = f"has {end - start:,} bytes at {start:,} that belong to no member"
            severity = "note" if empty and end - start <= _PADDING else "warning"
            yield odd("gap", where, severity, what, "hiding", {"at": start, "bytes": end - start})


def tar_oddities(source: Source, where: str, limits: Limits) -> Iterator[Finding]:
    """What is odd about a tar archive; nothing of another file."""
    names: Counter[str] = Counter()
    for member in tars.members(source, limits):
        named = f"{where}: {shown(member.name)}"
        names[member.name] += 1
        yield from _path(member.name, named)
        if member.kind in "12":
            kind = "a hard link" if member.kind == "1" else "a symbolic link"
            outside = _ABSOLUTE.match(member.link) or ".." in re.split(r"[/\\]", member.link)
            what = f"is {kind} to `{shown(member.link)}`"
            yield odd("link", named, "error" if outside else "warning", what, "escapes")
        elif member.kind in "346":
            yield odd("device", named, "error", "is a device, and no file", "escapes")
    for name, count in names.items():
        if count > 1:
            yield odd("duplicate", where, "error", f"has {count:,} members called `{shown(name)}`", "readers")
