"""Where bytes come from: `Source.read_at` over files and bytes, and `Extent`, a stretch of a source."""

import os
import threading
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple, Self

from statedict.errors import FormatError, ReadError


class Source(ABC):
    """Random access to a run of bytes that does not change. Reading never moves a position, so threads may share it."""

    __slots__ = ("name", "size")

    name: str
    """What a person calls it: a path, a URL, an archive and its member."""
    size: int
    """Bytes in all."""

    @abstractmethod
    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `offset` on. Raises FormatError where the source ends before."""

    def read_at(self, offset: int, size: int) -> bytes:
        """The `size` bytes from `offset` on. Raises FormatError where the source ends before, ReadError on a fault."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise self.ends_before(offset + size)
        buffer = bytearray(size)
        self.readinto_at(offset, memoryview(buffer))
        return bytes(buffer)

    def located(self, offset: int) -> "tuple[Source, int]":
        """The outermost source that holds the byte at `offset` unchanged, and where in it."""
        return self, offset

    def ends_before(self, end: int) -> FormatError:
        """The error that says that bytes up to `end` were expected and are not there."""
        return FormatError(
            f"{self.name}: expected {end:,} bytes, but there are {self.size:,}; it is truncated or still being written"
        )

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.size:,} bytes)"


class FileSource(Source):
    """A local file, read by `preadv`, so that nothing is mapped and threads share one descriptor.

    The file opened stays the one that is read when its path is written anew. Raises ReadError when it cannot be opened.
    """

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = os.fspath(path)
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise ReadError(f"{self.name}: cannot be opened: {_reason(error)}") from error
        self.size = os.fstat(self._descriptor).st_size

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise ReadError(f"{self.name}: cannot be read at byte {offset + done:,}: {_reason(error)}") from error
            if count == 0:
                raise self.ends_before(offset + len(buffer))
            done += count

    def read_at(self, offset: int, size: int) -> bytes:
        if 0 <= offset and 0 <= size and offset + size <= self.size:
            try:
                data = os.pread(self._descriptor, size, offset)
            except OSError as error:
                raise ReadError(f"{self.name}: cannot be read at byte {offset:,}: {_reason(error)}") from error
            if len(data) == size:
                return data
        return super().read_at(offset, size)

    def __reduce__(self) -> tuple[Any, ...]:
        return FileSource, (str(self.path.absolute()),)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class BytesSource(Source):
    """Bytes in memory: what a program passes, or what a pickle held."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes | bytearray | memoryview, name: str = "bytes") -> None:
        self._data = memoryview(data).cast("B") if len(data) else memoryview(b"")
        self.name = name
        self.size = len(self._data)

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        piece = self._data[offset : offset + len(buffer)]
        if len(piece) != len(buffer):
            raise self.ends_before(offset + len(buffer))
        buffer[:] = piece

    def __reduce__(self) -> tuple[Any, ...]:
        return BytesSource, (bytes(self._data), self.name)


class InflatedSource(Source):
    """The plain bytes of a deflate stream (RFC 1951), unpacked as they are asked for.

    Memory stays at one block: reading forward goes on from where the last read ended, reading backward starts anew.
    """

    __slots__ = ("_consumed", "_decoder", "_lock", "_packed", "_position")
    _BLOCK = 1 << 18

    def __init__(self, packed: "Extent", size: int, name: str) -> None:
        self._packed = packed
        self.name = name
        self.size = size
        self._lock = threading.Lock()
        self._rewind()

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
            if offset < self._position:
                self._rewind()
            while self._position < offset:
                self._next(min(self._BLOCK, offset - self._position))
            done = 0
            while done < len(buffer):
                plain = self._next(len(buffer) - done)
                buffer[done : done + len(plain)] = plain
                done += len(plain)

    def __reduce__(self) -> tuple[Any, ...]:
        return InflatedSource, (self._packed, self.size, self.name)


class Extent(NamedTuple):
    """A stretch of a source: `size` bytes from `offset` on. A tuple, because 60,000 of them are made at once."""

    source: Source
    offset: int
    size: int

    def read(self) -> bytes:
        """All of its bytes."""
        return self.source.read_at(self.offset, self.size)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
