"""`save`: a tree as a checkpoint of any format that is written, block by block, without ever losing a file."""

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from statedict import collector, formats, opening, writing
from statedict.errors import StatedictError
from statedict.expressions.nodes import settled
from statedict.formats import Format
from statedict.index import Index, TensorInfo, shown
from statedict.narrow import is_dict
from statedict.plan import Plan
from statedict.remote.places import Place, place_of
from statedict.tree.flat import flatten
from statedict.tree.module import Module

if TYPE_CHECKING:
    from torch import nn

_FOLDER = "folder"
_KEEPS_VALUES = frozenset({"torch", "dcp"})
"""Formats that hold what is no tensor, too."""
_KEEPS_ROOT = frozenset({"gguf"})
"""Formats whose metadata are the attributes of the root; their writers say which they cannot hold."""
_FEW = 3
_MOST = "5GB"
_CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Saved:
    """What `save` has written."""

    path: Place
    format: str
    """The name of the format, as in `formats.FORMATS`."""
    files: tuple[str, ...]
    """The names of the files, of several the one last that makes the others visible."""
    nbytes: int
    notes: tuple[str, ...]
    """What the format holds otherwise than the tree did, or not at all."""


def save(
    model: "Module | Mapping[Any, Any] | nn.Module",
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    max_shard_size: int | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    verify: bool = False,
    durable: bool = True,
    whole: bool = False,
    progress: writing.Progress | None = None,
    executor: Executor | None = None,
) -> Saved:
    """Write a tree, a live model or a dict of arrays as a checkpoint. Returns what was written, and what was left out.

    The format is that of the path's suffix, or `format`. A path without a suffix becomes a folder of safetensors, in
    files of at most `max_shard_size` ("5GB" unless given) with an index, as `transformers` has them.
    Tensors that are computed are so now, a block at a time. Tied tensors are written once where the format can say so.
    `metadata` replaces what the opened file said of itself.
    With `whole` a `.pt` holds the modules themselves, with their classes and attributes, as `torch.save(model)` writes
    them: for a tree that has them, and for `torch.load(weights_only=False)`, which must be able to import the classes.

    What was at the path stays until the new is complete: it may be the file that `model` was opened from. With `verify`
    what was written is read again and compared before. All is on the disk when this returns, unless `durable` is false:
    then the operating system decides when, as after `cp`, and a crash of the machine may lose it.

    The path may be a URL of a store that fsspec writes to: a file is sent in parts, and there once it is complete; of
    several the index comes last. With an `executor` its workers compute and write: stretches of files that all of them
    see, or whole shards of a folder in a store.

    Raises StatedictError where the format cannot hold a tensor, and WriteError (an OSError) where writing fails.
    """
    target = place_of(path)
    with collector.paused():
        tree = model if isinstance(model, Module) else opening.open(model)
        index = _settled(flatten(tree, state=not whole, metadata=metadata))
        entry, folder = _format(target, format, sharded=max_shard_size is not None)
    if folder and not whole:
        how = partial(writing.write_folder, verify=verify, durable=durable, progress=progress, executor=executor)
        return _save_folder(index, entry, target, max_shard_size, how)
    plan = _whole(index, entry, target) if whole else entry.writer().write(index)
    writing.write_file(plan, target, verify=verify, durable=durable, progress=progress, executor=executor)
    return Saved(target, entry.name, (target.name,), plan.size, (*plan.notes, *_left_out(index, entry)))


def _whole(index: Index, entry: Format, target: Place) -> Plan:
    """The file of the modules themselves. Raises StatedictError for a format that holds none."""
    if entry.name != "torch" or target.is_dir():
        raise StatedictError(f"{target}: a whole model is a PyTorch file; give it a name such as `model.pt`")
    from statedict.formats import _module_writing

    return _module_writing.plan(index)


