"""Checkpoints of several files, as `transformers`, `diffusers` and `peft` lay them out in a folder.

The weights are safetensors or `torch.save` files, alone or as shards; an index beside them (`*.index.json`, with a
`weight_map` from names of tensors to files) says what belongs together. `config.json` and `adapter_config.json` become
attributes of the root. Of several sets of weights in one folder safetensors are preferred, as those libraries do; a
folder of none of these may hold one file of another format, as `transformers` once saved those of Flax and TensorFlow.
"""

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from statedict import accelerator, formats
from statedict.amounts import bytes_of
from statedict.columns import Columns
from statedict.errors import FormatError, LimitError, StatedictError
from statedict.formats import Format
from statedict.index import Index, ModuleInfo, TensorInfo, shown
from statedict.limits import Limits
from statedict.narrow import is_dict
from statedict.plan import Plan
from statedict.source import Folder, Source

_INDEX = re.compile(r"(?P<stem>.+)(?P<suffix>\.\w+)\.index(?P<variant>\.[\w-]+)?\.json")
_SHARD = re.compile(r"(?P<stem>.*?)[-_.]?(?P<number>\d+)-of-(?P<count>\d+)(?P<suffix>\.\w+)")
_OF_RANKS = re.compile(r"shard-\d+-.*\.safetensors")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".keras", ".onnx", ".npz")
"""Of weights, those first that are preferred where a folder holds several kinds."""
_STEMS = ("model", "adapter_model", "diffusion_pytorch_model", "pytorch_model")
"""What the model's weights are called, where a folder holds other weights (an optimizer's, say) too."""
_CONFIGS = {"config.json": "config", "adapter_config.json": "peft_config"}
_OWNERS = b'"weight_map":'
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
    named = _INDEX.fullmatch(source.name.rpartition("/")[2])
    return bool(named) and head[:1] == b"{" and source.parent() is not None


def _is_weights(name: str) -> bool:
    """Whether a file is weights or the index of some, and no piece of a distributed checkpoint."""
    return bool(_INDEX.fullmatch(name)) or (name.endswith(_SUFFIXES) and not _OF_RANKS.fullmatch(name))


def read(source: Source, limits: Limits) -> Index:
    """The index of all shards together. Raises FormatError, naming them, where shards are missing or contradict."""
    folder = source if isinstance(source, Folder) else source.parent()
    if folder is None:
        raise FormatError(f"{source.name}: lists files beside it, but is in no folder; open it by its path")
    chosen = _choose(folder, limits) if isinstance(source, Folder) else _listed(source, limits)
    if away := [name for name in chosen.files if "/" in name or _INDEX.fullmatch(name)]:
        raise FormatError(f"{source.name}: refers to `{shown(away[0])}`, which is no shard in the same folder")
    if absent := folder.absent(chosen.files):
        raise FormatError(
            f"{source.name}: of the {len(chosen.files):,} files of `{chosen.name}` {len(absent):,} are missing: "
            f"{_few(absent)}; fetch them"
        )
    present = [name for name in _CONFIGS if name in folder.names] if isinstance(source, Folder) else []
    folder.ahead([*chosen.files, *present])
    joined = _Joined(folder, chosen)
    for name in chosen.files:
        joined.add(name, formats.read(folder.sibling(name), limits))
    attributes = {_CONFIGS[name]: _json(folder.sibling(name), limits) for name in present}
    return joined.index(source, attributes).require_few(limits)


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
    if not is_dict(owners) or {*map(type, owners), *map(type, owners.values())} != {str}:
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
        self._counts = Counter((chosen.owners or {}).values())
        """How many tensors are to be in each file."""
        self._parts: list[Mapping[str, TensorInfo]] = []
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
        elif twice := self._files.keys() & tensors.keys():
            name = min(twice)
            raise FormatError(
                f"{self._folder.name}: tensor `{shown(name)}` stands in `{self._files[name]}` and in `{file}`; "
                "open the one that you mean"
            )
        else:
            self._files |= dict.fromkeys(tensors, file)
        self._parts.append(tensors)
        for path, info in index.modules.items():
            known = self._modules.setdefault(path, info)
            if known is not info and info.attributes:
                self._modules[path] = _with_attributes(known, {**info.attributes, **known.attributes})
        self._metadata = {**index.metadata, **self._metadata}
        self._ordered = self._ordered and index.ordered

    def _listed(self, file: str, index: Index) -> Mapping[str, TensorInfo]:
        """Those of a shard's tensors that the index says are in it."""
        owners, tensors = self._chosen.owners or {}, index.tensors
        if len(tensors) == self._counts[file] == list(map(owners.get, tensors)).count(file):
            return tensors  # nearly always: those and no others
        wanted = {name for name in tensors if owners.get(name) == file}
        if len(wanted) < self._counts[file]:
            missing = {name for name, owner in owners.items() if owner == file} - wanted
            raise FormatError(
                f"{self._folder.name}: `{self._chosen.name}` says that `{file}` holds `{shown(min(missing))}`"
                f"{f' and {len(missing) - 1:,} more' * (len(missing) > 1)}, but it does not; fetch that shard again"
            )
        wanted |= {later for later, first in index.aliases().items() if first in wanted}
        self._surplus += [f"{file}: {name}" for name in tensors if name not in wanted]
        return {name: tensor for name, tensor in tensors.items() if name in wanted}

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
        return Index("folder", source, self._tensors(), self._modules, metadata, self._ordered)

    def _tensors(self) -> Mapping[str, TensorInfo]:
        columns = [part for part in self._parts if isinstance(part, Columns)]
        if columns and len(columns) == len(self._parts):
            return Columns.joined(columns)
        return {name: info for part in self._parts for name, info in part.items()}


