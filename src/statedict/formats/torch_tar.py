"""PyTorch 0.1's tar archives: members `sys_info`, `pickle`, `storages` and `tensors`.

`storages` and `tensors` each hold a count and then, for each, a pickled tuple and raw numbers; `pickle` refers to them
by number. Tar is POSIX's ustar.
"""

import struct
from typing import Any

from statedict.errors import FormatError
from statedict.formats._graph import index_of
from statedict.formats._pickle import load, read_pickle
from statedict.formats._stored import Storage, StoredTensor, count, storage_dtype
from statedict.formats._torch import KNOWN
from statedict.index import Index, shown
from statedict.limits import Limits
from statedict.narrow import is_list, is_tuple
from statedict.opaque import Opaque
from statedict.source import Extent, Source

_BLOCK = 512
_MOST_DIMENSIONS = 64


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file is a tar archive."""
    return head[257:262] == b"ustar"


def read(source: Source, limits: Limits) -> Index:
    """The index of a tar archive that PyTorch 0.1 wrote. Raises FormatError where it is damaged or another tar."""
    members = _members(source)
    missing = [name for name in ("pickle", "storages", "tensors") if name not in members]
    if missing:
        held = ", ".join(map(shown, list(members)[:3])) or "nothing"
        raise FormatError(
            f"{source.name}: a tar archive, but no PyTorch checkpoint: it holds {held}, and no `{missing[0]}`"
        )
    reader = _Reader(source, limits)
    try:
        reader.storages(members["storages"])
        reader.tensors(members["tensors"])
    except FormatError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise FormatError(
            f"{source.name}: its storages and tensors contradict each other; the file is damaged"
        ) from error
    data, _ = read_pickle(source, members["pickle"], limits)
    graph = load(data, source.name, KNOWN, reader.persistent)
    return index_of(graph, "torch tar", source, limits, {})


def _members(source: Source) -> dict[str, int]:
    """Where each member's bytes begin."""
    members: dict[str, int] = {}
    position = 0
    while position + _BLOCK <= source.size and len(members) < 64:
        header = source.read_at(position, _BLOCK)
        if not header.rstrip(b"\0"):
            break
        digits = header[124:136].strip(b" \0") or b"0"
        if not digits.isdigit() or b"8" in digits or b"9" in digits:
            raise FormatError(f"{source.name}: byte {position:,} is no header of a tar archive; it is damaged")
        size = int(digits, 8)
        if position + _BLOCK + size > source.size:
            raise source.ends_before(position + _BLOCK + size)
        members[header[:100].partition(b"\0")[0].decode("utf-8", "backslashreplace")] = position + _BLOCK
        position += _BLOCK + -(-size // _BLOCK) * _BLOCK
    return members


class _Reader:
    """Reads the numbered objects, storages first, to which later members refer."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._objects: dict[int, Any] = {}

    def _pickle(self, position: int) -> tuple[Any, int]:
        data, end = read_pickle(self._source, position, self._limits)
        return load(data, self._source.name, KNOWN, self.persistent), end

    def _count(self, position: int) -> tuple[int, int]:
        number, position = self._pickle(position)
        if type(number) is not int or not 0 <= number <= self._source.size:
            raise FormatError(f"{self._source.name}: begins with no count of what it holds; the file is damaged")
        return number, position

    def persistent(self, pid: Any) -> Any:
        if is_tuple(pid):
            return pid[0] if pid else Opaque("persistent_load", (pid,))
        number = int(pid) if isinstance(pid, int) or (isinstance(pid, str) and pid.isdecimal()) else -1
        return self._objects.get(number, Opaque("persistent_load", (pid,)))

    def storages(self, position: int) -> None:
        number, position = self._count(position)
        for _ in range(number):
            (key, device, kind), position = self._fields(position)
            dtype = storage_dtype(kind)
            numel = int.from_bytes(self._source.read_at(position, 8), "little")
            extent = Extent(self._source, position + 8, dtype.itemsize * numel)
            self._objects[key] = Storage(dtype, numel, str(device), extent)
            position += 8 + extent.size
        views, _ = self._pickle(position)
        for target, root, offset, numel in views if is_list(views) or is_tuple(views) else ():
            whole = self._objects[count(root)]
            begin, size = whole.nbytes(count(offset)), whole.nbytes(count(numel))
            extent = Extent(self._source, whole.extent.offset + begin, size)
            self._objects[count(target)] = Storage(whole.dtype, numel, whole.device, extent)

    def tensors(self, position: int) -> None:
        number, position = self._count(position)
        for _ in range(number):
            (key, storage, _), position = self._fields(position)
            dimensions = int.from_bytes(self._source.read_at(position, 4), "little")
            if dimensions > _MOST_DIMENSIONS:
                raise FormatError(f"{self._source.name}: a tensor of {dimensions:,} dimensions; the file is damaged")
            numbers = struct.unpack(f"<{2 * dimensions + 1}q", self._source.read_at(position + 8, 16 * dimensions + 8))
            position += 16 + 16 * dimensions
            shape, stride, offset = numbers[:dimensions], numbers[dimensions:-1], numbers[-1]
            held = self._objects.get(count(storage))
            if not isinstance(held, Storage):
                raise FormatError(f"{self._source.name}: tensor `{key}` lies in no storage; the file is damaged")
            self._objects[key] = StoredTensor(held, offset, shape, stride, held.dtype)

    def _fields(self, position: int) -> tuple[Any, int]:
        """A number, another value and a third, and where they end."""
        fields, position = self._pickle(position)
        if not is_tuple(fields) or len(fields) != 3 or type(fields[0]) is not int:
            raise FormatError(f"{self._source.name}: byte {position:,} follows no description; the file is damaged")
        return fields, position
