"""Modules that are built when they are touched: of a large model, the many blocks that are like others."""

from statedict.tree.deferred import Recipe, Unbuilt
from statedict.tree.module import Module
from statedict.tree.nested import ListModule


class _UnbuiltModule(Module, Unbuilt):
    pass


class _UnbuiltList(ListModule, Unbuilt):
    pass


def unbuilt(recipe: Recipe) -> Module:
    """A module that is built by that recipe as soon as it is touched."""
    made = object.__new__(_UnbuiltModule)
    object.__setattr__(made, "_recipe", recipe)
    return made


def as_list(module: Module) -> None:
    """Let one be a list once it is built: `len` and indices look at the class, and touch nothing."""
    object.__setattr__(module, "__class__", _UnbuiltList)