def _save_folder(
    index: Index,
    entry: Format,
    folder: Place,
    most: int | str | None,
    write: Callable[..., None],
) -> Saved:
    from statedict.formats import dcp, sharded

    plans: dict[str, Plan] = {}

    def planned(taken: frozenset[str]) -> Mapping[str, Plan]:
        """The files, once it is known which names the folder has already."""
        if entry.name == "dcp":
            plans.update(dcp.write_folder(index, taken))
        else:
            plans.update(_config(index, taken))
            plans.update(sharded.write_folder(index, entry, most or _MOST, taken))
        return plans

    replaced = [path.name for path in folder.glob(dcp.DATA)] if entry.name == "dcp" else []
    write(planned, folder, replaced=replaced)
    notes = dict.fromkeys(note for plan in plans.values() for note in plan.notes)
    size = sum(plan.size for plan in plans.values())
    return Saved(folder, entry.name, tuple(plans), size, (*notes, *_left_out(index, entry, kept=_CONFIG)))


def _config(index: Index, taken: frozenset[str]) -> dict[str, Plan]:
    """The `config.json` that the opened folder had, without which `transformers` loads no weights."""
    config = index.modules[""].attributes.get(_CONFIG)
    if not is_dict(config) or f"{_CONFIG}.json" in taken:
        return {}
    return {f"{_CONFIG}.json": Plan(((json.dumps(config, indent=2) + "\n").encode(),))}


def _format(path: Place, name: str | None, *, sharded: bool) -> tuple[Format, bool]:
    """The format to write, and whether as a folder. Raises StatedictError where neither name nor suffix tells it."""
    by_name = {entry.name: entry for entry in formats.FORMATS if entry.writes}
    if name is not None and name not in by_name and name != _FOLDER:
        raise StatedictError(
            f"{path}: there is no format `{name}` to write; expected one of {', '.join((*by_name, _FOLDER))}"
        )
    suffix = path.suffix.lower()
    of_suffix = next((entry for entry in by_name.values() if suffix in entry.suffixes), None)
    as_folder = sharded or name in (_FOLDER, "dcp") or path.is_dir() or not (suffix or path.is_file())
    if as_folder and of_suffix is not None and not path.is_dir():
        raise StatedictError(f"{path}: shards are written to a folder; name one, without the suffix `{suffix}`")
    entry = by_name.get(name) if name is not None else of_suffix
    if entry is None and (as_folder or name == _FOLDER):
        entry = by_name["safetensors"]
    if entry is None:
        raise StatedictError(
            f"{path}: its suffix tells no format to write; name one of {', '.join(by_name)} as the format"
        )
    return entry, as_folder


def _settled(index: Index) -> Index:
    """The index with each tensor's elements row by row, as files hold them; ties stay ties."""
    made: dict[int, TensorInfo] = {}
    for info in index.tensors.values():
        if id(info) not in made:
            made[id(info)] = settled(info)
    tensors = {name: made[id(info)] for name, info in index.tensors.items()}
    return Index(index.format, index.source, tensors, index.modules, index.metadata)


def _left_out(index: Index, entry: Format, kept: str | None = None) -> tuple[str, ...]:
    """What of a checkpoint is no tensor, where the format has no place for it; `kept` is written beside."""
    if entry.name in _KEEPS_VALUES:
        return ()
    places = [
        (f"{path}.{name}" if path else name, info)
        for path, info in index.modules.items()
        if info.container or (not path and info.kind is None)
        for name in info.attributes
        if path or not (name == kept or entry.name in _KEEPS_ROOT)
    ]
    if not places:
        return ()
    few = ", ".join(f"`{shown(name)}`" for name, _ in places[:_FEW]) + ", …" * (len(places) > _FEW)
    left = "1 value that is no tensor is" if len(places) == 1 else f"{len(places):,} values that are no tensors are"
    elsewhere = "; a .pt file holds such" if all(info.container for _, info in places) else ""
    return (f"{left} left out ({few}){elsewhere}",)
