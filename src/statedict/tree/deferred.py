"""What a module gets only when it is asked for: tables, attributes from the file, and what no file tells."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


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
