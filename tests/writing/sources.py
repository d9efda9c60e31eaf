"""Sources and plans that the tests of writing share."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from statedict.plan import Plan
from statedict.source import BytesSource, Extent, FileSource, Source

MIB = 1 << 20


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not repeat, the same for each seed."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def of_bytes(data: bytes) -> Extent:
    return Extent(BytesSource(data), 0, len(data))


def of_file(path: Path) -> Extent:
    source = FileSource(path)
    return Extent(source, 0, source.size)


def plain(data: bytes) -> Plan:
    """A plan of one computed piece."""
    return Plan((Extent(Computed(data), 0, len(data)),))


class Computed(Source):
    """Bytes that are made as they are read, after `before` was called with the place."""

    __slots__ = ("_before", "_data")

    def __init__(self, data: bytes, before: Callable[[int], None] = lambda _: None) -> None:
        self.name = "computed"
        self.size = len(data)
        self._data = data
        self._before = before

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        self._before(offset)
        buffer[:] = self._data[offset : offset + len(buffer)]


def slow(data: bytes, seconds: float) -> Extent:
    """A computed piece of which each block takes a while."""
    return Extent(Computed(data, lambda _: time.sleep(seconds)), 0, len(data))


def temporaries(folder: Path) -> list[str]:
    """What has been left in a folder."""
    return [path.name for path in folder.rglob("*") if path.name.endswith(".statedict-tmp")]
