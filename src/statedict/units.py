"""A unit of the engine's work: what is read at once, the pieces of tensors in it, and what their kernels say of them.

It travels to other processes, and needs nothing but itself there.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.dtypes import DType
from statedict.source import Extent, FileSource, Source
from statedict.tree.reading import elements

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Stretch(NamedTuple):
    """Elements that lie side by side in a file, and where they are compared, as many of another."""

    dtype: DType
    offset: int
    numel: int
    other: DType | None = None
    beside: int = 0
    """Where the elements of the other file begin."""


class Reader(ABC):
    """What reads files by itself in place of a kernel, which takes less time than to hand it their elements."""

    @abstractmethod
    def takes(self, dtype: DType) -> bool:
        """Whether it reads elements of that type by itself, in this process."""

    @abstractmethod
    def of_files(self, files: Sequence[FileSource], stretches: Sequence[Stretch]) -> list[Any] | None:
        """The kernel's value of each stretch of a file, or of one file and another.

        None where one cannot be read: reading it the other way says why.
        """


class Room(threading.local):
    """Memory of so many bytes that each thread has for itself."""

    def __init__(self, size: int) -> None:
        self.bytes = bytearray(size)


class Direct(ABC):
    """A kernel in whose place another may read files."""

    glance: int | None = None
    """Elements of a tensor that it is shown first where they decide who reads the rest; whole blocks."""

    @abstractmethod
    def reader(self) -> Reader | None:
        """What does so now."""


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
        total = self.extent.size
        for each in self.pieces:  # no generator: plans of terabytes have millions of them
            if each.beside is not None:
                total += each.beside.extent.size
        return total


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
        values += _of_part(part)
        _fold(unit, values)
    return values


def _of_part(part: Unit) -> list[Any]:
    values: list[Any] = []
    together: list[Read] = []
    by: _Direct | None = None
    for read in _apart(part):  # one by one: what a kernel says of one may decide who reads the next
        direct = _direct(read)
        if together and direct != by:
            values += _of_reads(by, together)
            together = []
        by = direct
        together.append(read)
        if direct is None:
            values += _of_read(together.pop())
    return values + _of_reads(by, together)


def _apart(part: Unit) -> Iterator[Read]:
    """Each read; its pieces one by one, where not all are for the same reader."""
    for read in part:
        if len(set(map(_reader, read.pieces))) == 1:
            yield read
            continue
        for piece in read.pieces:
            extent = Extent(read.extent.source, read.extent.offset + piece.begin, piece.dtype.nbytes(piece.numel))
            yield Read(extent, (piece._replace(begin=0),))


def _reader(piece: Piece) -> Reader | None:
    return piece.kernel.reader() if isinstance(piece.kernel, Direct) else None


def _of_reads(direct: "_Direct | None", reads: list[Read]) -> list[Any]:
    found = None if direct is None else direct[0].of_files(direct[1], list(_stretches(reads)))
    return [value for read in reads for value in _of_read(read)] if found is None else found


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
        for extent in (read.extent, *_beside(read)):
            source, start, end = extent.source.needs(extent.offset, extent.size)
            if source.waits:
                wanted.setdefault(id(source), (source, []))[1].append((start, end))
    for source, ranges in wanted.values():
        source.will_read(ranges)


def _beside(read: Read) -> Iterator[Extent]:
    return (each.beside.extent for each in read.pieces if each.beside is not None)


_Direct = tuple[Reader, tuple[FileSource, ...]]


def _direct(read: Read) -> _Direct | None:
    """What can read all of this by itself, and the file that it is in; or both files, where two are compared."""
    reader, *others = set(map(_reader, read.pieces))
    if reader is None or others or not all(map(reader.takes, _dtypes(read))):
        return None
    beside = list(_beside(read))
    files = _file([read.extent]), *([_file(beside)] if beside else [])
    return None if None in files else (reader, tuple(each for each in files if each is not None))


def _dtypes(read: Read) -> Iterator[DType]:
    for piece in read.pieces:
        yield piece.dtype
        if piece.beside is not None:
            yield piece.beside.dtype


def _file(extents: Sequence[Extent]) -> FileSource | None:
    """The one file of this machine in which extents lie, each as one stretch."""
    found = {each.source.located(each.offset)[0] for each in extents}
    source = found.pop()
    whole = all(_located(each, each.size - 1) == (source, _located(each)[1] + each.size - 1) for each in extents)
    return source if type(source) is FileSource and not found and whole else None


def _located(extent: Extent, at: int = 0) -> tuple[Source, int]:
    return extent.source.located(extent.offset + at)


def _stretches(reads: Iterable[Read]) -> Iterator[Stretch]:
    for read in reads:
        start = _located(read.extent)[1]
        for piece in read.pieces:
            stretch = Stretch(piece.dtype, start + piece.begin, piece.numel)
            if piece.beside is not None:
                dtype, extent = piece.beside
                stretch = stretch._replace(other=dtype, beside=_located(extent)[1])
            yield stretch


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
