"""Writing a pickle: plain Python values, and calls of functions that are only named, in protocol 2 as PyTorch has it.

Only opcodes are used that `torch.load(weights_only=True)` accepts; they are those of the standard library's
`pickletools`. A value that is none of the known kinds is left out, and noted.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from statedict.opaque import Opaque, text

_MOST_BITS = 255 * 8 - 1
"""Of a whole number, with its sign: PyTorch reads no longer ones."""
_LONGEST_SHOWN = 60


class Global(NamedTuple):
    """A function or class by name."""

    module: str
    name: str


class Call(NamedTuple):
    """What a function gives for these arguments."""

    function: Global
    args: tuple[Any, ...]


class Made(NamedTuple):
    """An object of a class, made without its `__init__`, and then given a state."""

    kind: Global
    state: Any


class Reference(NamedTuple):
    """What the reader's `persistent_load` gives for `pid`."""

    pid: tuple[Any, ...]


class Items(NamedTuple):
    """A dict of these pairs, whose keys need not be what Python could look up."""

    pairs: list[tuple[Any, Any]]


_ORDERED_DICT = Global("collections", "OrderedDict")
_ENCODE = Global("_codecs", "encode")
_SET = Global("__builtin__", "set")  # Python 2's name, which is that of protocol 2
_BYTEARRAY = Global("__builtin__", "bytearray")
_COMPLEX = Global("__builtin__", "complex")


def integer(value: int) -> bytes:
    """The opcode of a whole number of at most 255 bytes."""
    if 0 <= value < 1 << 8:
        return b"K%c" % value
    if 0 <= value < 1 << 16:
        return b"M" + value.to_bytes(2, "little")
    if -1 << 31 <= value < 1 << 31:
        return b"J" + value.to_bytes(4, "little", signed=True)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a%c" % len(data) + data


def integers(values: Iterable[int]) -> bytes:
    """The opcodes of a tuple of whole numbers: a shape, a stride."""
    return tuple_of([integer(value) for value in values])


def tuple_of(encoded: list[bytes]) -> bytes:
    """The opcodes of a tuple, from those of its elements."""
    if not encoded:
        return b")"
    if len(encoded) <= 3:
        return b"".join(encoded) + b"\x85\x86\x87"[len(encoded) - 1 : len(encoded)]
    return b"(" + b"".join(encoded) + b"t"


