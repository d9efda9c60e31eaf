"""PyTorch's distributed checkpoints: folders that `torch.distributed.checkpoint.save` has written since 2.0.

`.metadata` is a pickled `Metadata`: for each full name the dtype, the shape and the pieces of a tensor, or that it is
another object; where in which file each piece lies; and the path of each name in the nested dict that was saved. A
piece is a whole `torch.save` file within a rank's `__RANK_N.distcp`. Pieces are opened when their bytes are wanted;
objects are unpickled, as descriptions, at once.
"""

import math
from collections.abc import Mapping
from typing import Any

from statedict.errors import FormatError
from statedict.formats import torch_zip
from statedict.formats._graph import index_of
from statedict.formats._nested import nested
from statedict.formats._pickle import load, read_pickle
from statedict.formats._rank_files import RankFiles, SavedTensor
from statedict.formats._stored import Storage, StoredTensor, dtype_of, integers
from statedict.formats._tiled import Box, Tile, whole
from statedict.formats._torch import KNOWN
from statedict.index import Index, contiguous, shown
from statedict.limits import Limits
from statedict.narrow import is_dict, is_tuple
from statedict.opaque import Opaque
from statedict.plan import Plan
from statedict.source import BytesSource, Extent, Folder, Source

METADATA = ".metadata"
DATA = "__*_*.distcp"
"""How the files beside it are called."""


def sniff(head: bytes, source: Source) -> bool:
    """Whether it is a folder with `.metadata`."""
    return isinstance(source, Folder) and METADATA in source.names


def read(source: Source, limits: Limits) -> Index:
    """The index of a distributed checkpoint. Raises FormatError where files are missing, truncated or contradict it."""
    if not isinstance(source, Folder):
        raise FormatError(f"{source.name}: a distributed checkpoint is a folder; open the folder")
    metadata = _metadata(source, limits)
    reading = _Reading(source, metadata, limits)
    graph = reading.graph(metadata["state_dict_metadata"])
    version = metadata.get("version")
    return index_of(graph, "dcp", source, limits, {"version": version} if isinstance(version, str) else {})


def write_folder(index: Index, taken: frozenset[str] = frozenset()) -> dict[str, Plan]:
    """The files of a distributed checkpoint, as one rank writes it; `.metadata` is the last.

    Keys become texts, as in PyTorch's own. The file of the data gets none of the names that are `taken`. Raises
    StatedictError for tensors that are not strided.
    """
    from statedict.formats import _dcp_writing  # which reading does not need

    return _dcp_writing.plans(index, taken)


def _metadata(folder: Folder, limits: Limits) -> dict[str, Any]:
    file = folder.sibling(METADATA)
    data, _ = read_pickle(file, 0, limits)
    described = load(data, file.name, KNOWN, lambda pid: Opaque("persistent_load", (pid,)))
    fields = described.attributes if isinstance(described, Opaque) else {}
    if not is_dict(fields.get("state_dict_metadata")) or not is_dict(fields.get("storage_data")):
        raise FormatError(
            f"{file.name}: is no `Metadata` with `state_dict_metadata` and `storage_data`; the checkpoint is damaged"
        )
    return fields


