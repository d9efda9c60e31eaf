"""What all commands share: the argument FILE, `--key`, `--strip` and `--format`, and opening what they name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click

from statedict.build import build
from statedict.configured import configured
from statedict.errors import StatedictError
from statedict.index import Index
from statedict.module import Module
from statedict.opening import entered, read_index
from statedict.ops.optimizer import optimizer_parameters
from statedict.ops.patterns import suggestion
from statedict.ops.prefixes import strip_prefixes
from statedict.ops.select import NamedTensor, named_modules, named_tensors
from statedict.source import Folder

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Checkpoint:
    """An opened file: its index, and the tree, or the part of it that `--key` names."""

    index: Index
    model: Module

    @property
    def name(self) -> str:
        """The last part of its path."""
        return Path(self.index.source.name).name

    @property
    def size(self) -> int:
        """Bytes of the file, or of all files in the folder."""
        source = self.index.source
        if isinstance(source, Folder):
            return sum((source.path / name).stat().st_size for name in source.names if not name.endswith("/"))
        return source.size

    @cached_property
    def entries(self) -> list[NamedTensor]:
        """Every name of every tensor."""
        return list(named_tensors(self.model))

    def optimized(self, entries: Iterable[NamedTensor]) -> dict[str, str]:
        """The name of the parameter that each tensor of an optimizer's states belongs to, by the tensor's name.

        Nothing where none of `entries` is one.
        """
        return optimizer_parameters(self.model) if any(entry.role == "optimizer" for entry in entries) else {}

    @cached_property
    def first_names(self) -> dict[int, str]:
        """The first name of each tensor, by its `id`."""
        names: dict[int, str] = {}
        for entry in self.entries:
            names.setdefault(id(entry.tensor), entry.name)
        return names


def checkpoint_options(function: F) -> F:
    """A command's function with the argument FILE and the options that say what of it to open, and how."""
    function = click.option("--format", metavar="NAME", help="Read FILE as this format instead of telling it.")(
        function
    )
    strip = "Take the names out that DDP, FSDP, compile and checkpointing put in: `module.`, `_orig_mod.`, ..."
    function = click.option("--strip", is_flag=True, help=strip)(function)
    kinds = "Take what modules are from the folder's config.json, by transformers: exact, but it takes seconds."
    function = click.option("--config-kinds", is_flag=True, help=kinds)(function)
    function = click.option("--key", metavar="NAME", help="Take only this part of it: a module, by its name.")(function)
    return click.argument("file")(function)


_opened: list[Checkpoint] = []
"""What this process has opened, kept to its end: see `cli.main`."""


def opened(
    file: str, key: str | None, format: str | None, strip: bool = False, config_kinds: bool = False
) -> Checkpoint:
    """The checkpoint at a path. Raises as `statedict.open` does.

    `strip` leaves wrappers' prefixes out, `config_kinds` takes kinds from the folder's `config.json`.
    """
    source, key = entered(file, key)
    index = read_index(source, format=format)
    if config_kinds:
        index = configured(index)
    model = strip_prefixes(build(index)) if strip else build(index)
    checkpoint = Checkpoint(index, model if key is None else _part(model, key, file))
    _opened.append(checkpoint)
    return checkpoint


def _part(model: Module, key: str, file: str) -> Module:
    try:
        return model.get_submodule(key)
    except AttributeError:
        names = [name for name, *_ in named_modules(model) if name]
        raise StatedictError(f"{file}: has no module `{key}`{suggestion(key, names)}") from None
