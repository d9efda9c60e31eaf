"""A unit of the engine's work: what is read at once, the pieces of tensors in it, and what their kernels say of them.

It travels to other processes, and needs nothing but itself there.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.dtypes import DType
from statedict.source import Extent, FileSource, Source
from statedict.tree.reading import elements

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Stretch(NamedTuple):
    """Elements that lie side by side in a file."""

    dtype: DType
    offset: int
    numel: int


class Direct(ABC):
    """A kernel that reads files by itself, which takes less time than to be handed their elements."""

    @abstractmethod
    def __call__(self, dtype: DType, values: "NDArray[Any]") -> Any:
        """The value of elements that were read for it."""

    @abstractmethod
    def takes(self, dtype: DType) -> bool:
        """Whether it reads elements of that type by itself, in this process."""

    @abstractmethod
    def of_file(self, source: FileSource, stretches: Sequence[Stretch]) -> list[Any] | None:
        """The value of each stretch of a file; None where one cannot be read: reading it the other way says why."""


class Beside(NamedTuple):
    """The elements of a second tensor that belong to a piece of the first."""

    dtype: DType
    extent: Extent


class Piece(NamedTuple):
    """A stretch of the elements of one job's tensor, and where its bytes begin in what is read."""

    job: int
    dtype: DType
    kernel: Callable[..., Any]
    begin: int
    numel: int
    beside: Beside | None = None


class Read(NamedTuple):
    """Bytes that are read at once, and the pieces in them."""

    extent: Extent
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Bytes that are read in all."""
        total = self.extent.size
        for each in self.pieces:  # no generator: plans of terabytes have millions of them
            if each.beside is not None:
                total += each.beside.extent.size
        return total


Unit = tuple[Read, ...]


class _Buffers(threading.local):
    """Two buffers for each thread, as large as it needed so far."""

    def __init__(self) -> None:
        self.rooms: list[NDArray[np.uint8] | None] = [None, None]


_buffers = _Buffers()


def work(unit: Unit) -> list[Any]:
    """What the kernels of a unit say of its pieces, in their order."""
    _announce(unit)
    values: list[Any] = []
    for direct, some in groupby(unit, _direct):
        reads = list(some)
        found = None if direct is None else direct[0].of_file(direct[1], list(_stretches(reads)))
        values += (value for read in reads for value in _of_read(read)) if found is None else found
    return values


def _announce(unit: Unit) -> None:
    """Let sources that wait fetch all that the unit reads of them at once."""
    wanted: dict[int, tuple[Source, list[tuple[int, int]]]] = {}
    for read in unit:
        beside = (each.beside.extent for each in read.pieces if each.beside is not None)
        for extent in (read.extent, *beside):
            source, start, end = extent.source.needs(extent.offset, extent.size)
            if source.waits:
                wanted.setdefault(id(source), (source, []))[1].append((start, end))
    for source, ranges in wanted.values():
        source.will_read(ranges)


def _direct(read: Read) -> tuple[Direct, FileSource] | None:
    """The kernel that can read all of this by itself, and the file that it is in."""
    kernel = read.pieces[0].kernel
    if not isinstance(kernel, Direct):
        return None
    if not all(each.kernel is kernel and each.beside is None and kernel.takes(each.dtype) for each in read.pieces):
        return None
    source, start = _located(read.extent)
    if type(source) is not FileSource or _located(read.extent, read.extent.size - 1) != (
        source,
        start + read.extent.size - 1,
    ):
        return None
    return kernel, source


def _located(extent: Extent, at: int = 0) -> tuple[Source, int]:
    return extent.source.located(extent.offset + at)


def _stretches(reads: Iterable[Read]) -> Iterator[Stretch]:
    for read in reads:
        start = _located(read.extent)[1]
        for piece in read.pieces:
            yield Stretch(piece.dtype, start + piece.begin, piece.numel)


def _of_read(read: Read) -> Iterator[Any]:
    data = _bytes(read.extent, 0)
    for _, dtype, kernel, begin, numel, beside in read.pieces:
        values = elements(dtype, data[begin : begin + dtype.nbytes(numel)], numel)
        if beside is None:
            yield kernel(dtype, values)
        else:
            yield kernel(dtype, values, beside.dtype, elements(beside.dtype, _bytes(beside.extent, 1), numel))


def _bytes(extent: Extent, room: int) -> "NDArray[np.uint8]":
    """The bytes of an extent, in one of this thread's two rooms."""
    import numpy as np

    source, offset, size = extent
    held = _buffers.rooms[room]
    if held is None or len(held) < size:
        held = _buffers.rooms[room] = np.empty(size, "u1")
    source.readinto_at(offset, held[:size].data)
    return held[:size]