def _with_attributes(info: ModuleInfo, attributes: dict[str, Any]) -> ModuleInfo:
    return dataclasses.replace(info, attributes=attributes)


def _json(source: Source, limits: Limits) -> dict[str, Any]:
    if source.size > limits.header_bytes:
        raise LimitError(
            f"{source.name}: has {source.size:,} bytes; `Limits.header_bytes` allows {limits.header_bytes:,}"
        )
    try:
        value = _loaded(source.read_at(0, source.size))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source.name}: is no JSON: {error}") from None
    if not is_dict(value):
        raise FormatError(f"{source.name}: is no JSON object")
    return value


def _loaded(data: bytes) -> Any:
    """The JSON value; the map of 60,000 names, where there is one, read by the C code in a third of the time."""
    library, at = accelerator.headers(), data.find(_OWNERS) + len(_OWNERS)
    if library is None or data.count(_OWNERS) != 1 or not (found := library.flat_object(data, at)):
        return json.loads(data)
    owners, end = found
    try:
        value = json.loads(b"%b{}%b" % (data[:at], data[end:]))
    except ValueError:
        return json.loads(data)  # which says where it is wrong
    return {**value, "weight_map": owners} if is_dict(value) and value.get("weight_map") == {} else json.loads(data)


_WRITTEN = {"safetensors": ("model", ".safetensors"), "torch": ("pytorch_model", ".bin")}
"""What the files of each format that is written in shards are called."""


def write_folder(index: Index, entry: Format, most: int | str, taken: frozenset[str] = frozenset()) -> dict[str, Plan]:
    """The files of an index as `transformers` loads them from a folder, by name, each of at most `most` bytes of data.

    The one that lists the others comes last; a single one needs none. No shard gets one of the names that are `taken`:
    an old checkpoint stays whole beside the new one's. Raises StatedictError for a format that is not written in
    shards, and for what it cannot hold.
    """
    if entry.name not in _WRITTEN:
        raise StatedictError(
            f'the format "{entry.name}" is written to one file, not to a folder of shards; name a file that ends in '
            f"{entry.suffixes[0] if entry.suffixes else 'its suffix'}"
        )
    stem, suffix = _WRITTEN[entry.name]
    write, shards = entry.writer().write, shard(index, bytes_of(most))
    if len(shards) == 1:
        return {stem + suffix: write(shards[0])}
    count = len(shards)
    named = dict(zip(_free_names(stem, suffix, count, taken), shards, strict=True))
    plans = {name: write(held) for name, held in named.items()}
    plans[f"{stem}{suffix}.index.json"] = _list_of(named, ties_apart=entry.name == "safetensors")
    return plans


def _free_names(stem: str, suffix: str, count: int, taken: frozenset[str]) -> list[str]:
    """The names of so many shards, of which none is taken."""
    series = itertools.chain([stem], (f"{stem}-{again}" for again in itertools.count(2)))
    named = ([f"{each}-{at:05}-of-{count:05}{suffix}" for at in range(1, count + 1)] for each in series)
    return next(names for names in named if taken.isdisjoint(names))


def shard(index: Index, most: int) -> list[Index]:
    """The tensors in parts of at most `most` bytes, in order, as `huggingface_hub` divides them; at least one part.

    A larger tensor is a part of its own; all names of a tied tensor are in one. The parts have no modules: their names
    are full.
    """
    parts: list[dict[str, TensorInfo]] = []
    current: dict[str, TensorInfo] = {}
    size, homes = 0, dict[int, dict[str, TensorInfo]]()
    for name, info in index.tensors.items():
        part, nbytes = homes.get(id(info)), info.nbytes
        if part is None:
            if nbytes > most:
                parts.append(part := {})
            else:
                if size + nbytes > most:
                    parts.append(current)
                    current, size = {}, 0
                part, size = current, size + nbytes
            homes[id(info)] = part
        part[name] = info
    if current or not parts:
        parts.append(current)
    return [Index(index.format, index.source, part, metadata=index.metadata, ordered=index.ordered) for part in parts]


def _list_of(shards: dict[str, Index], *, ties_apart: bool) -> Plan:
    """The file that says which shard each tensor is in; with `ties_apart`, of tied ones only for the first name."""
    owners: dict[str, str] = {}
    once: dict[int, TensorInfo] = {}
    for file, index in shards.items():
        apart = index.aliases() if ties_apart else {}
        owners |= dict.fromkeys((name for name in index.tensors if name not in apart), file)
        once |= {id(info): info for info in index.tensors.values()}
    totals = {
        "total_parameters": sum(info.numel for info in once.values()),
        "total_size": sum(info.nbytes for info in once.values()),
    }
    text = json.dumps({"metadata": totals, "weight_map": owners}, indent=2, sort_keys=True)
    return Plan(((text + "\n").encode(),))
