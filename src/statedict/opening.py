"""`open`: from a path or bytes to the module tree. Detects, reads, builds; nothing of the weights is read."""

import difflib
import os
from pathlib import Path

from statedict import collector, formats
from statedict.build import build
from statedict.errors import StatedictError
from statedict.index import Index
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.module import Module
from statedict.source import BytesSource, FileSource, Folder, Source

Checkpoint = str | os.PathLike[str] | bytes | Source


def open(
    checkpoint: Checkpoint,
    *,
    key: str | None = None,
    format: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Module:
    """The checkpoint at a path, or in bytes, as a module tree. Reads its description and none of its weights.

    `key` picks a part of it, by the dotted name of a module ("model" of a training checkpoint). `format` names the
    format where it should not be told from the first bytes. Nothing in the file is executed or imported.

    Raises ReadError (an OSError) when the file cannot be read; FormatError (a ValueError) when it is damaged,
    UnknownFormatError when it is no checkpoint, LimitError when it asks for more than `limits`; StatedictError when
    there is no `key`.
    """
    with collector.paused():
        source, key = entered(checkpoint, key)
        index = read_index(source, format=format, limits=limits)
        module = build(index)
    return module if key is None else _part(module, key, index.source.name)


def read_index(checkpoint: Checkpoint, *, format: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Index:
    """The index of the checkpoint: what `open` builds the tree from. Arguments and errors are those of `open`."""
    return formats.read(_source(checkpoint), limits, format)


def entered(checkpoint: Checkpoint, key: str | None) -> tuple[Source, str | None]:
    """The source to read, and what is left of `key`: of a folder whose weights lie in folders, it first names one."""
    return formats.entered(_source(checkpoint), key)


def _source(checkpoint: Checkpoint) -> Source:
    if isinstance(checkpoint, Source):
        return checkpoint
    if isinstance(checkpoint, bytes):
        return BytesSource(checkpoint)
    return Folder(checkpoint) if Path(checkpoint).is_dir() else FileSource(checkpoint)


def _part(module: Module, key: str, where: str) -> Module:
    try:
        return module.get_submodule(key)
    except AttributeError:
        names = [name for name, _ in module.named_modules() if name]
        close = difflib.get_close_matches(key, names, 3) or names[:3]
        hint = f"; did you mean {', '.join(f'`{name}`' for name in close)}?" if close else ", and no others either"
        raise StatedictError(f"{where}: has no module `{key}`{hint}") from None
