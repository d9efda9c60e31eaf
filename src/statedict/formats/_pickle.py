"""Reading a pickle without running it: what it names becomes an inert description, never the thing itself.

Python's own unpickler does the work, because nothing in Python is faster, under two guards: `find_class` answers every
name with a class made here that only records what is done to it, and the opcodes are walked beforehand, so that a
pickle can neither run on behind its end nor make the unpickler allocate for a memo that it does not have. The opcodes
are those of the standard library's `pickletools`.
"""

import io
import pickle
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from statedict.narrow import is_dict
from statedict.opaque import Opaque
from statedict.source import Source

# Runs of opcodes whose length the opcode alone tells. LONG_BINPUT only below 2**20: larger indices are looked at.
_PLAIN = re.compile(
    rb"(?:[()012}\]abdelostuNQR\x81\x85-\x89\x8f-\x94\x97\x98]|[Khq\x80\x82].|[M\x83].{2}|[Jj\x84].{4}|r.{2}[\x00-\x0f]\x00"
    rb"|[G\x95].{8})*",
    re.DOTALL,
)
_LINES = {b: count for count, ops in ((1, b"SVILFPgp"), (2, b"ci")) for b in ops}
_COUNTED = {b: width for width, ops in ((1, b"UC\x8c\x8a"), (4, b"TBX\x8b"), (8, b"\x8d\x8e\x96")) for b in ops}
_FIXED = {b: size for size, ops in ((2, b"Khq\x80\x82"), (3, b"M\x83"), (5, b"Jjr\x84"), (9, b"G\x95")) for b in ops}
_STOP, _LONG_BINPUT, _PUT = b".rp"
_LONGEST_LINE = 1 << 20


class _Short(Exception):  # noqa: N818 - a signal, not an error
    """More bytes are needed to go on from `position`."""

    def __init__(self, position: int) -> None:
        self.position = position


def scan(data: bytes, position: int, where: str, most: int) -> int:
    """The end of the pickle in `data` that has been walked up to `position`; `_Short` where its bytes do not suffice.

    `most` bounds the memo's indices: no honest pickle has more entries than bytes. Raises FormatError at what is no
    opcode, LimitError at a memo index over `most`.
    """
    plain, size = _PLAIN.match, len(data)
    while True:
        match = plain(data, position)
        position = match.end() if match else position
        if position >= size:
            raise _Short(position)
        opcode = data[position]
        if (width := _COUNTED.get(opcode)) is not None:
            end = position + 1 + width
            if end <= size:
                end += int.from_bytes(data[position + 1 : end], "little")
        elif opcode == _STOP:
            return position + 1
        elif (lines := _LINES.get(opcode)) is not None:
            end = _after_lines(data, position, lines, where)
        elif (fixed := _FIXED.get(opcode)) is not None:
            end = position + fixed
        else:
            raise FormatError(
                f"{where}: byte {position:,} of a pickle is no opcode ({opcode:#04x}); the file is damaged"
            )
        if end > size:
            raise _Short(position)
        if opcode in (_LONG_BINPUT, _PUT) and _memo_index(data[position:end]) > most:
            raise LimitError(f"{where}: byte {position:,} of a pickle asks for a larger memo than the file has bytes")
        position = end


def _after_lines(data: bytes, position: int, lines: int, where: str) -> int:
    end = position
    for _ in range(lines):
        newline = data.find(b"\n", end, end + _LONGEST_LINE)
        if newline < 0:
            if len(data) - end > _LONGEST_LINE:
                raise FormatError(f"{where}: byte {end:,} of a pickle begins a line without end; the file is damaged")
            raise _Short(position)
        end = newline + 1
    return end


def _memo_index(operation: bytes) -> int:
    if operation[0] == _LONG_BINPUT:
        return int.from_bytes(operation[1:], "little")
    digits = operation[1:].strip()
    return int(digits) if digits.isdigit() and len(digits) < 20 else 1 << 64


def read_pickle(source: Source, offset: int, limits: Limits, piece: int = 1 << 16) -> tuple[bytes, int]:
    """The bytes of the pickle at `offset` and where it ends: reads on until its STOP, first `piece` bytes, then more.

    Raises FormatError where the source ends before the pickle does, LimitError over `limits.header_bytes`.
    """
    data, position = b"", 0
    while True:
        end = offset + len(data)
        take = min(piece, source.size - end)
        data += source.read_at(end, take)
        try:
            stop = scan(data, position, source.name, source.size)
        except _Short as short:
            if take == 0:
                raise FormatError(
                    f"{source.name}: ends within a pickle, at byte {source.size:,}; "
                    "it is truncated or still being written"
                ) from None
            if len(data) >= limits.header_bytes:
                raise LimitError(
                    f"{source.name}: a pickle of more than {limits.header_bytes:,} bytes; "
                    "raise `Limits.header_bytes` if you trust it"
                ) from None
            position = short.position
            piece = max(piece, len(data))
            continue
        return data[:stop], offset + stop


