"""What the commands that make another checkpoint share: where they may write, and what they say then."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from statedict.cli import output
from statedict.cli.progress import progress_bar
from statedict.cli.wording import worded
from statedict.companions import copy_companions
from statedict.dtypes import DType
from statedict.errors import StatedictError
from statedict.ops.select import named_tensors
from statedict.ops.sizes import sizes
from statedict.remote.files import RemoteFolder, RemoteSource
from statedict.remote.places import RemotePlace, place_of
from statedict.saving import Saved, save
from statedict.source import FileSource, Folder, Source
from statedict.tree.module import Module
from statedict.views.lines import Line
from statedict.views.numbers import counted, dtypes
from statedict.views.saved import saved_lines

F = TypeVar("F", bound=Callable[..., Any])

_OF_FOLDERS = ("model", "pytorch_model")
"""What the files are called that a save into a folder replaces."""


def overflow_option(function: F) -> F:
    """A command's function with the option `--overflow`."""
    what = "What becomes of a number beyond the largest: as PyTorch has it, the largest, or an error."
    kinds = click.Choice(["torch", "saturate", "error"])
    return click.option("--overflow", type=kinds, default="torch", help=what)(function)


def writing_options(function: F) -> F:
    """A command's function with the options that say how DST is written."""
    kinds = "Write this format, not that of the suffix: safetensors, torch, npz, gguf, dcp."
    function = click.option("--force", is_flag=True, help="Replace what is at DST.")(function)
    function = click.option("--verify", is_flag=True, help="Read what was written back, and compare.")(function)
    function = click.option(
        "--shard-size", metavar="SIZE", help="Write a folder of files of at most so many bytes: 5GB."
    )(function)
    return click.option("--to", metavar="NAME", help=kinds)(function)


def require_new(target: str, source: Source | None, *, force: bool) -> None:
    """Nothing, where a command may write. Raises StatedictError where something else is there, unless `force`."""
    if not target:
        raise StatedictError("an empty path names no place to write to; name a file or a folder")
    path = place_of(target)
    if isinstance(path, RemotePlace):
        if isinstance(source, RemoteSource | RemoteFolder) and source.url == path.url:
            raise StatedictError(f"{path}: is what is read; give another place")
        if not force and path.exists():
            raise StatedictError(f"{path}: is there already; choose another name, or replace it with `--force`")
        return
    if (
        os.path.lexists(path)
        and path.exists()
        and isinstance(source, FileSource | Folder)
        and path.samefile(source.path)
    ):
        raise StatedictError(
            f"{target}: is what is read; give another place, or write over it with `statedict edit --in-place`"
        )
    taken = any(path.iterdir()) if path.is_dir() else os.path.lexists(path)
    if taken and not force:
        raise StatedictError(f"{target}: is there already; choose another name, or replace it with `--force`")


def format_in_place(model: Module, source: Source, format: str) -> str | None:
    """The format to write over what a model was opened from; None: that of the suffix.

    Raises StatedictError for a folder whose files are called otherwise than those that are written.
    """
    if isinstance(source, FileSource):
        return None if source.path.suffix else format
    if not isinstance(source, Folder):
        raise StatedictError(f"{source.name}: is no file or folder of this machine, which alone can be written over")
    if format != "folder":
        return format
    files = {Path(name) for name in _files(model)}
    if other := sorted(path.name for path in files if not path.name.startswith(_OF_FOLDERS)):
        raise StatedictError(
            f"{source.name}: `{other[0]}` is not called as the files that are written; give the name of a new folder"
        )
    return "safetensors" if all(path.suffix == ".safetensors" for path in files) else "torch"


def _files(model: Module) -> set[str]:
    """The files that a model's tensors are in."""
    from statedict.tree.flat import flatten

    extents = (info.extent for info in flatten(model).tensors.values())
    sources = {extent.source.located(extent.offset)[0] for extent in extents if extent is not None and extent.size}
    return {source.name for source in sources if isinstance(source, FileSource)}


def write(
    model: Module,
    target: str,
    doing: str,
    *,
    source: Source,
    format: str | None,
    shard_size: str | None,
    verify: bool,
    durable: bool = True,
    executor: Executor | None = None,
    dtype: DType | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Save a tree, with what lies beside its weights if both are folders, and print what was done."""
    with worded({"as the format": "with `--to`"}), progress_bar(doing) as progress:
        saved = save(
            model,
            target,
            format=format,
            max_shard_size=shard_size,
            verify=verify,
            durable=durable,
            progress=progress,
            executor=executor,
        )
    lines = saved_lines(replace(saved, notes=(*saved.notes, *notes)), _contents(model))
    if isinstance(source, Folder) and saved.path.is_dir() and str(saved.path) != source.name:
        lines += _copied(saved, source, dtype)
    output.print_lines(lines)


def _contents(model: Module) -> str:
    found = sizes(named_tensors(model))
    return f"{counted(found.tensors, 'tensor')}, {dtypes(found.dtypes) or 'no values'}"


def _copied(saved: Saved, source: Folder, dtype: DType | None) -> list[Line]:
    names = copy_companions(source, saved.path, dtype)
    return [[("copied: ", "dim"), (", ".join(names), "")]] if names else []
