"""How a plan's pieces are carried out: small ones gathered, files' bytes copied by the kernel, the rest in blocks.

Tasks know their places, so that several threads carry them out in any order.
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from statedict.errors import ReadError, StatedictError
from statedict.plan import Late, Plan, Summed, size_of
from statedict.source import BytesSource, Extent, FileSource
from statedict.writing.output import BLOCK, Output

_SMALL = 1 << 17
"""Bytes below which a piece is not worth system calls of its own."""
Sums = dict[int, int]
"""The CRC-32 of each `Summed` piece, by its number among them."""


class Task(Protocol):
    """Something to be written at a place. `buffer` has BLOCK bytes, for use meanwhile."""

    @property
    def size(self) -> int:
        """Bytes that it writes."""
        ...

    def parts(self, most: int) -> "Iterator[Task]":
        """Yield the same in tasks of at most `most` bytes, where it can be cut."""
        ...

    def carry_out(self, output: Output, sums: Sums, buffer: memoryview) -> None: ...
    def absorb(self, at: int, piece: bytes | Extent, number: int | None) -> bool:
        """Take what follows on as well, if that is one task. Whether it did."""
        ...


class Gathered:
    """Small pieces that lie side by side: put together in memory, and written at once."""

    def __init__(self, at: int, piece: bytes | Extent, number: int | None) -> None:
        self._at = at
        self.size = size_of(piece)
        self._pieces = [(piece, number)]

    def parts(self, most: int) -> Iterator[Task]:
        yield self

    def absorb(self, at: int, piece: bytes | Extent, number: int | None) -> bool:
        size = size_of(piece)
        if at != self._at + self.size or size > _SMALL or self.size + size > BLOCK:
            return False
        self.size += size
        self._pieces.append((piece, number))
        return True

    def carry_out(self, output: Output, sums: Sums, buffer: memoryview) -> None:
        end = 0
        for piece, number in self._pieces:
            begin, end = end, end + size_of(piece)
            if isinstance(piece, bytes):
                buffer[begin:end] = piece
            else:
                _read(piece, 0, buffer[begin:end])
            if number is not None:
                sums[number] = zlib.crc32(buffer[begin:end])
        output.put(self._at, buffer[:end])


class Streamed:
    """One large piece: read or computed block by block."""

    def __init__(self, at: int, extent: Extent, number: int | None) -> None:
        self._at = at
        self._extent = extent
        self._number = number
        self.size = extent.size

    def parts(self, most: int) -> Iterator[Task]:
        if self._number is not None or self.size <= most:
            yield self
            return
        source, offset, size = self._extent
        for start in range(0, size, most):
            yield Streamed(self._at + start, Extent(source, offset + start, min(most, size - start)), None)

    def absorb(self, at: int, piece: bytes | Extent, number: int | None) -> bool:
        return False

    def carry_out(self, output: Output, sums: Sums, buffer: memoryview) -> None:
        total = 0
        for start in range(0, self._extent.size, BLOCK):
            if output.stopped.is_set():
                return
            block = buffer[: min(BLOCK, self._extent.size - start)]
            _read(self._extent, start, block)
            if self._number is not None:
                total = zlib.crc32(block, total)
            output.put(self._at + start, block)
        if self._number is not None:
            sums[self._number] = total


class Copied:
    """A stretch of a file, copied by the kernel; of several pieces, where they lie side by side in both files."""

    def __init__(self, at: int, source: FileSource, offset: int, size: int) -> None:
        self._at = at
        self._source = source
        self._offset = offset
        self.size = size

    def parts(self, most: int) -> Iterator[Task]:
        for start in range(0, self.size, most):
            yield Copied(self._at + start, self._source, self._offset + start, min(most, self.size - start))

    def absorb(self, at: int, piece: bytes | Extent, number: int | None) -> bool:
        if isinstance(piece, bytes) or number is not None or at != self._at + self.size:
            return False
        if piece.source is not self._source or piece.offset != self._offset + self.size:
            return False
        self.size += piece.size
        return True

    def carry_out(self, output: Output, sums: Sums, buffer: memoryview) -> None:
        done = 0
        while done < self.size and not output.stopped.is_set():
            at, offset, left = self._at + done, self._offset + done, self.size - done
            copied = output.copy(at, self._source, offset, left)
            if copied == 0:
                Streamed(at, Extent(self._source, offset, left), None).carry_out(output, sums, buffer)
                return
            done += copied


class Compared(NamedTuple):
    """A block that has been written, read back."""

    at: int
    size: int
    digest: bytes

    def parts(self, most: int) -> Iterator[Task]:
        yield self

    def absorb(self, at: int, piece: bytes | Extent, number: int | None) -> bool:
        return False

    def carry_out(self, output: Output, sums: Sums, buffer: memoryview) -> None:
        output.compare(self.at, buffer[: self.size], self.digest)


def tasks(plan: Plan, *, by_kernel: bool) -> Iterator[Task]:
    """Yield what writes all pieces but the late ones, in the order of the file."""
    last: Task | None = None
    numbers = iter(range(len(plan.pieces)))
    for at, piece in plan.placed():
        if isinstance(piece, Late):
            continue
        number = None
        if isinstance(piece, Summed):
            number, piece = next(numbers), piece.extent
        if not isinstance(piece, bytes):
            piece = located(piece)
        if last is not None and last.absorb(at, piece, number):
            continue
        if last is not None:
            yield last
        last = _task(at, piece, number, by_kernel)
    if last is not None:
        yield last


def located(extent: Extent) -> Extent:
    """The same bytes in the outermost source that holds them."""
    source, offset = extent.source.located(extent.offset) if extent.size else (extent.source, extent.offset)
    return Extent(source, offset, extent.size)


def _task(at: int, piece: bytes | Extent, number: int | None, by_kernel: bool) -> Task:
    if size_of(piece) <= _SMALL:
        return Gathered(at, piece, number)
    if isinstance(piece, bytes):
        return Streamed(at, Extent(BytesSource(piece), 0, len(piece)), number)
    if by_kernel and number is None and isinstance(piece.source, FileSource):
        return Copied(at, piece.source, piece.offset, piece.size)
    return Streamed(at, piece, number)


def _read(extent: Extent, start: int, block: memoryview) -> None:
    try:
        extent.source.readinto_at(extent.offset + start, block)
    except StatedictError:
        raise
    except OSError as error:
        raise ReadError(f"{extent.source.name}: cannot be read at byte {extent.offset + start:,}: {error}") from error
