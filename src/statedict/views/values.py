"""Attributes of a checkpoint (`epoch`, `hyper_parameters`, `args`) as short, inert text."""

from collections.abc import Iterator
from typing import Any

from statedict.dtypes import DType
from statedict.index import TensorInfo
from statedict.narrow import is_dict, is_list, is_set, is_tuple
from statedict.opaque import Opaque
from statedict.tree.tensor import Tensor
from statedict.views import numbers
from statedict.views.lines import ELLIPSIS, escaped, shortened

_DEEPEST = 6


def value_text(value: Any, room: int = 60) -> str:
    """`value` on one line of about `room` characters: in full where it fits, else its size or its beginning."""
    pieces: list[str] = []
    length = 0
    for piece in _pieces(value, 0):
        pieces.append(piece)
        length += len(piece)
        if length > room:
            return _summary(value, room, "".join(pieces))
    return "".join(pieces)


def _summary(value: Any, room: int, beginning: str) -> str:
    if is_dict(value):
        return f"{{{ELLIPSIS} {numbers.counted(len(value), 'key')}}}"
    if is_list(value) or is_tuple(value) or is_set(value):
        opening, closing = _brackets(value)
        return f"{opening}{ELLIPSIS} {numbers.counted(len(value), 'item')}{closing}"
    if isinstance(value, Opaque):
        named = f"{value.name}({ELLIPSIS} {numbers.counted(len(value.attributes), 'attribute')})"
        return shortened(named if value.attributes else beginning, room)
    if isinstance(value, str):
        return f"{shortened(beginning, room - 1)}{beginning[0]} ({numbers.counted(len(value), 'character')})"
    if isinstance(value, bytes | bytearray):
        return f"{shortened(beginning, room - 1)} ({numbers.counted(len(value), 'byte')})"
    return shortened(beginning, room)


def _brackets(value: Any) -> tuple[str, str]:
    return ("[", "]") if isinstance(value, list) else ("(", ")") if isinstance(value, tuple) else ("{", "}")


def _pieces(value: Any, depth: int) -> Iterator[str]:
    """The text of `value` in small pieces, so that who reads them may stop."""
    if isinstance(value, str | bytes | bytearray):
        yield _quoted(value)
    elif isinstance(value, DType):
        yield value.name
    elif isinstance(value, Tensor | TensorInfo):
        yield f"tensor {numbers.shape(value.shape)} {value.dtype.short}"
    elif depth >= _DEEPEST:
        yield ELLIPSIS
    elif is_dict(value):
        yield from _listed("{", "}", (_pair(key, held, depth) for key, held in value.items()))
    elif is_list(value) or is_tuple(value) or is_set(value):
        yield from _listed(*_brackets(value), (_pieces(held, depth + 1) for held in value))
    elif isinstance(value, Opaque):
        yield from _opaque(value, depth)
    else:
        yield escaped(repr(value))


def _quoted(value: str | bytes | bytearray) -> str:
    """A text or bytes in quotes, of which no more is looked at than could be shown."""
    if isinstance(value, str):
        shown = escaped(value[:500])
        return f'"{shown}"' if '"' not in shown else f"'{shown}'"
    return repr(bytes(value[:500]))


def _listed(opening: str, closing: str, items: Iterator[Iterator[str]]) -> Iterator[str]:
    yield opening
    for at, item in enumerate(items):
        if at:
            yield ", "
        yield from item
    yield closing


def _pair(key: Any, value: Any, depth: int, sign: str = ": ") -> Iterator[str]:
    yield escaped(key[:500]) if isinstance(key, str) else value_text(key, 40)
    yield sign
    yield from _pieces(value, depth + 1)


def _opaque(value: Opaque, depth: int) -> Iterator[str]:
    """A class by its full name, an object as the call that would make it."""
    if value.args is None:
        yield escaped(value.name)
        return
    given = [_pieces(argument, depth + 1) for argument in value.args]
    given += [_pair(key, held, depth, "=") for key, held in {**value.kwargs, **value.attributes}.items()]
    given += [_pieces(value.items, depth + 1)] if value.items else []
    yield from _listed(f"{escaped(value.name)}(", ")", iter(given))
