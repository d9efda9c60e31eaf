"""Checkpoints of several files, as `transformers`, `diffusers` and `peft` lay them out in a folder.

The weights are safetensors or `torch.save` files, alone or as shards; an index beside them (`*.index.json`, with a
`weight_map` from names of tensors to files) says what belongs together. `config.json` and `adapter_config.json` become
attributes of the root. Of several sets of weights in one folder safetensors are preferred, as those libraries do.
"""

import dataclasses
import json
import re
from typing import Any, NamedTuple

from statedict import formats
from statedict.errors import FormatError, LimitError
from statedict.index import Index, ModuleInfo, TensorInfo, shown
from statedict.limits import Limits
from statedict.narrow import is_dict
from statedict.source import FileSource, Folder, Source

_INDEX = re.compile(r"(?P<stem>.+)(?P<suffix>\.\w+)\.index(?P<variant>\.[\w-]+)?\.json")
_SHARD = re.compile(r"(?P<stem>.*?)[-_.]?(?P<number>\d+)-of-(?P<count>\d+)(?P<suffix>\.\w+)")
_OF_RANKS = re.compile(r"shard-\d+-.*\.safetensors")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_STEMS = ("model", "adapter_model", "diffusion_pytorch_model", "pytorch_model")
"""What the model's weights are called, where a folder holds other weights (an optimizer's, say) too."""
_CONFIGS = {"config.json": "config", "adapter_config.json": "peft_config"}
_MOST_NAMED = 8
_MOST_SHARDS = 100_000


class _Set(NamedTuple):
    """The files of one checkpoint. `owners` says which file each tensor is in, where an index does."""

    name: str
    files: tuple[str, ...]
    owners: dict[str, str] | None = None
    metadata: dict[str, Any] = {}  # noqa: RUF012 - never changed


def sniff(head: bytes, source: Source) -> bool:
    """Whether it is a folder that holds weights itself, or the index of such files."""
    if isinstance(source, Folder):
        return any(map(_is_weights, source.names))
    return isinstance(source, FileSource) and bool(_INDEX.fullmatch(source.path.name)) and head[:1] == b"{"


def _is_weights(name: str) -> bool:
    """Whether a file is weights or the index of some, and no piece of a distributed checkpoint."""
    return bool(_INDEX.fullmatch(name)) or (name.endswith(_SUFFIXES) and not _OF_RANKS.fullmatch(name))


def read(source: Source, limits: Limits) -> Index:
    """The index of all shards together. Raises FormatError, naming them, where shards are missing or contradict."""
    if not isinstance(source, Folder | FileSource):
        raise FormatError(f"{source.name}: lists files beside it, but is in no folder; open it by its path")
    folder = source if isinstance(source, Folder) else Folder(source.path.parent)
    chosen = _choose(folder, limits) if isinstance(source, Folder) else _listed(source, limits)
    if away := [name for name in chosen.files if "/" in name or _INDEX.fullmatch(name)]:
        raise FormatError(f"{source.name}: refers to `{shown(away[0])}`, which is no shard in the same folder")
    if absent := [name for name in chosen.files if name not in folder.names]:
        raise FormatError(
            f"{source.name}: of the {len(chosen.files):,} files of `{chosen.name}` {len(absent):,} are missing: "
            f"{_few(absent)}; fetch them"
        )
    joined = _Joined(folder, chosen)
    for name in chosen.files:
        joined.add(name, formats.read(folder.sibling(name), limits))
    present = [name for name in _CONFIGS if name in folder.names] if isinstance(source, Folder) else []
    attributes = {_CONFIGS[name]: _json(folder.sibling(name), limits) for name in present}
    return joined.index(source, attributes).validate(limits)


def _few(names: list[str]) -> str:
    return ", ".join(map(shown, names[:_MOST_NAMED])) + ", …" * (len(names) > _MOST_NAMED)


def _choose(folder: Folder, limits: Limits) -> _Set:
    """The set of files that is the folder's checkpoint. Raises FormatError where there are several to choose from."""
    sets: dict[str, str | None] = {}
    for name in filter(_is_weights, folder.names):
        index = _INDEX.fullmatch(name)
        if index:
            sets[index["stem"] + (index["variant"] or "") + index["suffix"]] = name
        else:
            sets.setdefault(_set_name(name))
    for suffix in _SUFFIXES:
        fitting = [name for name in sets if name.endswith(suffix)]
        preferred = [stem + suffix for stem in _STEMS if stem + suffix in sets]
        if preferred or len(fitting) == 1:
            name = (preferred or fitting)[0]
            index = sets[name]
            return _complete(folder, name) if index is None else _listed(folder.sibling(index), limits)
        if fitting:
            files = [sets[name] or name for name in fitting]
            raise FormatError(f"{folder.name}: holds several checkpoints; open one of its files: {_few(files)}")
    raise FormatError(f"{folder.name}: holds no weights; open another folder, or a file")


def _set_name(name: str) -> str:
    """The name that a shard would have if it were the only one: "model.safetensors"."""
    shard = _SHARD.fullmatch(name)
    return shard["stem"] + shard["suffix"] if shard else name


