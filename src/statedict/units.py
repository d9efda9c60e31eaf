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


Fold = Callable[[Any, Any], tuple[Any, Any]]
"""Puts of the values of two stretches into the first what merges to the same bits however stretches are grouped.

What the second is without that is None where nothing is left: so counts of patterns travel once a unit.
"""


def into_first(first: Any, second: Any, merge: Callable[[Any, Any], Any]) -> tuple[Any, None]:
    """The fold of values that are counts, and nothing else."""
    return merge(first, second), None


class Piece(NamedTuple):
    """A stretch of the elements of one job's tensor, and where its bytes begin in what is read."""

    job: int
    dtype: DType
    kernel: Callable[..., Any]
    begin: int
    numel: int
    beside: Beside | None = None
    fold: "Fold | None" = None


class Read(NamedTuple):
    """Bytes that are read at once, and the pieces in them."""

    extent: Extent
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Bytes that are read in all."""
        return self.extent.size + sum(each.beside.extent.size for each in self.pieces if each.beside is not None)


Unit = tuple[Read, ...]
_FETCHED = 1 << 26
"""Bytes that are fetched at once from sources that wait."""


class _Buffers(threading.local):
    """Two buffers for each thread, as large as it needed so far."""

    def __init__(self) -> None:
        self.rooms: list[NDArray[np.uint8] | None] = [None, None]


_buffers = _Buffers()


def work(unit: Unit) -> list[Any]:
    """What the kernels of a unit say of its pieces, in their order."""
    values: list[Any] = []
    for part in _parts(unit):
        _announce(part)
        for direct, some in groupby(part, _direct):
            reads = list(some)
            found = None if direct is None else direct[0].of_file(direct[1], list(_stretches(reads)))
            values += (value for read in reads for value in _of_read(read)) if found is None else found
        _fold(unit, values)
    return values


def _fold(unit: Unit, values: list[Any]) -> None:
    """Fold the values that are there by now, each piece's into that of the first of its tensor."""
    first, job = 0, -1
    for at, (piece, value) in enumerate(zip((piece for read in unit for piece in read.pieces), values, strict=False)):
        if piece.job != job:
            first, job = at, piece.job
        elif piece.fold is not None and value is not None:
            values[first], values[at] = piece.fold(values[first], value)


def _parts(unit: Unit) -> Iterator[Unit]:
    """The unit in turns that fit into memory where a source fetches all that it is told of."""
    begin = size = 0
    for at, read in enumerate(unit):
        if at > begin and size + read.size > _FETCHED:
            yield unit[begin:at]
            begin, size = at, 0
        size += read.size
    yield unit[begin:]


def _announce(part: Unit) -> None:
    """Let sources that wait fetch all that is read of them at once."""
    wanted: dict[int, tuple[Source, list[tuple[int, int]]]] = {}
    for read in part:
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
    for _, dtype, kernel, begin, numel, beside, _ in read.pieces:
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
