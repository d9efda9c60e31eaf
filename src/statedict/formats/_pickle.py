"""Reading a pickle without running it: what it names becomes an inert description, never the thing itself.

Python's own unpickler does the work, because nothing in Python is faster, under two guards: `find_class` answers every
name with a class made here that only records what is done to it, and the opcodes are walked beforehand, so that a
pickle can neither run on behind its end nor make the unpickler allocate for a memo that it does not have. The few that
look up what they are given (in a dict, in a set) are replaced by calls: looking up tuples of tuples of tuples can take
for ever, or end the process. The opcodes are those of the standard library's `pickletools`.
"""

import _compat_pickle
import io
import pickle
import re
from collections.abc import Callable, Mapping
from typing import Any

from statedict import accelerator
from statedict.errors import FormatError, LimitError
from statedict.formats._inert import (
    PickledDict,
    SafeDict,
    Stub,
    budget,
    budget_ends,
    constructor,
    is_class,
    looked_up,
    spend,
)
from statedict.limits import Limits
from statedict.narrow import is_container, is_dict, is_tuple
from statedict.source import Source

# Runs of opcodes whose length the opcode alone tells, and of short texts, one way for each length: a regular expression
# cannot count. The most frequent come first. LONG_BINPUT only below 2**20: larger indices are looked at.
_TEXTS = b"|".join(b"%b\0\0\0.{%d}" % (re.escape(bytes([size])), size) for size in range(64))
_PLAIN = re.compile(
    rb"(?:r.{2}[\x00-\x0f]\x00|[()012\]abdelostuNQR\x81\x85-\x89\x8f\x92-\x94\x97\x98]|[Khq\x80].|[jJ].{4}|"
    rb"X(?:" + _TEXTS + rb")|M.{2}|G.{8})*+",
    re.DOTALL,
)
_LINES = {b: count for count, ops in ((1, b"SVILFPgp"), (2, b"ci")) for b in ops}
_COUNTED = {b: width for width, ops in ((1, b"UC\x8c\x8a"), (4, b"TBX\x8b"), (8, b"\x8d\x8e\x96")) for b in ops}
_FIXED = {b: n for n, ops in ((1, b"}\x90\x91"), (2, b"Khq\x80"), (3, b"M"), (5, b"Jjr"), (9, b"G\x95")) for b in ops}
_STOP, _LONG_BINPUT, _PUT, _FRAME = b".rp\x95"
_EXTENSIONS = b"\x82\x83\x84"
_REPLACED = {
    ord("}"): b"cstatedict\ndict\n)R",
    0x90: b"t\x86cstatedict\nadditems\n\x86Q",
    0x91: b"tcstatedict\nfrozenset\n\x86Q",
    _FRAME: b"",
}
"""What stands for EMPTY_DICT, ADDITEMS and FROZENSET: the last two give what they take to `persistent_load`.

For FRAME stands nothing: its length would not be that of what it holds any more, and opcodes must not go beyond it.
"""
_SETS = (b"statedict\nadditems\n", b"statedict\nfrozenset\n")
_LONGEST_LINE = 1 << 20
_SMALL_MEMO = 1 << 10


class _Short(Exception):  # noqa: N818 - a signal, not an error
    """More bytes are needed to go on from `position`."""

    def __init__(self, position: int) -> None:
        self.position = position


def scan(data: bytes, position: int, where: str, most: int, replaced: list[tuple[int, int]]) -> int:
    """The end of the pickle in `data` that has been walked up to `position`; `_Short` where its bytes do not suffice.

    Adds to `replaced` where opcodes begin and end that `_REPLACED` has. `most` bounds the length of a frame. Raises
    FormatError at what is no opcode, LimitError at a frame longer than `most` and at a memo index beyond the bytes
    before it, of which no honest pickle has any.
    """
    plain, size = _PLAIN.match, len(data)
    while True:
        match = plain(data, position)
        position = match.end() if match else position
        if position >= size:
            raise _Short(position)
        opcode = data[position]
        if (fixed := _FIXED.get(opcode)) is not None:
            end = position + fixed
        elif (width := _COUNTED.get(opcode)) is not None:
            end = position + 1 + width
            if end <= size:
                end += int.from_bytes(data[position + 1 : end], "little")
        elif opcode == _STOP:
            return position + 1
        elif (lines := _LINES.get(opcode)) is not None:
            end = _after_lines(data, position, lines, where)
        else:
            raise _no_opcode(opcode, position, where)
        if end > size:
            raise _Short(position)
        if opcode in (_LONG_BINPUT, _PUT) and _memo_index(data[position:end]) > max(position, _SMALL_MEMO):
            raise LimitError(f"{where}: byte {position:,} of a pickle asks for a larger memo than it can have filled")
        if opcode == _FRAME and int.from_bytes(data[position + 1 : end], "little") > most:
            raise LimitError(f"{where}: byte {position:,} of a pickle asks for a longer frame than the file has bytes")
        if opcode in _REPLACED:
            replaced.append((position, end))
        position = end


