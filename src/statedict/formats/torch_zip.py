"""PyTorch's zip archives: what `torch.save` has written since 1.6, and TorchScript's, which are laid out alike.

`ARCHIVE/data.pkl` is the pickled object; `ARCHIVE/data/KEY` the bytes of each storage. Beside them may lie `version`,
`byteorder` (since 2.1), `.format_version`, `.storage_alignment` and `.data/serialization_id`.
"""

import functools
from typing import Any

from statedict.errors import FormatError, LimitError
from statedict.formats._graph import index_of
from statedict.formats._pickle import load, read_pickle
from statedict.formats._stored import Storage, storage_dtype
from statedict.formats._torch import KNOWN
from statedict.formats._zip import is_zip, read_zip
from statedict.index import Index
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.source import Extent, Source

_RECORDS = ("version", ".format_version", "byteorder", ".storage_alignment", ".data/serialization_id")


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file is a zip archive; what is in it is told by reading it."""
    return is_zip(head)


def read(source: Source, limits: Limits) -> Index:
    """The index of a PyTorch zip archive. Raises FormatError where it is damaged or another kind of zip archive."""
    graph, metadata = read_graph(source, limits)
    return index_of(graph, "torch", source, limits, metadata)


def read_graph(source: Source, limits: Limits) -> tuple[Any, dict[str, Any]]:
    """The object that the archive holds, described, and what its records say."""
    members = read_zip(source, limits)
    prefix = _prefix(members, source)
    pickled = members[prefix + "data.pkl"]
    if pickled.size > limits.header_bytes:
        raise LimitError(
            f"{source.name}: data.pkl has {pickled.size:,} bytes; `Limits.header_bytes` allows {limits.header_bytes:,}"
        )
    records = {name: members[prefix + name] for name in _RECORDS if prefix + name in members}
    metadata = {
        name.lstrip("."): record.read_at(0, min(record.size, 64)).decode("ascii", "replace").strip()
        for name, record in records.items()
    }
    storages = _Storages(members, prefix + "data/", metadata.get("byteorder") == "big", source)
    data, _ = read_pickle(pickled, 0, limits, pickled.size)
    return load(data, f"{source.name}: data.pkl", KNOWN, storages.load), metadata


def _prefix(members: dict[str, Source], source: Source) -> str:
    """The folder of the archive in which `data.pkl` lies: that of the first member, as PyTorch has it, or another."""
    first = next(iter(members), "").partition("/")[0] + "/"
    if first + "data.pkl" in members:
        return first
    for name in members:
        if name == "data.pkl" or name.endswith("/data.pkl"):
            return name.removesuffix("data.pkl")
    held = ", ".join(list(members)[:3]) or "nothing"
    raise FormatError(f"{source.name}: a zip archive, but no PyTorch checkpoint: it holds {held}, and no data.pkl")


class _Storages:
    """The storages that the pickle refers to by `persistent_load`, each made once."""

    def __init__(self, members: dict[str, Source], folder: str, big_endian: bool, source: Source) -> None:
        self._members = members
        self._folder = folder
        self._big_endian = big_endian
        self._source = source
        self._made: dict[Any, Storage] = {}
        self._dtype_of = functools.cache(storage_dtype)

    def load(self, pid: Any) -> Any:
        try:
            word, kind, key, device, numel = pid
        except (TypeError, ValueError):
            return Opaque("persistent_load", (pid,))
        if word != "storage" or type(key) is not str or type(device) is not str or type(numel) is not int:
            return Opaque("persistent_load", (pid,))
        found = self._made.get((kind, key))
        if found is None:
            found = self._made[kind, key] = self._storage(kind, key, device, numel)
        return found

    def _storage(self, kind: Any, key: str, device: str, numel: int) -> Storage:
        dtype = self._dtype_of(kind)
        size = dtype.nbytes(numel)
        if device == "meta":
            return Storage(dtype, numel, device)
        member = self._members.get(self._folder + key)
        if member is None:
            raise FormatError(
                f"{self._source.name}: the archive lacks `{self._folder}{key}`, a storage of {size:,} bytes"
            )
        if member.size < size:
            raise FormatError(
                f"{self._source.name}: `{self._folder}{key}` has {member.size:,} bytes, but its pickle says {size:,}; "
                "the file is damaged"
            )
        return Storage(dtype, numel, device, Extent(member, 0, size), self._big_endian)
