"""Distributed checkpoints in safetensors: folders that PyTorch's `HuggingFaceStorageWriter` writes and leaves apart.

Each rank's `shard-00001-model-00001-of-00001.safetensors` holds its pieces of the tensors; its header's `__metadata__`
has, as JSON under `DCP_SHARDING_INFO`, where in the whole tensor each begins. The whole's shape is where pieces end.
"""

import json
import re
from typing import Any

from statedict.errors import FormatError
from statedict.formats import safetensors
from statedict.formats._stored import integers
from statedict.formats._tiled import Box, Tile, whole
from statedict.index import Index, TensorInfo, shown
from statedict.limits import Limits
from statedict.narrow import is_dict, is_list
from statedict.source import Folder, Source

_SHARD = re.compile(r"shard-(\d+)-.*\.safetensors")
_SHARDING = "DCP_SHARDING_INFO"


def sniff(head: bytes, source: Source) -> bool:
    """Whether it is a folder with ranks' shards, and no others."""
    weights = [name for name in source.names if name.endswith(".safetensors")] if isinstance(source, Folder) else []
    return bool(weights) and all(map(_SHARD.fullmatch, weights))


def read(source: Source, limits: Limits) -> Index:
    """The index of the tensors, put together. Raises FormatError where shards are missing or contradict."""
    if not isinstance(source, Folder):
        raise FormatError(f"{source.name}: a distributed checkpoint is a folder; open the folder")
    numbers = {int(found[1]): name for name in source.names if (found := _SHARD.fullmatch(name))}
    if not numbers:
        raise FormatError(f"{source.name}: has no `shard-00001-….safetensors`, as ranks write them; fetch them")
    if absent := sorted(set(range(1, min(max(numbers), len(source.names) + 1))) - numbers.keys()):
        raise FormatError(
            f"{source.name}: the shards of ranks {', '.join(map(str, absent[:8]))} are missing; fetch them"
        )
    pieces: dict[str, list[tuple[tuple[int, ...], TensorInfo]]] = {}
    metadata: dict[str, Any] = {}
    for name in source.names:
        if _SHARD.fullmatch(name):
            index = safetensors.read(source.sibling(name), limits)
            begins = _begins(index)
            for full, info in index.tensors.items():
                pieces.setdefault(full, []).append((begins.get(full) or (0,) * len(info.shape or ()), info))
            metadata |= {key: text for key, text in index.metadata.items() if key != _SHARDING}
    tensors = {name: _joined(name, held, source) for name, held in pieces.items()}
    return Index("dcp safetensors", source, tensors, metadata=metadata, ordered=False).validate(limits)


def _begins(index: Index) -> dict[str, tuple[int, ...]]:
    """Where in the whole tensor each piece of a shard begins."""
    try:
        listed = json.loads(index.metadata.get(_SHARDING, "{}"))
        found = {name: listed[name]["saved_offsets"] for name in listed} if is_dict(listed) else None
        if found is None or not all(is_list(offsets) for offsets in found.values()):
            raise TypeError
        return {name: integers(tuple(offsets)) for name, offsets in found.items()}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise FormatError(f"{index.source.name}: its `{_SHARDING}` is no JSON of `saved_offsets` by name") from None


def _joined(name: str, held: list[tuple[tuple[int, ...], TensorInfo]], source: Source) -> TensorInfo:
    first = held[0][1]
    where = f"{source.name}: tensor `{shown(name)}`"
    tiles: list[Tile] = []
    for begin, info in held:
        if info.extent is None or info.shape is None or not len(begin) == len(first.shape or ()) == len(info.shape):
            raise FormatError(f"{where} has pieces of different dimensions; the checkpoint is damaged")
        if info.dtype is not first.dtype or info.dtype.bits < 8:
            raise FormatError(
                f"{where} has a piece of {info.dtype} and one of {first.dtype}; it cannot be put together"
            )
        tiles.append(Tile(Box(begin, info.shape), info.extent))
    ends = [[at + size for at, size in zip(*tile.box, strict=True)] for tile in tiles]
    shape = tuple(map(max, zip(*ends, strict=True)))
    if 0 in shape:
        return first._replace(shape=shape)
    return first._replace(shape=shape, extent=whole(tiles, shape, first.dtype.itemsize, where))
