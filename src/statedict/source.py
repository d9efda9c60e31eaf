"""Where bytes come from: `Source.read_at` over files and bytes, and `Extent`, a stretch of a source."""

import mmap
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from statedict.errors import FormatError, ReadError
from statedict.remote.urls import is_url

_FOR_READING = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
"""Without waiting for somebody who writes, where it is a pipe."""


class Source(ABC):
    """Random access to a run of bytes that does not change. Reading never moves a position, so threads may share it."""

    __slots__ = ("name", "size")

    name: str
    """What a person calls it: a path, a URL, an archive and its member."""
    size: int
    """Bytes in all."""
    waits = False
    """Whether whoever reads it mostly waits, so that several should at a time, and `will_read` what comes next."""

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

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or all where there are fewer: what tells what follows."""
        return self.read_at(0, min(size, self.size))

    def located(self, offset: int) -> "tuple[Source, int]":
        """The outermost source that holds the byte at `offset` unchanged, and where in it."""
        return self, offset

    def needs(self, offset: int, size: int) -> "tuple[Source, int, int]":
        """The outermost source of a stretch, and from where to where it is read for it."""
        source, start = self.located(offset)
        return source, start, start + size

    def will_read(self, ranges: Iterable[tuple[int, int]]) -> None:  # noqa: B027 - most need not
        """Take note of what this thread reads next, from offsets to ends: a source that waits fetches it at once."""

    def identity(self) -> Hashable:
        """Equal for sources that are known to hold the same bytes: two openings of one file."""
        return self

    def parent(self) -> "Folder | None":
        """The folder that it is in; None where it is in none."""
        return None

    def sibling(self, name: str) -> "Source":
        """The file of that name in the same folder, for formats of several files. Raises FormatError otherwise."""
        raise FormatError(f"{self.name}: refers to the file `{name}`, but only a file in a folder has others beside it")

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

    The file opened stays the one that is read when its path is written anew; another process opens none of another
    `version`. Raises ReadError when it cannot be opened, and for what is no file: a pipe, of which bytes come only in
    order, a device.
    """

    __slots__ = ("_descriptor", "_version", "path")

    def __init__(self, path: str | os.PathLike[str], version: tuple[int, int] | None = None) -> None:
        self.path = Path(path)
        self.name = os.fspath(path)
        try:
            self._descriptor = os.open(self.path, _FOR_READING)
        except OSError as error:
            raise ReadError(f"{self.name}: cannot be opened: {_reason(error)}") from error
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ReadError(
                f"{self.name}: is no file but {_kind(found.st_mode)}; save what comes from it to a file first"
            )
        self.size = found.st_size
        self._version = version or (found.st_size, found.st_mtime_ns)
        if version is not None:
            self.require_unchanged()

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

    def fileno(self) -> int:
        """The descriptor of the open file, for whoever reads it in C."""
        return self._descriptor

    def copy_to(self, offset: int, size: int, descriptor: int, at: int) -> int:
        """Let the kernel copy up to `size` bytes to `at` of another file. How many it copied; 0 where it cannot."""
        if not hasattr(os, "copy_file_range"):
            return 0
        try:
            return os.copy_file_range(self._descriptor, descriptor, size, offset, at)
        except OSError:  # another file system, an old kernel, or a fault that reading or writing will name
            return 0

    def identity(self) -> Hashable:
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino

    def mapped(self) -> mmap.mmap:
        """The whole file as memory of which what is used is read. What is written there does not reach the file."""
        return mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_COPY)

    def require_unchanged(self) -> None:
        """Nothing, unless somebody has written to the file since it was opened, which is a ReadError."""
        found = os.fstat(self._descriptor)
        if (found.st_size, found.st_mtime_ns) != self._version:
            raise ReadError(f"{self.name}: has been changed since it was opened; open it again")

    def parent(self) -> "Folder":
        return Folder(self.path.parent)

    def sibling(self, name: str) -> Source:
        if not is_plain(name):
            raise FormatError(f"{self.name}: refers to the file `{name}` in another folder, which is not followed")
        return FileSource(self.path.with_name(name))

    def __reduce__(self) -> tuple[Any, ...]:
        return FileSource, (str(self.path.absolute()), self._version)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class Folder(Source):
    """A folder, for formats of several files: the names of its files, and each as a `sibling`. It has no bytes."""

    __slots__ = ("names", "path")

    names: tuple[str, ...]
    """Its files, sorted; folders in it end in "/"."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = os.fspath(path)
        self.size = 0
        try:
            entries = list(os.scandir(self.path))
        except OSError as error:
            raise ReadError(f"{self.name}: cannot be opened: {_reason(error)}") from error
        self.names = tuple(sorted(entry.name + "/" * _is_folder(entry) for entry in entries))

    def sibling(self, name: str) -> Source:
        if not is_plain(name):
            raise FormatError(f"{self.name}: refers to the file `{name}` in another folder, which is not followed")
        return FileSource(self.path / name)

    def folder(self, name: str) -> "Folder":
        """The folder of that name in it."""
        if not is_plain(name):
            raise FormatError(f"{self.name}: refers to `{name}` in another folder, which is not followed")
        return Folder(self.path / name)

    def ahead(self, names: Iterable[str]) -> None:
        """Take note that those files will be opened next, which a remote folder does several at a time."""

    def absent(self, names: Iterable[str]) -> list[str]:
        """Those names that no file in it has."""
        here = set(self.names)
        return [name for name in names if name not in here]

    def sizes(self) -> dict[str, int]:
        """The bytes of each of its files, by name; not of a link that leads nowhere, as a broken download leaves it."""
        files = {name: self.path / name for name in self.names if not name.endswith("/")}
        return {name: file.stat().st_size for name, file in files.items() if file.is_file()}

    def at(self, name: str) -> str:
        """What a person calls the file or folder of that name in it."""
        return f"{self.path / name}"

    def head(self, size: int) -> bytes:
        return b""

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        raise ReadError(f"{self.name}: is a folder, which has no bytes of its own")

    def __reduce__(self) -> tuple[Any, ...]:
        return Folder, (str(self.path.absolute()),)


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


class Extent(NamedTuple):
    """A stretch of a source: `size` bytes from `offset` on. A tuple, because 60,000 of them are made at once."""

    source: Source
    offset: int
    size: int

    def read(self) -> bytes:
        """All of its bytes."""
        return self.source.read_at(self.offset, self.size)


def source_of(checkpoint: str | os.PathLike[str] | bytes | bytearray | memoryview | Source) -> Source:
    """What lies at a path or URL, or the bytes themselves, as a source.

    Raises ReadError where there is none, TypeError for what is neither.
    """
    if isinstance(checkpoint, Source):
        return checkpoint
    if isinstance(checkpoint, bytes | bytearray | memoryview):
        return BytesSource(checkpoint)
    if not isinstance(cast("object", checkpoint), str | os.PathLike):
        kind = type(checkpoint).__name__
        raise TypeError(f"`{kind}` is nothing to open; give a path, bytes (what the `read()` of a file object returns)")
    if not os.fspath(checkpoint):
        raise ReadError("an empty path names no checkpoint; name a file or a folder")
    if is_url(checkpoint):
        from statedict.remote.opening import remote_source  # which few need

        return remote_source(os.fspath(checkpoint))
    return Folder(checkpoint) if Path(checkpoint).is_dir() else FileSource(checkpoint)


def is_plain(name: str) -> bool:
    """Whether it is the name of something in a folder, and no path that leads out of it."""
    return name == Path(name).name != "" and name != ".." and "\0" not in name


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in a circle, or where nobody may look
        return False


def _kind(mode: int) -> str:
    """What is at a path, of which it is known that it is no ordinary file."""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