class PickleWriter:
    """A pickle as it grows. Lists and dicts met twice are written once, and so is everything that is a `Global`.

    Subclasses write more kinds of values: `kinds` maps the exact type of a value to the method that does.
    """

    def __init__(self) -> None:
        self.parts: list[bytes] = [b"\x80\x02"]
        self.left_out: list[tuple[str, str]] = []
        """The place and the kind of each value that could not be written."""
        self._path: list[Any] = []
        self._texts: dict[str | Global, bytes] = {}
        self._met: dict[int, bytes] = {}
        self._kept: list[object] = []  # what was met is kept: no `id` recurs
        self._memo_size = 0

    def finished(self) -> bytes:
        """The whole pickle, of the one value that was saved."""
        return b"".join([*self.parts, b"."])

    def save(self, value: Any) -> None:
        """Write a value; None in its place if it cannot be."""
        write = self._writer(value)
        if write is None:
            self._leave_out(value)
            write = PickleWriter._none
        write(self, value)

    def put(self) -> bytes:
        """The opcode that remembers what was just written."""
        number = self._memo_size
        self._memo_size += 1
        return b"q%c" % number if number < 256 else b"r" + number.to_bytes(4, "little")

    def last(self) -> bytes:
        """The opcode that repeats what `put` remembered last."""
        number = self._memo_size - 1
        return b"h%c" % number if number < 256 else b"j" + number.to_bytes(4, "little")

    def ref(self, name: str | Global) -> bytes:
        """The opcodes of a text or a global: written in full the first time, repeated from memory afterwards."""
        found = self._texts.get(name)
        if found is not None:
            return found
        if isinstance(name, str):
            data = name.encode("utf-8", "surrogatepass")
            full = b"X" + len(data).to_bytes(4, "little") + data
        else:
            full = f"c{name.module}\n{name.name}\n".encode()
        full += self.put()
        self._texts[name] = self.last()
        return full

    def once(self, value: object) -> bool:
        """Whether a value is written now for the first time; else it was repeated. `remember` must follow."""
        found = self._met.get(id(value))
        if found is not None:
            self.parts.append(found)
        return found is None

    def remember(self, value: object) -> None:
        """Note that `value` was just written."""
        self.parts.append(self.put())
        self._met[id(value)] = self.last()
        self._kept.append(value)

    # Kinds of values

    def _writer(self, value: object) -> "Callable[[Any, Any], None] | None":
        found = self.kinds.get(type(value))
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            return None
        if found is None:
            found = next((self.kinds[base] for base in _BASES if isinstance(value, base)), None)
        return found

    def _leave_out(self, value: Any) -> None:
        kind = value.name if isinstance(value, Opaque) else type(value).__name__
        where = ".".join(key if isinstance(key, str) else text(key, _LONGEST_SHOWN) for key in self._path)
        self.left_out.append((where, kind))

    def _none(self, _value: object) -> None:
        self.parts.append(b"N")

    def _bool(self, value: bool) -> None:
        self.parts.append(b"\x88" if value else b"\x89")

    def _int(self, value: int) -> None:
        self.parts.append(integer(value))

    def _float(self, value: float) -> None:
        self.parts.append(b"G" + struct.pack(">d", value))

    def _complex(self, value: complex) -> None:
        self._call(Call(_COMPLEX, (value.real, value.imag)))

    def _text(self, value: str | Global) -> None:
        self.parts.append(self.ref(value))

    def _bytes(self, value: bytes) -> None:
        self._call(Call(_ENCODE, (bytes(value).decode("latin1"), "latin1")))

    def _bytearray(self, value: bytearray) -> None:
        self._call(Call(_BYTEARRAY, (bytes(value),)))

    def _set(self, value: set[Any]) -> None:
        self._call(Call(_SET, (sorted(value, key=repr),)))  # in an order that does not change from run to run

    def _tuple(self, value: tuple[Any, ...]) -> None:
        if len(value) > 3:
            self.parts.append(b"(")
        self._elements(value)
        self.parts.append(b"t" if len(value) > 3 else b")\x85\x86\x87"[len(value) : len(value) + 1])

    def _list(self, value: list[Any]) -> None:
        if self.once(value):
            self.parts.append(b"]")
            self.remember(value)
            if value:
                self.parts.append(b"(")
                self._elements(value)
                self.parts.append(b"e")

    def _elements(self, values: Iterable[Any]) -> None:
        for position, value in enumerate(values):
            self._path.append(position)
            self.save(value)
            self._path.pop()

    def _dict(self, value: dict[Any, Any]) -> None:
        if self.once(value):
            self.parts.append(b"}")
            self.remember(value)
            self._items(value.items())

    def _dict_of_pairs(self, value: Items) -> None:
        self.parts.append(b"}")
        self._items(value.pairs)

    def _ordered_dict(self, value: "OrderedDict[Any, Any]") -> None:
        if self.once(value):
            self.parts += self.ref(_ORDERED_DICT), b")R"
            self.remember(value)
            self._items(value.items())
            if state := vars(value):
                self._dict(state)
                self.parts.append(b"b")

    def _items(self, items: Collection[tuple[Any, Any]]) -> None:
        if not items:
            return
        self.parts.append(b"(")
        for key, held in items:
            self._path.append(key)
            write_key, write_held = self._writer(key), self._writer(held)
            if write_key is None or write_held is None:
                self._leave_out(key if write_key is None else held)
            else:
                write_key(self, key)
                write_held(self, held)
            self._path.pop()
        self.parts.append(b"u")

    def _call(self, value: Call) -> None:
        self._text(value.function)
        self._tuple(value.args)
        self.parts.append(b"R")

    def _made(self, value: Made) -> None:
        self._text(value.kind)
        self.parts.append(b")\x81")
        self.save(value.state)
        self.parts.append(b"b")

    def _reference(self, value: Reference) -> None:
        self._tuple(value.pid)
        self.parts.append(b"Q")

    kinds: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        type(None): _none,
        bool: _bool,
        int: _int,
        float: _float,
        complex: _complex,
        str: _text,
        bytes: _bytes,
        bytearray: _bytearray,
        set: _set,
        tuple: _tuple,
        list: _list,
        dict: _dict,
        OrderedDict: _ordered_dict,
        Items: _dict_of_pairs,
        Global: _text,
        Call: _call,
        Made: _made,
        Reference: _reference,
    }


_BASES: tuple[type, ...] = (int, float, complex, str, bytes, bytearray, set, tuple, list, OrderedDict, dict)
"""A value of a class of someone's own is written as the one of these that it is."""