class Stub(Opaque):
    """The base of what `find_class` returns: a class that can be called and filled, and only records what it gets."""

    __slots__ = ()
    full_name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = object.__new__(cls)
        Opaque.__init__(made, cls.full_name, args, kwargs)
        return made

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing: `__new__` has done it, as it must for a pickle that never calls `__init__`."""

    def __setstate__(self, *state: Any) -> None:
        if state:  # else it is the class that was given a state, which is of no effect
            self.state = state[0]

    def append(self, item: Any) -> None:
        if not isinstance(self.items, list):
            self.items = []
        self.items.append(item)

    add = append

    def extend(self, items: list[Any]) -> None:
        for item in items:
            self.append(item)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(self.items, dict):
            self.items = {}
        self.items[key] = value


def is_class(value: object) -> TypeGuard[type[Stub]]:
    """Whether `value` stands for a class or function that a pickle names."""
    return isinstance(value, type) and issubclass(value, Stub)


class PickledDict(dict[Any, Any]):
    """A dict subclass that a pickle named (`OrderedDict`, `defaultdict`, `Counter`), with the attributes it got."""

    __slots__ = ("attributes",)

    def __setstate__(self, *state: Any) -> None:
        if state and is_dict(state[0]):  # else it is the class that was given a state
            self.attributes = state[0]


def constructor(full_name: str, make: Callable[..., Any]) -> type:
    """A class of that name whose instantiation is `make(*arguments)`: what a pickle may call."""

    def new(_cls: type, *args: Any, **kwargs: Any) -> Any:
        try:
            return make(*args, **kwargs)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError):
            return Opaque(full_name, args, kwargs)  # not the arguments that this function takes: say what was asked

    return type("Stub", (Stub,), {"__slots__": (), "__new__": new, "full_name": full_name})


def _ordered_dict(items: Any = ()) -> PickledDict:
    return PickledDict(items)


def _default_dict(_factory: Any = None, items: Any = ()) -> PickledDict:
    return PickledDict(items)


def _bytes_of(text: str | bytes = b"", encoding: str = "latin1") -> bytes:
    if isinstance(text, bytes):
        return text
    return text.encode({"latin1": "latin1", "latin-1": "latin1", "ascii": "ascii"}.get(encoding, "utf-8"))


def _checked(kind: type, *accepted: type) -> Callable[..., Any]:
    """`kind(argument)`, only for what costs no more memory than the pickle already took (`bytearray(10**12)` does)."""

    def make(*args: Any) -> Any:
        if len(args) > 2 or not all(type(argument) in accepted for argument in args):
            raise TypeError
        return kind(*args)

    return make


def _reconstructor(cls: Any, _base: Any, state: Any) -> Any:
    made = cls.__new__(cls)
    if state is not None:
        made.items = state
    return made


BUILTINS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "collections.Counter": _ordered_dict,
    "copyreg._reconstructor": _reconstructor,
    "_codecs.encode": _bytes_of,
    "builtins.bytes": _bytes_of,
    "builtins.bytearray": _bytes_of,
    "builtins.dict": _checked(dict, list, tuple, dict),
    "builtins.list": _checked(list, list, tuple),
    "builtins.tuple": _checked(tuple, list, tuple),
    "builtins.set": _checked(set, list, tuple),
    "builtins.frozenset": _checked(frozenset, list, tuple),
    "builtins.complex": _checked(complex, int, float),
}
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "exceptions": "builtins"}
_MOST_CLASSES = 10_000


class Unpickler(pickle.Unpickler):
    """Python's unpickler over `data`, whose names are looked up in `known` and else become `Stub` classes.

    `known` maps full names to the functions that are called in their place.
    """

    def __init__(
        self, data: bytes, known: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any], where: str
    ) -> None:
        # A buffered reader is read by peeking, eight times as fast as asking BytesIO for each argument.
        buffered = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]
        # Python 2 wrote bytes as text: surrogates let them be turned back.
        super().__init__(buffered, encoding="utf-8", errors="surrogateescape", buffers=())
        self._known = known
        self._persistent = persistent
        self._classes: dict[str, type] = {}
        self._where = where

    def find_class(self, module_name: str, global_name: str) -> Any:
        module = _OLD_MODULES.get(module_name, module_name)
        full_name = f"{module}.{global_name}"
        if (found := self._classes.get(full_name)) is None:
            if len(self._classes) >= _MOST_CLASSES:
                raise LimitError(f"{self._where}: a pickle names more than {_MOST_CLASSES:,} classes")
            make = self._known.get(full_name) or BUILTINS.get(full_name)
            if make is None:
                found = type("Stub", (Stub,), {"__slots__": (), "full_name": full_name})
            else:
                found = constructor(full_name, make)
            self._classes[full_name] = found
        return found

    def persistent_load(self, pid: Any) -> Any:
        return self._persistent(pid)


def load(data: bytes, where: str, known: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any]) -> Any:
    """The object graph of a scanned pickle, with descriptions for everything that is no plain Python value.

    Raises FormatError, naming `where`, when the pickle contradicts itself.
    """
    try:
        return Unpickler(data, known, persistent, where).load()
    except FormatError:
        raise
    except MemoryError:
        raise LimitError(f"{where}: its pickle asks for more memory than there is") from None
    except Exception as error:
        raise FormatError(f"{where}: its pickle is damaged: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
