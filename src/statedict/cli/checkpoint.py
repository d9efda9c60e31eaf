"""What a command works on: an opened file, its index, and the tree of it or of a part."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from statedict import formats
from statedict.cli.wording import worded
from statedict.columns import Columns
from statedict.errors import StatedictError
from statedict.index import Index
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.source import Folder, Source, source_of
from statedict.tree.rows import Listed, aliases, plain_columns, rows

if TYPE_CHECKING:
    from statedict.ops.select import NamedTensor
    from statedict.tree.module import Module

# What makes a tree is loaded when one is needed: a list of tensors takes half the time without.


@dataclass
class Checkpoint:
    """An opened file: its index, and the tree, or the part of it that `key` names, with prefixes stripped if asked."""

    index: Index
    key: str | None = None
    strip: bool = False

    @property
    def name(self) -> str:
        """The last part of its path."""
        path = Path(self.index.source.name)
        return path.name or path.resolve().name or str(path)  # "." and "/" have none

    @property
    def size(self) -> int:
        """Bytes of the file, or of all files in the folder."""
        source = self.index.source
        if isinstance(source, Folder) and source.waits:  # of which only the files of tensors are known
            return sum(each.size for each in _files(self.index))
        return sum(source.sizes().values()) if isinstance(source, Folder) else source.size

    @cached_property
    def model(self) -> "Module":
        """The tree. Raises StatedictError where it has no `key`."""
        from statedict.ops.prefixes import strip_prefixes
        from statedict.tree.build import build

        model = strip_prefixes(build(self.index)) if self.strip else build(self.index)
        return model if self.key is None else _part(model, self.key, self.index.source.name)

    @cached_property
    def columns(self) -> Columns | None:
        """All of its tensors, where they are plain, and none shares anything with another."""
        return None if self.key or self.strip else plain_columns(self.index)

    @cached_property
    def entries(self) -> "list[NamedTensor]":
        """Every name of every tensor, in the order of the tree."""
        from statedict.ops.select import named_tensors

        return list(named_tensors(self.model))

    @cached_property
    def rows(self) -> Sequence[Listed]:
        """The same, of which nothing but what the index says will be asked: without the tree, where that can be."""
        found = None if self.key or self.strip else rows(self.index)
        return self.entries if found is None else found

    @cached_property
    def ties(self) -> dict[str, str]:
        """The first name of each tensor of several, by each of the others."""
        return aliases(self.rows)

    def optimized(self, entries: Iterable[Listed]) -> dict[str, str]:
        """The name of the parameter that each tensor of an optimizer's states belongs to, by the tensor's name.

        Nothing where none of `entries` is one.
        """
        if all(entry.role != "optimizer" for entry in entries):
            return {}
        from statedict.ops.optimizer import optimizer_parameters

        return optimizer_parameters(self.model)

    @cached_property
    def first_names(self) -> dict[int, str]:
        """The first name of each tensor, by its `id`."""
        names: dict[int, str] = {}
        for entry in self.entries:
            names.setdefault(id(entry.tensor), entry.name)
        return names


def _files(index: Index) -> set[Source]:
    """The files that tensors are in."""
    if isinstance(index.tensors, Columns):
        return {source.needs(0, 0)[0] for source in index.tensors.sources()}
    extents = (info.extent for info in index.tensors.values())
    return {extent.source.needs(extent.offset, extent.size)[0] for extent in extents if extent is not None}


_opened: list[Checkpoint] = []
"""What this process has opened, kept to its end: see `cli.main`."""


def limits() -> Limits:
    """The limits of this process, with those that STATEDICT_LIMITS of the environment raises: `depth=1000`."""
    try:
        return DEFAULT_LIMITS.raised(os.environ.get("STATEDICT_LIMITS", ""))
    except ValueError as error:
        raise click.UsageError(f"STATEDICT_LIMITS: {error}") from None


def opened(
    file: str, key: str | None, format: str | None, strip: bool = False, config_kinds: bool = False
) -> Checkpoint:
    """The checkpoint at a path. Raises as `statedict.open` does.

    `strip` leaves wrappers' prefixes out, `config_kinds` takes kinds from the folder's `config.json`.
    """
    source, key = formats.entered(source_of(file), key)
    index = formats.read(source, limits(), format)
    if config_kinds:
        from statedict.configured import configured

        with worded({'`kinds="config"`': "`--config-kinds`"}):
            index = configured(index)
    checkpoint = Checkpoint(index, key, strip)
    _opened.append(checkpoint)
    return checkpoint


def _part(model: "Module", key: str, file: str) -> "Module":
    try:
        return model.get_submodule(key)
    except AttributeError:
        from statedict.ops.patterns import suggestion
        from statedict.ops.select import named_modules

        names = [name for name, *_ in named_modules(model) if name]
        raise StatedictError(f"{file}: has no module `{key}`{suggestion(key, names)}") from None