def _no_opcode(opcode: int, position: int, where: str) -> FormatError:
    if opcode in _EXTENSIONS:  # copyreg's registry may hold real classes: nothing is ever looked up there
        return FormatError(
            f"{where}: byte {position:,} of a pickle names a class by a number that only the program that saved it "
            "knows; save it again without `copyreg.add_extension`"
        )
    return FormatError(f"{where}: byte {position:,} of a pickle is no opcode ({opcode:#04x}); the file is damaged")


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


def read_pickle(
    source: Source, offset: int, limits: Limits, piece: int = 1 << 16, where: str = ""
) -> tuple[bytes, int]:
    """The pickle at `offset`, made safe for `load`, and where it ends: read until its STOP, `piece` bytes, then more.

    Raises FormatError where the source ends before the pickle does, LimitError over `limits.header_bytes`.
    """
    where = where or source.name
    data, position = b"", 0
    replaced: list[tuple[int, int]] = []
    while True:
        end = offset + len(data)
        take = min(piece, source.size - end, limits.header_bytes - len(data))
        data += source.read_at(end, take)
        try:
            stop = scan(data, position, where, source.size, replaced)
        except _Short as short:
            if offset + len(data) >= source.size:
                raise FormatError(
                    f"{where}: ends within a pickle, at byte {source.size:,}; it is truncated or still being written"
                ) from None
            if len(data) >= limits.header_bytes:
                raise LimitError(
                    f"{where}: a pickle of more than {limits.header_bytes:,} bytes; "
                    "raise `Limits.header_bytes` if you trust it"
                ) from None
            position = short.position
            piece = max(piece, len(data))
            continue
        return _with_replaced(data, stop, replaced), offset + stop


def _with_replaced(data: bytes, stop: int, replaced: list[tuple[int, int]]) -> bytes:
    """The pickle that ends at `stop`, with what stands for the opcodes that are to be replaced, if more than frames."""
    if all(data[position] == _FRAME for position, _ in replaced):
        return data[:stop]
    view = memoryview(data)
    pieces: list[bytes | memoryview] = []
    last = 0
    for position, end in replaced:
        pieces += view[last:position], _REPLACED[data[position]]
        last = end
    return b"".join([*pieces, view[last:stop]])


def _ordered_dict(items: Any = ()) -> PickledDict:
    made = PickledDict()
    if items:
        spend(len(items))
        for key, value in items.items() if is_dict(items) else items:
            made[key] = value
    return made


def _default_dict(_factory: Any = None, items: Any = ()) -> PickledDict:
    return _ordered_dict(items)


def _bytes_of(text: str | bytes = b"", encoding: str = "latin1") -> bytes:
    if isinstance(text, bytes):
        return text
    spend(len(text))
    return text.encode({"latin1": "latin1", "latin-1": "latin1", "ascii": "ascii"}.get(encoding, "utf-8"))


def _bytearray_of(text: str | bytes = b"", encoding: str = "latin1") -> bytearray:
    spend(len(text))
    return bytearray(_bytes_of(text, encoding))


def _checked(kind: type, *accepted: type) -> Callable[..., Any]:
    """`kind(argument)`, only for what copies what the pickle already holds (`bytearray(10**12)` does not)."""

    def make(*args: Any) -> Any:
        if len(args) > 2 or not all(type(argument) in accepted for argument in args):
            raise TypeError
        spend(sum(len(argument) for argument in args if is_container(argument)))
        return kind(*args)

    return make


