"""What only h5py reads: the values of an HDF5 dataset in chunks, compressed or not, when they are asked for."""

import io
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from statedict.errors import FormatError, StatedictError
from statedict.extras import needed
from statedict.source import Source

_FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
"""What h5py raises at a damaged file."""


def _open(source: Source, where: str) -> Any:
    h5py = needed("h5py", "hdf5", f"{where}: has values in chunks, which h5py reads")
    with _damage(where):
        return h5py.File(_SourceFile(source), "r")


@contextmanager
def _damage(where: str) -> Generator[None]:
    """Turn what h5py raises into a FormatError of one line."""
    try:
        yield
    except StatedictError:
        raise
    except _FAULTS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip("\"'")
        raise FormatError(f"{where}: cannot be read as HDF5: {reason}; it is truncated or damaged") from error


class _SourceFile(io.RawIOBase):
    """A source as a file object, for libraries that ask for one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        size = max(0, min(len(view), self._source.size - self._position))
        if size:
            self._source.readinto_at(self._position, view[:size])
        self._position += size
        return size


class Opened:
    """A file that h5py opens when the first of its values in chunks is read. All of its datasets share it."""

    __slots__ = ("_file", "_source", "where")

    def __init__(self, source: Source, where: str) -> None:
        self._source = source
        self.where = where
        self._file: Any = None

    def dataset(self, path: str) -> Any:
        """h5py's dataset at that path."""
        self._file = self._file or _open(self._source, self.where)
        return self._file[path]

    def __reduce__(self) -> tuple[Any, ...]:
        return Opened, (self._source, self.where)


class DatasetSource(Source):
    """The elements of a dataset, row by row, as h5py unpacks and converts them: read when they are asked for."""

    __slots__ = ("_file", "_path")

    def __init__(self, file: Opened, path: str, size: int) -> None:
        self._file = file
        self._path = path
        self.name = f"{file.where}: {path}"
        self.size = size

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        with _damage(self.name):
            dataset = self._file.dataset(self._path)
            if dataset.nbytes != self.size:
                raise FormatError(f"{self.name}: h5py reads its elements as {dataset.dtype}, in which they do not fit")
            width = dataset.dtype.itemsize
            first, last = offset // width, -(-(offset + len(buffer)) // width)
            elements = b"".join(_elements(dataset, (), dataset.shape, first, last))
        buffer[:] = elements[offset - first * width :][: len(buffer)]

    def __reduce__(self) -> tuple[Any, ...]:
        return DatasetSource, (self._file, self._path, self.size)


def _elements(dataset: Any, at: tuple[int, ...], shape: tuple[int, ...], first: int, last: int) -> Iterator[bytes]:
    """The bytes of the elements `first` to `last` of `dataset[at]`, which has that shape: whole rows at once."""
    if first >= last:
        return
    if len(shape) <= 1:
        yield dataset[(*at, slice(first, last)) if shape else at or ()].tobytes()
        return
    step = math.prod(shape[1:])
    begin, end = -(-first // step), last // step
    if begin > end:  # within one row
        yield from _elements(dataset, (*at, end), shape[1:], first - end * step, last - end * step)
        return
    if first < begin * step:
        yield from _elements(dataset, (*at, begin - 1), shape[1:], first - (begin - 1) * step, step)
    if begin < end:
        yield dataset[(*at, slice(begin, end))].tobytes()
    yield from _elements(dataset, (*at, end), shape[1:], 0, last - end * step)
