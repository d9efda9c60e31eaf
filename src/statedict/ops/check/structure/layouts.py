"""Whether the tensors of a file fill it: gaps, overlaps and bytes behind the last one."""

import json
from collections.abc import Iterator
from typing import Any

from statedict.index import Index, TensorInfo, shown
from statedict.narrow import is_dict, is_list
from statedict.ops.check.finding import Finding
from statedict.ops.check.structure.odd import odd
from statedict.source import Source

_LONGEST_HEADER = 100_000_000
_SIGNS = (
    (b"PK\x03\x04", "a zip archive"), (b"GGUF", "GGUF"), (b"\x93NUMPY", "an array of NumPy's"),
    (b"\x89HDF", "HDF5"), (b"\x7fELF", "a program"), (b"\x80\x02", "a pickle"), (b"\x80\x04", "a pickle"),
)  # fmt: skip
_FILLED = {"gguf": 32, "npy": 0, "safetensors": 0}
"""Formats whose tensors reach to the end of the file, and how many bytes of padding may follow."""
_MOST = 20


def safetensors_oddities(source: Source, where: str) -> Iterator[Finding]:
    """What is odd about how a safetensors file is laid out; nothing of another file, or one that cannot be read."""
    head = source.head(9)
    if len(head) < 9 or head[8:9] not in b"{ \t\n" or head[6:8] != b"\0\0":
        return
    size = int.from_bytes(head[:8], "little")
    if size > min(source.size - 8, 1 << 28):
        return
    data = source.read_at(8, size)
    if size > _LONGEST_HEADER:
        what = f"has a header of {size:,} bytes, of which other readers take {_LONGEST_HEADER:,}"
        yield odd("header", where, "warning", what, "readers")
    if not data.startswith(b"{"):
        yield odd("header", where, "error", "has a header that does not begin with `{`, as it must", "readers")
    try:
        header: Any = json.loads(data)
    except (ValueError, RecursionError):
        return
    if is_dict(header):
        yield from _filled(header, source.size - 8 - size, where)


def _filled(header: dict[Any, Any], length: int, where: str) -> Iterator[Finding]:
    placed: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        offsets = entry.get("data_offsets") if name != "__metadata__" and is_dict(entry) else None
        if is_list(offsets) and len(offsets) == 2 and all(type(each) is int for each in offsets):
            placed.append((offsets[0], offsets[1], str(name)))
    placed.sort()
    reached, last, told = 0, "the header", 0
    for begin, end, name in placed:
        if begin != reached and told < _MOST:
            told += 1
            what = (
                f"tensor `{shown(name)}` begins {reached - begin:,} bytes within `{shown(last)}`"
                if begin < reached
                else f"has {begin - reached:,} bytes of no tensor between `{shown(last)}` and `{shown(name)}`"
            )
            yield odd("overlap" if begin < reached else "gap", where, "error", what, "the format allows none: " + _WHY)
        if end > reached:
            reached, last = end, name
    if reached < length:
        what = f"has {length - reached:,} bytes behind its last tensor"
        yield odd("trailing", where, "error", what, "the format allows none: " + _WHY, {"bytes": length - reached})


_WHY = "other readers refuse the file, and something may be hidden there"


def index_oddities(index: Index, where: str) -> Iterator[Finding]:
    """What an opened file's description tells of its layout: bytes behind the last tensor, byte order, sizes."""
    if index.metadata.get("byteorder") == "big":
        yield odd("byteorder", where, "note", "holds its numbers with the high byte first", "few readers turn them")
    if index.format in _FILLED:
        yield from _ends(index, where)


def _ends(index: Index, where: str) -> Iterator[Finding]:
    source = index.source
    extents = [each for info in index.tensors.values() for each in _extents(info) if each[2] is source]
    reached = max((end for _, end, _ in extents), default=None)
    padding = _FILLED[index.format]
    if reached is not None and index.format != "safetensors" and source.size - reached > padding:
        behind = source.size - reached
        found = f"has {behind:,} bytes behind its last tensor"
        sign = next((what for begins, what in _SIGNS if source.read_at(reached, min(8, behind)).startswith(begins)), "")
        found += f", which begin as {sign} does" if sign else ""
        yield odd("trailing", where, "error" if sign else "warning", found, "hiding", {"bytes": behind})
    if index.format == "gguf":
        yield from _overlaps(sorted({(start, end) for start, end, _ in extents}), where)


def _extents(info: TensorInfo) -> Iterator[tuple[int, int, Source]]:
    if info.extent is not None and info.extent.size:
        source, start = info.extent.source.located(info.extent.offset)
        yield start, start + info.extent.size, source


def _overlaps(stretches: list[tuple[int, int]], where: str) -> Iterator[Finding]:
    reached, count, first = 0, 0, 0
    for start, end in stretches:
        if start < reached:
            count, first = count + 1, first or start
        reached = max(reached, end)
    if count:
        yield odd(
            "overlap", where, "error", f"has {count:,} tensors that share bytes, the first at {first:,}", "readers"
        )
