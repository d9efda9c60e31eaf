"""PyTorch's zip archives: what `torch.save` has written since 1.6. TorchScript's are laid out alike.

`ARCHIVE/data.pkl` is the pickled object; `ARCHIVE/data/KEY` the bytes of each storage. Beside them may lie `version`,
`byteorder` (since 2.1), `.format_version`, `.storage_alignment` and `.data/serialization_id`.
"""

import re
from typing import Any

from statedict import tuples
from statedict.dtypes import DType
from statedict.errors import FormatError, LimitError
from statedict.formats._graph import index_of
from statedict.formats._pickle import load, load_at_once, read_pickle
from statedict.formats._stored import Storage, StoredTensor, count, dtype_of, storage_dtype
from statedict.formats._torch import KNOWN, REBUILT
from statedict.formats._zip import Member, first_name, holds, is_zip, read_zip
from statedict.index import Index, shown
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.plan import Plan
from statedict.source import Extent, Source

_RECORDS = ("version", ".format_version", "byteorder", ".storage_alignment", ".data/serialization_id")
_OTHERS = re.compile(r".*\.npy$|(metadata|config)\.json$|model\.weights\.h5$|assets/", re.DOTALL)
"""How the first member of .npz and .keras archives is called."""
CONSTANTS = b"/constants.pkl"
EXPORTED = (b"/archive_format", b"serialized_exported_program.json")
"""Members of TorchScript's archives, and of torch.export's."""


def sniff(head: bytes, source: Source) -> bool:
    """Whether it is a zip archive of no kind that has a reader of its own; what is in it is told by reading it."""
    return (
        is_zip(head) and not _OTHERS.match(first_name(head, source)) and not holds(head, source, CONSTANTS, *EXPORTED)
    )


def read(source: Source, limits: Limits) -> Index:
    """The index of a PyTorch zip archive. Raises FormatError where it is damaged or another kind of zip archive."""
    graph, metadata = read_graph(source, limits)
    return index_of(graph, "torch", source, limits, metadata)


def write(index: Index) -> Plan:
    """The PyTorch zip archive of an index, which `torch.load(weights_only=True)` opens.

    Modules become state dicts; dicts and lists of a checkpoint stay what they were. Raises StatedictError for a tensor
    that PyTorch has no form for.
    """
    from statedict.formats import _torch_writing  # which reading does not need

    return _torch_writing.plan(index)


def read_graph(source: Source, limits: Limits) -> tuple[Any, dict[str, Any]]:
    """The object that the archive holds, described, and what its records say."""
    members = read_zip(source, limits)
    prefix = prefix_of(members, source)
    metadata = records(members, prefix)
    return unpickled("data", members, prefix, metadata, source, limits), metadata


def records(members: dict[str, Source], prefix: str) -> dict[str, Any]:
    """What the small members beside the pickle say: the archive's version, its byte order."""
    found = {name: members[prefix + name] for name in _RECORDS if prefix + name in members}
    return {
        name.lstrip("."): record.read_at(0, min(record.size, 64)).decode("ascii", "replace").strip()
        for name, record in found.items()
    }


def unpickled(
    name: str, members: dict[str, Source], prefix: str, metadata: dict[str, Any], source: Source, limits: Limits
) -> Any:
    """The object that `NAME.pkl` describes, the bytes of whose storages are in `NAME/`."""
    pickled = members.get(f"{prefix}{name}.pkl")
    if pickled is None:
        raise FormatError(
            f"{source.name}: the archive lacks `{shown(prefix + name)}.pkl`; it is damaged, or of another kind"
        )
    if pickled.size > limits.header_bytes:
        raise LimitError(
            f"{source.name}: {name}.pkl has {pickled.size:,} bytes; "
            f"`Limits.header_bytes` allows {limits.header_bytes:,}"
        )
    where, folder, big_endian = f"{source.name}: {name}.pkl", f"{prefix}{name}/", metadata.get("byteorder") == "big"
    storages = _Storages(members, folder, big_endian, source)
    if found := load_at_once(pickled.read_at(0, pickled.size), where, KNOWN, storages.load, storages.known):
        return found[0]
    data, _ = read_pickle(pickled, 0, limits, pickled.size, where)
    return load(data, where, KNOWN, _Storages(members, folder, big_endian, source).load)


def prefix_of(members: dict[str, Source], source: Source) -> str:
    """The folder of the archive in which `data.pkl` lies: that of the first member, as PyTorch has it, or another."""
    first = next(iter(members), "").partition("/")[0] + "/"
    if first + "data.pkl" in members:
        return first
    for name in members:
        if name == "data.pkl" or name.endswith("/data.pkl"):
            return name.removesuffix("data.pkl")
    held = ", ".join(map(shown, list(members)[:3])) or "nothing"
    raise FormatError(
        f"{source.name}: a zip archive, but no checkpoint: it holds {held}, and no data.pkl, .npy or model.weights.h5"
    )


class _Storages:
    """The `persistent_load` of an archive: a storage for what refers to one, made once. Little work: it runs often."""

    def __init__(self, members: dict[str, Source], folder: str, big_endian: bool, source: Source) -> None:
        self._members = members
        self._folder = folder
        self._big_endian = big_endian
        self._source = source
        self._held: dict[str, Source | Storage] = {**members}  # a member, until it is referred to; then the storage
        self._others: dict[tuple[str, DType], Storage] = {}  # of another element type than the first with that name
        self._dtypes: dict[type, DType] = {}

    @property
    def known(self) -> tuple[Any, ...] | None:
        """What the C code has to know to make storages and tensors by itself; None where it could not."""
        if self._big_endian:
            return None
        return self._held, self._folder, self._dtypes, dtype_of, *REBUILT, Storage, Member, StoredTensor, Extent

    def load(self, pid: Any) -> Storage | Opaque:
        try:
            word, kind, key, device, numel = pid
        except (TypeError, ValueError):
            return Opaque("persistent_load", (pid,))
        texts = type(key) is str and type(device) is str
        if word != "storage" or not texts or type(numel) is not int or type(kind) is not type:
            return Opaque("persistent_load", (pid,))
        if (dtype := self._dtypes.get(kind)) is None:
            dtype = self._dtypes[kind] = storage_dtype(kind)
        name = self._folder + key
        found = self._held.get(name)
        if not isinstance(found, Storage):
            found = self._held[name] = self._storage(found, dtype, name, device, numel)
        elif found.dtype is not dtype and (found := self._others.get((name, dtype))) is None:
            found = self._others[name, dtype] = self._storage(self._members.get(name), dtype, name, device, numel)
        return found

    def _storage(self, member: Source | None, dtype: DType, name: str, device: str, numel: int) -> Storage:
        if device == "meta":
            return Storage(dtype, count(numel), device)
        size = dtype.itemsize * numel
        if member is None or not 0 <= size <= member.size:
            raise _lacking(self._source, name, member, size)
        return Storage(dtype, numel, device, tuples.made(Extent, (member, 0, size)), self._big_endian)


def _lacking(source: Source, name: str, member: Source | None, size: int) -> FormatError:
    if member is None:
        return FormatError(f"{source.name}: the archive lacks `{name}`, a storage of {size:,} bytes")
    return FormatError(
        f"{source.name}: `{name}` has {member.size:,} bytes, but its pickle says {size:,}; the file is damaged"
    )
