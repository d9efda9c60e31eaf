"""How PyTorch would print a value that a file holds. It never raises and never runs away, whatever the file built."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, cast

from statedict.dtypes import DType
from statedict.opaque import Opaque

_MOST_PIECES = 10_000  # nested references to one list can ask for 10**20
_MOST_DEPTH = 50
_BRACKETS = {tuple: ("(", ")"), list: ("[", "]"), set: ("{", "}"), frozenset: ("frozenset({", "})")}


def text(value: object) -> str:
    """The value as `format` prints it: a string as it is, the rest as `written`."""
    return str(value) if isinstance(value, str) else written(value)


def written(value: object) -> str:
    """The value as `repr` prints it, types of PyTorch under PyTorch's names; what is too long ends in an ellipsis."""
    pieces = list(islice(_pieces(value, 0), _MOST_PIECES + 1))
    if len(pieces) > _MOST_PIECES:
        pieces[-1] = "…"
    return "".join(pieces)


def _pieces(value: object, depth: int) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        yield "…"
    elif isinstance(value, DType):
        yield f"torch.{value}"
    elif isinstance(value, Opaque):
        yield from _opaque(value, depth)
    elif isinstance(value, dict):
        yield from _mapping(cast("dict[object, object]", value), depth)
    elif type(value) in _BRACKETS:
        yield from _collection(cast("tuple[object, ...]", value), depth)
    else:
        yield _plain(value)


def _plain(value: object) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # Python refuses to print an integer of more than 4,300 digits in decimal
        return f"{value:#x}" if isinstance(value, int) else f"<{type(value).__name__}>"


def _collection(values: tuple[object, ...], depth: int) -> Iterator[str]:
    opening, closing = _BRACKETS[type(values)]
    if not values and "{" in opening:
        yield f"{type(values).__name__}()"
        return
    yield opening
    yield from _between(_pieces(value, depth + 1) for value in values)
    yield ",)" if len(values) == 1 and opening == "(" else closing


def _mapping(values: dict[object, object], depth: int) -> Iterator[str]:
    plain = type(values) is dict
    yield "{" if plain else f"{type(values).__name__}({{"
    yield from _between(_pair(key, value, depth + 1) for key, value in values.items())
    yield "}" if plain else "})"


def _pair(key: object, value: object, depth: int) -> Iterator[str]:
    yield from _pieces(key, depth)
    yield ": "
    yield from _pieces(value, depth)


def _opaque(value: Opaque, depth: int) -> Iterator[str]:
    """A class or function is its name; an object is printed as a dataclass prints itself."""
    if value.args is None:
        yield value.name
        return
    yield f"{value.kind}("
    named: dict[str, Any] = {**value.kwargs, **value.attributes}
    parts = [_pieces(argument, depth + 1) for argument in value.args]
    yield from _between([*parts, *(_named(key, each, depth + 1) for key, each in named.items())])
    yield ")"


def _named(key: str, value: object, depth: int) -> Iterator[str]:
    yield f"{key}="
    yield from _pieces(value, depth)


def _between(items: Iterable[Iterator[str]]) -> Iterator[str]:
    for position, item in enumerate(items):
        if position:
            yield ", "
        yield from item
