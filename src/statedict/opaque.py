"""`Opaque`: the inert description of something that a file names, and that was not imported, called or built."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
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
        return {
            key if isinstance(key, str) else text(key): value
            for part in parts
            if is_dict(part)
            for key, value in part.items()
        }

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            attributes = self.attributes
            if name in attributes:
                return attributes[name]
        raise AttributeError(f"`{self.name}`, which was not built, holds no attribute `{name}`")

    def __reduce__(self) -> tuple[Any, ...]:
        return Opaque, (self.name, self.args, dict(self.kwargs), self.state, self.items)

    def __repr__(self) -> str:
        return text(self)


def text(value: Any, most: int = 10_000) -> str:
    """`repr(value)`, cut short with "…" after `most` values, as hostile files hold values that print without end."""
    return "".join(_pieces(value, _Room(most), ()))


class _Room:
    """How many more values may be printed."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


def _pieces(value: Any, room: _Room, within: tuple[int, ...]) -> Iterator[str]:
    """The text of a value that stands within those with the ids `within`."""
    room.left -= 1
    if id(value) in within:
        yield "..."
    elif room.left < 0 or len(within) > _DEEPEST:
        yield "…"
    elif isinstance(value, Opaque):
        yield value.name
        if value.args is not None:
            yield from _listed("(", _arguments(value), ")", room, (*within, id(value)))
    elif is_dict(value):
        yield from _listed("{", value.items(), "}", room, (*within, id(value)), ": ")
    elif type(value) in _BRACKETS and value:
        opening, closing = _BRACKETS[type(value)]
        last = "," if is_tuple(value) and len(value) == 1 else ""
        yield from _listed(opening, ((None, each) for each in value), last + closing, room, (*within, id(value)))
    else:
        yield getattr(value, "full_name", value.__name__) if isinstance(value, type) else repr(value)


def _arguments(value: Opaque) -> Iterator[tuple[Any, Any]]:
    """What stands between the brackets, with the keyword of each or None."""
    for argument in value.args or ():
        yield None, argument
    attributes = value.attributes
    if value.items:
        yield None, value.items
    named: dict[str, Any] = {**value.kwargs, **attributes}
    if value.state is not None and not attributes:
        named["state"] = value.state
    for key, held in named.items():
        yield Opaque(key), held


def _listed(
    opening: str,
    entries: Iterable[tuple[Any, Any]],
    closing: str,
    room: _Room,
    within: tuple[int, ...],
    sign: str = "=",
) -> Iterator[str]:
    yield opening
    for position, (key, held) in enumerate(entries):
        if position:
            yield ", "
        if room.left <= 0:
            yield "…"
            break
        if key is not None or sign == ": ":
            yield from _pieces(key, room, within)
            yield sign
        yield from _pieces(held, room, within)
    yield closing


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
_DEEPEST = 50
