"""What only tensorstore reads: databases of zarr arrays (OCDBT), and the values of zarr arrays, when asked for."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from statedict.dtypes import DType
from statedict.errors import FormatError, LimitError, StatedictError
from statedict.extras import needed
from statedict.formats._tiled import Box, boxes_of
from statedict.limits import Limits
from statedict.source import Folder, Source

DESCRIPTIONS = {".zarray": "zarr", "zarr.json": "zarr3"}
"""The file that describes an array, and tensorstore's name for the zarr that has it."""
_CACHE = 1 << 28
"""Bytes of unpacked chunks that are kept, so that reading a tensor in blocks does not unpack each chunk for each."""
_FAULTS = (ValueError, OSError, RuntimeError, NotImplementedError, OverflowError, MemoryError)
"""What tensorstore raises at a damaged file."""


@contextmanager
def _damage(where: str) -> Generator[None]:
    """Turn what tensorstore raises into a FormatError of one line."""
    try:
        yield
    except StatedictError:
        raise
    except _FAULTS as error:
        reason = str(error).splitlines()[0].partition(" [")[0]  # what follows repeats the whole request
        raise FormatError(f"{where}: cannot be read: {reason}; it is incomplete or damaged") from error


class Arrays:
    """The zarr arrays of a folder: each in a folder of its own, or all in one OCDBT database."""

    __slots__ = ("_context", "_database", "_folder")

    def __init__(self, folder: Folder, *, database: bool) -> None:
        self._folder = folder
        self._database = database
        self._context: Any = None

    def descriptions(self, limits: Limits) -> dict[str, tuple[str, bytes]]:
        """The driver and the description, as JSON, of each array of the database by its name. Raises FormatError."""
        tensorstore = self._library()
        where, left = self._folder.name, limits.header_bytes
        found: dict[str, tuple[str, bytes]] = {}
        with _damage(where):
            store = tensorstore.KvStore.open(self._store("")).result()
            keys: list[bytes] = store.list().result()
            asked = [(*_parts(key), store.read(key)) for key in keys if _parts(key)[1] in DESCRIPTIONS]
            for name, file, answer in asked:
                text: bytes = answer.result().value
                left -= len(text)
                if left < 0 or len(found) > limits.names:
                    raise LimitError(f"{where}: more arrays than `Limits` allows; raise it if you trust the checkpoint")
                found[name] = DESCRIPTIONS[file], text
        return found

    def opened(self, name: str, driver: str) -> Any:
        """Tensorstore's view of an array, which reads what is cut out of it."""
        tensorstore = self._library()
        if self._context is None:
            self._context = tensorstore.Context({"cache_pool": {"total_bytes_limit": _CACHE}})
        spec = {"driver": driver, "kvstore": self._store(name + "/")}
        return tensorstore.open(spec, open=True, read=True, context=self._context).result()

    def _store(self, path: str) -> dict[str, Any]:
        """What tensorstore calls the place of an array, or with no path of all."""
        if self._folder.waits:
            raise FormatError(f"{self._folder.name}: an Orbax checkpoint is read from disks of this machine: copy it")
        folder = {"driver": "file", "path": f"{self._folder.path.absolute()}/"}
        if self._database:
            return {"driver": "ocdbt", "base": folder, "path": path}
        return {**folder, "path": folder["path"] + path}

    def _library(self) -> Any:
        return needed("tensorstore", "orbax", f"{self._folder.name}: is an Orbax checkpoint, which tensorstore reads")

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrays, (self._folder, self._database)


def _arrays(folder: Folder, database: bool) -> Arrays:
    return Arrays(folder, database=database)


def _parts(key: bytes) -> tuple[str, str]:
    """The array and the file that a key of the database names."""
    name, _, file = key.decode("utf-8", "backslashreplace").rpartition("/")
    return name, file


class ArraySource(Source):
    """The elements of an array, row by row, as tensorstore unpacks them: read when they are asked for."""

    __slots__ = ("_array", "_arrays", "_driver", "_dtype", "_path", "_shape")

    def __init__(self, arrays: Arrays, path: str, driver: str, dtype: DType, shape: tuple[int, ...], name: str) -> None:
        self._arrays = arrays
        self._path = path
        self._driver = driver
        self._dtype = dtype
        self._shape = shape
        self._array: Any = None
        self.name = name
        self.size = dtype.nbytes(math.prod(shape))

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        width = self._dtype.itemsize
        first, last = offset // width, -(-(offset + len(buffer)) // width)
        with _damage(self.name):
            pieces = [self._elements(box) for box in boxes_of(self._shape, first, last)]
        buffer[:] = b"".join(pieces)[offset - first * width :][: len(buffer)]

    def _elements(self, box: Box) -> bytes:
        if self._array is None:
            self._array = self._arrays.opened(self._path, self._driver)
        if self._array.shape != self._shape or self._array.dtype.name != self._dtype.name:
            raise FormatError(f"{self.name}: has another shape or element type than when it was opened; open it anew")
        place = tuple(slice(start, start + size) for start, size in zip(*box, strict=True))
        values = self._array[place].read().result()
        return values.astype(self._dtype.to_numpy(), copy=False).tobytes()  # int4, too, takes a byte

    def __reduce__(self) -> tuple[Any, ...]:
        return ArraySource, (self._arrays, self._path, self._driver, self._dtype, self._shape, self.name)
