"""The pickle machine, run on descriptions: every import, call and change that loading would do, in order.

It never fails where Python's would: what is missing from the stack is `UNKNOWN`, so that nothing hides behind an
operation that one reader refuses and another takes.
"""

from collections.abc import Callable
from typing import Any

from statedict.ops.check.code.act import Verdict
from statedict.ops.check.code.expressions import UNKNOWN, Call, Many, Name, Persistent, Unknown
from statedict.ops.check.code.opcodes import FRAME, Operation
from statedict.ops.check.code.watching import Watcher

_MARK = object()


class Overlay(dict[Any, Any]):
    """What a memo would become, were it gone on with, and the memo as it is below it."""

    def __init__(self, below: dict[Any, Any]) -> None:
        super().__init__()
        self._below = below
        self._count = len(below)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._count += key not in self and key not in self._below
        super().__setitem__(key, value)

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key, default) if key in self else self._below.get(key, default)

    def __len__(self) -> int:
        return self._count


class Machine:
    """The stack and the memo of one pickle; what it would do is told to `watcher`."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.stack: list[Any] = []
        self.memo: dict[Any, Any] = {}
        self._frame_end = 0

    def do(self, operation: Operation) -> None:
        """Do one operation."""
        code, value, at, end = operation
        if code == FRAME or at < self._frame_end:
            self._framed(code, value, at, end)
        if code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code])
        elif code in _VALUES:
            self.stack.append(value)
        elif (done := _DONE.get(code)) is not None:
            done(self, value, at)

    def _framed(self, code: int, value: Any, at: int, end: int) -> None:
        """See that frames hold whole operations: where they do not, readers differ in what follows."""
        if code == FRAME:
            if at < self._frame_end:
                self._odd(at)
            self._frame_end = end + value
        elif at < self._frame_end < end:
            self._odd(at)
            self._frame_end = 0

    def _odd(self, at: int) -> None:
        reason = "its frames end within an operation, which readers of pickles take differently"
        self._watcher.tell(Verdict("dangerous", reason), "", at, "FRAME")

    # The stack

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            return UNKNOWN
        return self.stack.pop()

    def _top(self) -> Any:
        return self.stack[-1] if self.stack and self.stack[-1] is not _MARK else UNKNOWN

    def _to_mark(self) -> list[Any]:
        """What stands above the last mark, which is taken away with it."""
        stack = self.stack
        for at in range(len(stack) - 1, -1, -1):
            if stack[at] is _MARK:
                values = stack[at + 1 :]
                del stack[at:]
                return values
        values = stack[:]
        stack.clear()
        return values

    def mark(self, _value: Any, _at: int) -> None:
        self.stack.append(_MARK)

    def pop(self, _value: Any, _at: int) -> None:
        if self.stack:
            self.stack.pop()

    def pop_mark(self, _value: Any, _at: int) -> None:
        self._to_mark()

    def duplicate(self, _value: Any, _at: int) -> None:
        self.stack.append(self._top())

    # The memo

    def put(self, key: Any, _at: int) -> None:
        self.memo[key if isinstance(key, int) else None] = self._top()

    def memoize(self, _value: Any, _at: int) -> None:
        self.memo[len(self.memo)] = self._top()

    def get(self, key: Any, _at: int) -> None:
        self.stack.append(self.memo.get(key if isinstance(key, int) else None, UNKNOWN))

    # Containers

    def _push(self, kind: str, values: list[Any]) -> None:
        made = Many(kind)
        made.add(values)
        self.stack.append(made)

    def tuple_of(self, _value: Any, _at: int) -> None:
        self._push("tuple", self._to_mark())

    def tuple_1(self, _value: Any, _at: int) -> None:
        self._push("tuple", [self._pop()])

    def tuple_2(self, _value: Any, _at: int) -> None:
        self._push("tuple", [self._pop(), self._pop()][::-1])

    def tuple_3(self, _value: Any, _at: int) -> None:
        self._push("tuple", [self._pop(), self._pop(), self._pop()][::-1])

    def empty_tuple(self, _value: Any, _at: int) -> None:
        self._push("tuple", [])

    def empty_list(self, _value: Any, _at: int) -> None:
        self._push("list", [])

    def empty_dict(self, _value: Any, _at: int) -> None:
        self._push("dict", [])

    def empty_set(self, _value: Any, _at: int) -> None:
        self._push("set", [])

    def list_of(self, _value: Any, _at: int) -> None:
        self._push("list", self._to_mark())

    def dict_of(self, _value: Any, _at: int) -> None:
        self._push("dict", self._to_mark())

    def frozenset_of(self, _value: Any, _at: int) -> None:
        self._push("frozenset", self._to_mark())

    def add_one(self, _value: Any, at: int) -> None:
        self._add([self._pop()], at)

    def add_pair(self, _value: Any, at: int) -> None:
        value = self._pop()
        self._add([self._pop(), value], at)

    def add_all(self, _value: Any, at: int) -> None:
        self._add(self._to_mark(), at)

    def _add(self, values: list[Any], at: int) -> None:
        target = self._top()
        if isinstance(target, Many):
            target.add(values)
        elif isinstance(target, Name):
            self._watcher.changed(target, values, at)

    # What it would do

    def imported(self, value: Any, at: int) -> None:
        self.stack.append(self._watcher.imported(_named(value), at))

    def imported_from_stack(self, _value: Any, at: int) -> None:
        name, module = self._pop(), self._pop()
        if isinstance(name, str) and isinstance(module, str):
            self.stack.append(self._watcher.imported(Name(module, name), at))
        else:
            self.stack.append(self._watcher.computed_import(module, name, at))

    def extension(self, value: Any, at: int) -> None:
        self.stack.append(self._watcher.imported(Name("copyreg", f"extension_{value}"), at))

    def reduced(self, _value: Any, at: int) -> None:
        args = self._pop()
        self._call(self._pop(), args, None, at)

    def instance(self, value: Any, at: int) -> None:
        function = self._watcher.imported(_named(value), at)
        self._call(function, self._to_mark(), None, at)

    def instance_of(self, _value: Any, at: int) -> None:
        values = self._to_mark()
        self._call(values[0] if values else UNKNOWN, values[1:], None, at)

    def new_object_ex(self, _value: Any, at: int) -> None:
        kwargs, args = self._pop(), self._pop()
        self._call(self._pop(), args, kwargs, at)

    def _call(self, function: Any, args: Any, kwargs: Any, at: int) -> None:
        self.stack.append(self._watcher.called(Call(function, args, kwargs), at))

    def built(self, _value: Any, at: int) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Call):
            target.state = state
            self._watcher.filled(target, at)
        elif isinstance(target, Name | Unknown):
            self._watcher.changed(target, [state], at)

    def persistent(self, value: Any, _at: int) -> None:
        self.stack.append(Persistent(value))

    def persistent_from_stack(self, _value: Any, _at: int) -> None:
        self.stack.append(Persistent(self._pop()))


def _named(value: Any) -> Name:
    """The two lines of GLOBAL, of which some writers end with more than a newline."""
    module, name = value
    return Name(module.strip(), name.strip())


_CONSTANTS: dict[int, Any] = {ord("N"): None, 0x88: True, 0x89: False, 0x97: UNKNOWN}
_VALUES = frozenset(b"SVILFJKMGUCTBX\x8a\x8b\x8c\x8d\x8e\x96")
_DONE: dict[int, Callable[[Machine, Any, int], None]] = {
    ord("("): Machine.mark,
    ord("0"): Machine.pop,
    ord("1"): Machine.pop_mark,
    ord("2"): Machine.duplicate,
    **dict.fromkeys(b"pqr", Machine.put),
    0x94: Machine.memoize,
    **dict.fromkeys(b"ghj", Machine.get),
    ord("t"): Machine.tuple_of,
    0x85: Machine.tuple_1,
    0x86: Machine.tuple_2,
    0x87: Machine.tuple_3,
    ord(")"): Machine.empty_tuple,
    ord("]"): Machine.empty_list,
    ord("}"): Machine.empty_dict,
    0x8F: Machine.empty_set,
    ord("l"): Machine.list_of,
    ord("d"): Machine.dict_of,
    0x91: Machine.frozenset_of,
    ord("a"): Machine.add_one,
    ord("s"): Machine.add_pair,
    **dict.fromkeys(b"eu\x90", Machine.add_all),
    ord("c"): Machine.imported,
    0x93: Machine.imported_from_stack,
    **dict.fromkeys(b"\x82\x83\x84", Machine.extension),
    ord("R"): Machine.reduced,
    0x81: Machine.reduced,
    ord("i"): Machine.instance,
    ord("o"): Machine.instance_of,
    0x92: Machine.new_object_ex,
    ord("b"): Machine.built,
    ord("P"): Machine.persistent,
    ord("Q"): Machine.persistent_from_stack,
}