class _Reading:
    """The places of all pieces by name and offsets, and the nested dict as it is put together again."""

    def __init__(self, folder: Folder, metadata: Mapping[str, Any], limits: Limits) -> None:
        self._where = folder.name
        self._limits = limits
        paths = metadata.get("planner_data")
        self._paths: dict[Any, Any] = paths if is_dict(paths) else {}
        self._places: dict[tuple[Any, Any], Mapping[str, Any]] = {}
        for key, place in metadata["storage_data"].items():
            if isinstance(key, Opaque) and isinstance(place, Opaque):
                about = key.attributes
                self._places[_hashable(about.get("fqn")), _hashable(about.get("offset"))] = place.attributes
        self._files = RankFiles(folder, [place.get("relative_path") for place in self._places.values()])
        for name, offsets in self._places:
            self._files.check(self._extent(name, offsets), self._called(name, "entry"))

    def graph(self, entries: dict[Any, Any]) -> dict[Any, Any]:
        """The object that was saved, as far as its names tell: dicts, and lists where all keys are positions."""
        return nested((self._path(name), self._value(_hashable(name), entry)) for name, entry in entries.items())

    def _path(self, name: Any) -> tuple[Any, ...]:
        """Where in the object that was saved it stood."""
        path = self._paths.get(name)
        return tuple(map(_hashable, path if is_tuple(path) and path else (name,)))

    def _value(self, name: Any, entry: Any) -> Any:
        kind = entry.kind if isinstance(entry, Opaque) else ""
        if kind == "TensorStorageMetadata":
            return self._tensor(name, entry.attributes)
        if kind == "BytesStorageMetadata":
            extent = self._extent(name, None)
            return torch_zip.read_graph(self._files.part(extent, self._called(name, "object")), self._limits)[0]
        raise FormatError(f"{self._where}: `{shown(str(name))}` is described as {shown(repr(entry))}, which is unknown")

    def _tensor(self, name: Any, fields: Mapping[str, Any]) -> StoredTensor:
        where = self._called(name, "tensor")
        try:
            properties = fields["properties"].state
            properties = properties if is_tuple(properties) else tuple(properties.values())
            dtype, shape = dtype_of(properties[0]), integers(fields["size"])
            boxes = [
                Box(*(integers(chunk.attributes[key]) for key in ("offsets", "sizes"))) for chunk in fields["chunks"]
            ]
        except (KeyError, TypeError, AttributeError, IndexError):
            raise FormatError(f"{where} needs properties, size and chunks; the checkpoint is damaged") from None
        if min(shape, default=0) < 0:
            raise FormatError(f"{where} has the impossible shape {shown(str(shape))}")
        tiles: list[Tile] = []
        for box in boxes:
            if 0 not in box.sizes:
                saved = SavedTensor(self._files, self._extent(name, box.offsets), dtype, box.sizes, where)
                tiles.append(Tile(box, Extent(saved, 0, saved.size)))
        storage = Storage(dtype, math.prod(shape), "cpu", self._joined(tiles, shape, dtype.itemsize, where))
        grad = len(properties) > 2 and properties[2] is True
        return StoredTensor(storage, 0, shape, contiguous(shape), dtype, grad)

    def _joined(self, tiles: list[Tile], shape: tuple[int, ...], itemsize: int, where: str) -> Extent:
        return whole(tiles, shape, itemsize, where) if 0 not in shape else Extent(BytesSource(b"", where), 0, 0)

    def _extent(self, name: Any, offsets: tuple[int, ...] | None) -> tuple[str, int, int]:
        """The file, first byte and length of one piece. Raises FormatError where it has none, or a compressed one."""
        place = self._places.get((name, offsets)) or {}
        found = (place.get("relative_path"), place.get("offset"), place.get("length"))
        file, offset, length = found
        if not isinstance(file, str) or type(offset) is not int or type(length) is not int or min(offset, length) < 0:
            at = f"the piece at {offsets}" if offsets else "it"
            raise FormatError(f"{self._called(name, 'entry')}: no file is named that holds {at}; save it again")
        if place.get("transform_descriptors"):
            how = shown(str(place["transform_descriptors"]))
            raise FormatError(f"{self._called(name, 'entry')}: is stored through {how}, which cannot be read")
        return file, offset, length

    def _called(self, name: Any, what: str) -> str:
        return f"{self._where}: {what} `{shown(str(name))}`"


def _hashable(value: Any) -> Any:
    """A name, a position or the offsets of a piece unchanged; anything else, which no honest file has, as text."""
    if is_tuple(value):
        return tuple(map(_hashable, value)) if len(value) <= 64 else str(value)[:100]
    return value if value is None or isinstance(value, str | int) else repr(value)[:100]