def _dict(items: Any = ()) -> SafeDict:
    return SafeDict(_ordered_dict(items))


def _set(items: Any = ()) -> set[Any]:
    if not is_container(items):
        raise TypeError("not what a set is pickled as")
    spend(len(items))
    return {looked_up(item) for item in items}


def _frozenset(items: Any = ()) -> frozenset[Any]:
    return frozenset(_set(items))


def _add_items(target: Any, items: tuple[Any, ...]) -> Any:
    for item in items:
        target.add(looked_up(item))
    return target


def _with_sets(persistent: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`persistent`, and what stands for opcodes that fill sets; PyTorch's own references have five parts."""

    def load_persistent(pid: Any) -> Any:
        if is_tuple(pid) and len(pid) == 2 and is_class(pid[1]):
            if pid[1].full_name == "statedict.frozenset":
                return _frozenset(pid[0])
            if pid[1].full_name == "statedict.additems":
                return _add_items(*pid[0])
        return persistent(pid)

    return load_persistent


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
    "builtins.bytearray": _bytearray_of,
    "builtins.dict": _dict,
    "statedict.dict": lambda: SafeDict(),  # noqa: PLW0108 - without arguments
    "builtins.list": _checked(list, list, tuple),
    "builtins.tuple": _checked(tuple, list, tuple),
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
    "builtins.complex": _checked(complex, int, float),
}
_OLD_NAMES = _compat_pickle.NAME_MAPPING
_OLD_MODULES = _compat_pickle.IMPORT_MAPPING
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
        self.persistent_load = _with_sets(persistent) if any(name in data for name in _SETS) else persistent
        self._classes: dict[tuple[str, str], type] = {}
        self._where = where
        self._old_names = data[:1] != b"\x80" or data[1:2] < b"\x03"  # then Python 2's names stand for Python 3's

    def find_class(self, module_name: str, global_name: str) -> Any:
        found = self._classes.get((module_name, global_name))  # asked for once for each dict: nothing before this
        if found is None:
            if len(self._classes) >= _MOST_CLASSES:
                raise LimitError(f"{self._where}: a pickle names more than {_MOST_CLASSES:,} classes")
            found = self._classes[module_name, global_name] = self._class(module_name, global_name)
        return found

    def _class(self, module_name: str, global_name: str) -> type:
        if self._old_names:
            module_name, global_name = _OLD_NAMES.get((module_name, global_name), (module_name, global_name))
            module_name = _OLD_MODULES.get(module_name, module_name)
        full_name = f"{module_name}.{global_name}"
        make = self._known.get(full_name) or BUILTINS.get(full_name)
        if make is None:
            return type("Stub", (Stub,), {"__slots__": (), "full_name": full_name})
        return constructor(full_name, make)


def load(data: bytes, where: str, known: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any]) -> Any:
    """The object graph of a scanned pickle, with descriptions for everything that is no plain Python value.

    Raises FormatError, naming `where`, when the pickle contradicts itself.
    """
    begun = budget(where, len(data))
    try:
        return Unpickler(data, known, persistent, where).load()
    except FormatError:
        raise
    except MemoryError:
        raise LimitError(f"{where}: its pickle asks for more memory than there is") from None
    except Exception as error:
        raise FormatError(f"{where}: its pickle is damaged: {_first_line(error)}") from error
    finally:
        budget_ends(begun)


_KINDS = (Stub, SafeDict, PickledDict, _ordered_dict)


def load_at_once(
    data: bytes,
    where: str,
    known: Mapping[str, Callable[..., Any]],
    persistent: Callable[[Any], Any],
    torch: tuple[Any, ...] | None = None,
) -> tuple[Any] | None:
    """What `load` makes of a pickle, in a tuple, in a third of the time, and no need to scan it before.

    `torch` is what the C code has to know of PyTorch's storages and tensors to make them by itself. None of a pickle
    with anything unusual in it, or wrong, and where there is no C code: then `load` is to be asked.
    """
    if (library := accelerator.headers()) is None:
        return None
    begun = budget(where, len(data))
    find_class = Unpickler(data[:2], known, persistent, where).find_class
    try:
        return library.unpickled(data, find_class, persistent, _KINDS, torch)
    finally:
        budget_ends(begun)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
