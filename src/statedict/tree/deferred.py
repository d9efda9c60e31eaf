"""What there is only when it is asked for: tables, attributes from the file, what no file tells, whole modules."""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from statedict.tree.module import Module

BUILDING = threading.RLock()
"""Held by the thread that makes what is there only when it is asked for."""


class Unread(NamedTuple):
    """Attributes as an index describes them, until they are asked for."""

    described: Mapping[str, Any]
    convert: Callable[[Mapping[str, Any]], dict[str, Any]]


class Deferred:
    """A class attribute for which a module's `_inference` is run once; what that leaves in its `__dict__` counts."""

    def __init__(self, default: object) -> None:
        self._default = default
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, module: object, owner: type | None = None) -> Any:
        held = {} if module is None else module.__dict__
        inference = held.get("_inference")
        if inference is not None:
            inference()
        return held.get(self._name, self._default)


class Table:
    """A class attribute that is an empty table in a module's `__dict__` from when it is first asked for.

    Most modules need none of their five but one: without the others, a tree takes half the memory and time.
    """

    def __init__(self, kind: Callable[[], object]) -> None:
        self._kind = kind
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, module: object, owner: type | None = None) -> Any:
        return self if module is None else module.__dict__.setdefault(self._name, self._kind())


class Recipe(NamedTuple):
    """How a module is built."""

    build: "Callable[[], Module]"
    show: "Callable[[], Module]"
    """Builds one for whoever passes by: nothing keeps it, or its tensors."""
    like: str
    """Equal for those of one parent that look the same until they are touched."""


class Unbuilt:
    """What a module is before it is built. Whatever is asked for first builds it, and what it became answers."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        with BUILDING:
            if is_unbuilt(self):  # else another thread was first
                made = object.__getattribute__(self, "_recipe").build()
                object.__setattr__(self, "__dict__", made.__dict__)
                object.__setattr__(self, "__class__", type(made))
        return getattr(self, name)


def is_unbuilt(module: object) -> bool:
    """Whether a module is not built yet. To ask is no touch."""
    return issubclass(type(module), Unbuilt)


def recipe_of(module: object) -> Recipe | None:
    """How it is built, if it is not yet. To ask is no touch."""
    with BUILDING:
        return object.__getattribute__(module, "_recipe") if is_unbuilt(module) else None
