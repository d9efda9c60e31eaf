"""What a pickle makes, as it would be written in Python: names, calls, containers. Nothing of it is ever made."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from statedict.narrow import is_list
from statedict.source import Extent

_DEEPEST = 12
_MOST_PIECES = 60
_LONGEST_TEXT = 200
KEPT = 64
"""Elements of a container that are remembered."""


class Unknown:
    """A value of which nothing is known: what stood where the pickle has nothing, or contradicts itself."""

    __slots__ = ()


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Name:
    """Something that the pickle imports: a module's name, and a name in it that may have dots."""

    module: str
    name: str

    @property
    def full(self) -> str:
        """The two as one dotted name."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes or text too long to be kept, and where they lie."""

    extent: Extent
    is_text: bool


@dataclass(slots=True, eq=False)
class Call:
    """A call, or an object built of a class, with the state and items that it is given later."""

    function: Any
    args: Any
    kwargs: Any = None
    state: Any = None


@dataclass(slots=True, eq=False)
class Many:
    """A container: its first elements, in a dict keys and values in turn, and how many there are."""

    kind: str
    items: list[Any] = field(default_factory=list[Any])
    count: int = 0

    def add(self, values: Iterable[Any]) -> None:
        """Add elements, of which the first are remembered."""
        values = list(values)
        self.count += len(values)
        if len(self.items) < KEPT:
            self.items += values[: KEPT - len(self.items)]

    def get(self, key: str) -> Any:
        """What a dict has under that key, or None."""
        return next(
            (value for name, value in zip(self.items[::2], self.items[1::2], strict=False) if name == key), None
        )


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a value."""

    target: Any
    name: str


@dataclass(frozen=True, slots=True)
class Persistent:
    """What the loader, and not the pickle, looks up: PyTorch's storages."""

    reference: Any


def elements(value: Any) -> list[Any] | None:
    """The elements of a tuple or list, where they are known."""
    if is_list(value):
        return value
    if isinstance(value, Many) and value.kind in ("tuple", "list") and value.count == len(value.items):
        return value.items
    return None


def written(value: Any) -> str:
    """The expression that makes `value`, cut where it is long."""
    room = [_MOST_PIECES]
    return "".join(_pieces(value, room, 0))


def _pieces(value: Any, room: list[int], depth: int) -> Iterator[str]:
    room[0] -= 1
    if room[0] < 0 or depth > _DEEPEST:
        yield "…"
    elif isinstance(value, Name):
        yield value.full
    elif isinstance(value, Call):
        yield from _pieces(value.function, room, depth + 1)
        arguments = elements(value.args)
        yield from _listed("(", [UNKNOWN] if arguments is None else arguments, ")", room, depth)
    elif isinstance(value, Attribute):
        yield from _pieces(value.target, room, depth + 1)
        yield f".{value.name}"
    elif isinstance(value, Many):
        yield from _many(value, room, depth)
    elif isinstance(value, Blob):
        yield f"<{value.extent.size:,} {'characters' if value.is_text else 'bytes'}>"
    elif isinstance(value, Persistent):
        yield from _listed("persistent_load(", [value.reference], ")", room, depth)
    elif isinstance(value, Unknown):
        yield "…"
    elif isinstance(value, str | bytes):
        yield repr(value[:_LONGEST_TEXT]) + "…" * (len(value) > _LONGEST_TEXT)
    elif isinstance(value, int) and value.bit_length() > 1000:
        yield f"<a number of {value.bit_length():,} bits>"
    else:
        yield repr(value)


_BRACKETS = {"list": "[]", "tuple": "()", "set": "{}", "frozenset": "{}"}


def _many(value: Many, room: list[int], depth: int) -> Iterator[str]:
    if value.kind != "dict":
        opening, closing = _BRACKETS[value.kind]
        closing = "," * (value.kind == "tuple" and value.count == 1) + closing
        yield from _listed(opening, value.items, closing, room, depth, more=value.count > len(value.items))
        return
    yield "{"
    for at, (key, held) in enumerate(zip(value.items[::2], value.items[1::2], strict=False)):
        yield ", " * bool(at)
        yield from _pieces(key, room, depth + 1)
        yield ": "
        yield from _pieces(held, room, depth + 1)
        if room[0] < 0:
            break
    yield ", …}" if value.count > len(value.items) else "}"


def _listed(
    opening: str, values: list[Any], closing: str, room: list[int], depth: int, *, more: bool = False
) -> Iterator[str]:
    yield opening
    for at, held in enumerate(values):
        yield ", " * bool(at)
        yield from _pieces(held, room, depth + 1)
        if room[0] < 0:
            break
    yield (", …" if more and room[0] >= 0 else "") + closing
