"""`open`: from a path, bytes or objects in memory to the module tree. Detects, reads, builds; reads no weights."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from statedict import collector, formats
from statedict.errors import StatedictError
from statedict.index import Index
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.source import Source, source_of
from statedict.tree.build import build
from statedict.tree.module import Module
from statedict.tree.tensor import is_array

if TYPE_CHECKING:
    from torch import nn

Checkpoint = str | os.PathLike[str] | bytes | bytearray | memoryview | Source


def open(
    checkpoint: "Checkpoint | nn.Module | Mapping[Any, Any]",
    *,
    key: str | None = None,
    format: str | None = None,
    kinds: Literal["config"] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Module:
    """The checkpoint at a path, or in bytes, as a module tree. Reads its description and none of its weights.

    A live `torch.nn.Module` comes as a tree that looks through to it: reading sees what it holds now, and what is
    assigned in the tree is assigned in the model. Of a dict of torch, numpy or JAX arrays, however nested, the tree
    shares the memory.

    `key` picks a part of it, by the dotted name of a module ("model" of a training checkpoint). `format` names the
    format where it should not be told from the first bytes. Nothing in the file is executed or imported.

    `kinds="config"` takes what a Hugging Face folder's modules are from its `config.json`, by the classes of
    `transformers`, where they are inferred otherwise: exact, but some seconds slower. Modules without tensors and the
    second names of tied tensors come with it. See `configured.configured` for what it raises.

    Raises ReadError (an OSError) when the file cannot be read; FormatError (a ValueError) when it is damaged,
    UnknownFormatError when it is no checkpoint, LimitError when it asks for more than `limits`; StatedictError when
    there is no `key`.
    """
    if kinds not in (None, "config"):
        raise ValueError(f"`kinds` is {kinds!r}; it can be None, to infer them, or 'config'")
    if is_array(checkpoint, "torch.nn", "Module"):
        from statedict.interop.live import live_tree

        module = live_tree(cast("nn.Module", checkpoint))
        return module if key is None else part(module, key, type(checkpoint).__name__)
    if isinstance(checkpoint, Mapping):
        from statedict import arrays  # which loads what reads pickles: a file of another format needs none of it

        module = build(arrays.index_of(checkpoint, limits))
        return module if key is None else part(module, key, "the dict")
    with collector.paused():
        source, key = formats.entered(source_of(cast("Checkpoint", checkpoint)), key)
        index = read_index(source, format=format, limits=limits)
        if kinds == "config":
            from statedict.configured import configured  # which starts a process: few need it

            index = configured(index)
        module = build(index)
    return module if key is None else part(module, key, index.source.name)


def read_index(checkpoint: Checkpoint, *, format: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Index:
    """The index of the checkpoint: what `open` builds the tree from. Arguments and errors are those of `open`."""
    return formats.read(source_of(checkpoint), limits, format)


def part(module: Module, key: str, where: str) -> Module:
    """The module of that dotted name. Raises StatedictError, with the closest names, where there is none."""
    try:
        return module.get_submodule(key)
    except AttributeError:
        import difflib

        names = [name for name, _ in module.named_modules() if name]
        close = difflib.get_close_matches(key, names, 3) or names[:3]
        hint = f"; did you mean {', '.join(f'`{name}`' for name in close)}?" if close else ", and no others either"
        raise StatedictError(f"{where}: has no module `{key}`{hint}") from None
