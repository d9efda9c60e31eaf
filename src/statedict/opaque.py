"""`Opaque`: the inert description of something that a file names, and that was not imported, called or built."""

from collections.abc import Hashable, Mapping
from reprlib import recursive_repr
from typing import Any

from statedict.narrow import is_dict, is_tuple


class Opaque:
    """A class, function or object that a file refers to, as a description that can be read and printed.

    `args is None` means the class or function itself ("torch.nn.functional.relu"); otherwise it was to be called with
    `args` and `kwargs`, then given `state`, and `items` if it is a kind of list, set or dict. What `state` names
    reads as an attribute: `checkpoint.args.lr` of a pickled `argparse.Namespace`.
    """

    __slots__ = ("args", "items", "kwargs", "name", "state")

    name: str
    """The full name, "omegaconf.dictconfig.DictConfig"."""
    args: tuple[Any, ...] | None
    kwargs: Mapping[str, Any]
    state: Any
    """What its `__setstate__` was to get: usually the dict of its attributes; None: nothing."""
    items: list[Any] | dict[Hashable, Any] | None
    """What was to be appended or set, where it is a kind of list or dict."""

    def __init__(
        self,
        name: str,
        args: tuple[Any, ...] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        state: Any = None,
        items: list[Any] | dict[Hashable, Any] | None = None,
    ) -> None:
        self.name = name
        self.args = args
        self.kwargs = kwargs or {}
        self.state = state
        self.items = items

    @property
    def kind(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes by name, from `state`, slots included; empty where the state is of another form."""
        parts = self.state if is_tuple(self.state) and len(self.state) == 2 else (self.state,)
        return {str(key): value for part in parts if is_dict(part) for key, value in part.items()}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            attributes = self.attributes
            if name in attributes:
                return attributes[name]
        raise AttributeError(f"`{self.name}`, which was not built, holds no attribute `{name}`")

    def __reduce__(self) -> tuple[Any, ...]:
        return Opaque, (self.name, self.args, dict(self.kwargs), self.state, self.items)

    @recursive_repr()
    def __repr__(self) -> str:
        if self.args is None:
            return self.name
        given = [repr(argument) for argument in self.args]
        given += [f"{key}={value!r}" for key, value in self.kwargs.items()]
        if self.items:
            given.append(repr(self.items))
        attributes = self.attributes
        if attributes:
            given += [f"{key}={value!r}" for key, value in attributes.items()]
        elif self.state is not None:
            given.append(f"state={self.state!r}")
        return f"{self.name}({', '.join(given)})"
