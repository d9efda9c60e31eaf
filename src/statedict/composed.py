"""Sources made of others: the plain bytes of what is compressed, a part of a source, several extents as one."""

import bisect
import itertools
import threading
import zlib
from typing import Any

from statedict.errors import FormatError
from statedict.source import Extent, Source


class InflatedSource(Source):
    """The plain bytes of a deflate stream (RFC 1951), unpacked as they are asked for.

    Memory stays at one block: reading forward goes on from where the last read ended, reading backward starts anew.
    """

    __slots__ = ("_consumed", "_decoder", "_lock", "_packed", "_position")
    _BLOCK = 1 << 18

    def __init__(self, packed: Extent, size: int, name: str) -> None:
        self._packed = packed
        self.name = name
        self.size = size
        self._lock = threading.Lock()
        self._decoder: Any = None  # made when it is needed: an archive may have 60,000 members
        self._consumed = 0
        self._position = 0

    def head(self, size: int) -> bytes:
        """The first bytes, for which no more than about as many are read, and nothing is kept."""
        size = min(size, self.size)
        packed = self._packed.source.read_at(self._packed.offset, min(self._packed.size, size + 1024))
        try:
            plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size) if size else b""
        except zlib.error:
            plain = b""
        return plain if len(plain) == size else self.read_at(0, size)

    def _rewind(self) -> None:
        self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        self._consumed = 0
        self._position = 0

    def _next(self, most: int) -> bytes:
        """At least one and at most `most` more plain bytes."""
        pending = self._decoder.unconsumed_tail
        while not self._decoder.eof:
            if not pending:
                take = min(self._BLOCK, self._packed.size - self._consumed)
                pending = self._packed.source.read_at(self._packed.offset + self._consumed, take)
                self._consumed += take
            try:
                plain = self._decoder.decompress(pending, most)
            except zlib.error as error:
                raise FormatError(f"{self.name}: its compressed bytes are damaged ({error}); fetch it again") from error
            if plain:
                self._position += len(plain)
                return plain
            if not self._decoder.unconsumed_tail and self._consumed == self._packed.size:
                break
            pending = self._decoder.unconsumed_tail
        raise FormatError(f"{self.name}: unpacks to {self._position:,} bytes, not the {self.size:,} that it declares")

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        with self._lock:
            if self._decoder is None or offset < self._position:
                self._rewind()
            while self._position < offset:
                self._next(min(self._BLOCK, offset - self._position))
            done = 0
            while done < len(buffer):
                plain = self._next(len(buffer) - done)
                buffer[done : done + len(plain)] = plain
                done += len(plain)
            if self._position == self.size:
                self._decoder = None

    def __reduce__(self) -> tuple[Any, ...]:
        return InflatedSource, (self._packed, self.size, self.name)


class PartSource(Source):
    """A stretch of another source as a source: a file within a file."""

    __slots__ = ("_extent",)

    def __init__(self, extent: Extent, name: str) -> None:
        self._extent = extent
        self.name = name
        self.size = extent.size

    def located(self, offset: int) -> tuple[Source, int]:
        return self._extent.source.located(self._extent.offset + offset)

    def needs(self, offset: int, size: int) -> tuple[Source, int, int]:
        return self._extent.source.needs(self._extent.offset + offset, size)

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        self._extent.source.readinto_at(self._extent.offset + offset, buffer)

    def __reduce__(self) -> tuple[Any, ...]:
        return PartSource, (self._extent, self.name)


class JoinedSource(Source):
    """Several extents, one after the other, as one run of bytes: a tensor that was written in pieces."""

    __slots__ = ("_ends", "_pieces")

    def __init__(self, pieces: tuple[Extent, ...], name: str) -> None:
        self._pieces = pieces
        self._ends = list(itertools.accumulate(piece.size for piece in pieces))
        self.name = name
        self.size = self._ends[-1] if pieces else 0

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        done, at = 0, bisect.bisect_right(self._ends, offset)
        while done < len(buffer):
            piece, end = self._pieces[at], self._ends[at]
            part = buffer[done : done + end - (offset + done)]
            piece.source.readinto_at(piece.offset + piece.size - end + offset + done, part)
            done, at = done + len(part), at + 1

    def __reduce__(self) -> tuple[Any, ...]:
        return JoinedSource, (self._pieces, self.name)