def _listed(source: Source, limits: Limits) -> _Set:
    """The set that an index file lists. Raises FormatError where it is no such index."""
    listed = _json(source, limits)
    owners = listed.get("weight_map")
    if not is_dict(owners) or not owners or not all(isinstance(text, str) for pair in owners.items() for text in pair):
        raise FormatError(
            f"{source.name}: has no `weight_map` from names of tensors to files; it is no index of shards"
        )
    metadata = listed.get("metadata")
    name = source.name.rpartition("/")[2]
    return _Set(name, tuple(sorted(set(owners.values()))), owners, metadata if is_dict(metadata) else {})


def _complete(folder: Folder, name: str) -> _Set:
    """The one file of that name, or all its shards. Raises FormatError, naming them, where some are missing."""
    if name in folder.names:
        return _Set(name, (name,))
    shards: dict[int, str] = {}
    counts: set[int] = set()
    for file in folder.names:
        shard = _SHARD.fullmatch(file)
        if shard is None or _set_name(file) != name:
            continue
        other = shards.setdefault(int(shard["number"]), file)
        counts.add(int(shard["count"]))
        if other != file or len(counts) > 1:
            first = next(iter(shards.values())) if other == file else other
            raise FormatError(
                f"{folder.name}: `{shown(first)}` and `{shown(file)}` are not of one set; move the one away"
            )
    (count,) = counts
    if count > _MOST_SHARDS:
        raise FormatError(f"{folder.name}: {len(shards)} of {count:,} shards of `{name}` are here; fetch the others")
    first = 0 if 0 in shards else 1  # some count from 0
    missing = [str(number) for number in range(first, first + count) if number not in shards]
    if missing:
        raise FormatError(
            f"{folder.name}: of the {count:,} shards of `{name}` these are missing: {_few(missing)}; fetch them"
        )
    return _Set(name, tuple(shards[number] for number in sorted(shards)))


class _Joined:
    """The shards' indexes, put together as they come."""

    def __init__(self, folder: Folder, chosen: _Set) -> None:
        self._folder = folder
        self._chosen = chosen
        self._wanted: dict[str, set[str]] = {}
        for name, file in (chosen.owners or {}).items():
            self._wanted.setdefault(file, set()).add(name)
        self._tensors: dict[str, TensorInfo] = {}
        self._modules: dict[str, ModuleInfo] = {}
        self._files: dict[str, str] = {}
        self._metadata: dict[str, Any] = {}
        self._surplus: list[str] = []
        self._ordered = True

    def add(self, file: str, index: Index) -> None:
        """Add a shard. Raises FormatError where a tensor is twice, or not in the file that the index says."""
        tensors = index.tensors
        if self._chosen.owners is not None:
            tensors = self._listed(file, index)
        elif twice := self._tensors.keys() & tensors.keys():
            name = min(twice)
            raise FormatError(
                f"{self._folder.name}: tensor `{shown(name)}` stands in `{self._files[name]}` and in `{file}`; "
                "open the one that you mean"
            )
        self._files |= dict.fromkeys(tensors, file)
        self._tensors |= tensors
        for path, info in index.modules.items():
            known = self._modules.setdefault(path, info)
            if known is not info and info.attributes:
                self._modules[path] = _with_attributes(known, {**info.attributes, **known.attributes})
        self._metadata = {**index.metadata, **self._metadata}
        self._ordered = self._ordered and index.ordered

    def _listed(self, file: str, index: Index) -> dict[str, TensorInfo]:
        """Those of a shard's tensors that the index says are in it."""
        wanted = self._wanted[file]
        if missing := wanted - index.tensors.keys():
            raise FormatError(
                f"{self._folder.name}: `{self._chosen.name}` says that `{file}` holds `{shown(min(missing))}`"
                f"{f' and {len(missing) - 1:,} more' * (len(missing) > 1)}, but it does not; fetch that shard again"
            )
        self._surplus += [f"{file}: {name}" for name in index.tensors if name not in wanted]
        return {name: tensor for name, tensor in index.tensors.items() if name in wanted}

    def index(self, source: Source, attributes: dict[str, Any]) -> Index:
        """What has been added, as one. What no index lists, shards and tensors, its metadata name as `surplus`."""
        chosen = self._chosen
        if chosen.owners is not None:
            sets = {_set_name(file) for file in chosen.files} - set(chosen.files)
            self._surplus += [
                name for name in self._folder.names if _set_name(name) in sets and name not in chosen.files
            ]
        metadata = {**self._metadata, **chosen.metadata}
        if self._surplus:
            metadata["surplus"] = self._surplus
        if attributes:
            root = self._modules.get("", ModuleInfo())
            self._modules = {"": _with_attributes(root, {**root.attributes, **attributes})} | {
                path: info for path, info in self._modules.items() if path
            }
        return Index("folder", source, self._tensors, self._modules, metadata, self._ordered)


def _with_attributes(info: ModuleInfo, attributes: dict[str, Any]) -> ModuleInfo:
    return dataclasses.replace(info, attributes=attributes)


def _json(source: Source, limits: Limits) -> dict[str, Any]:
    if source.size > limits.header_bytes:
        raise LimitError(
            f"{source.name}: has {source.size:,} bytes; `Limits.header_bytes` allows {limits.header_bytes:,}"
        )
    try:
        value = json.loads(source.read_at(0, source.size))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source.name}: is no JSON: {error}") from None
    if not is_dict(value):
        raise FormatError(f"{source.name}: is no JSON object")
    return value
