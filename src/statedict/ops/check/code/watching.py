"""Who watches a pickle: grades what it imports, calls and changes, and remembers what is not known to be safe."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from statedict.composed import PartSource
from statedict.index import shown
from statedict.ops.check.code.act import Act, Grade, Verdict
from statedict.ops.check.code.expressions import UNKNOWN, Attribute, Blob, Call, Many, Name, elements, written
from statedict.ops.check.code.names import verdict
from statedict.source import BytesSource, Source

_MOST_ACTS = 1_000
"""Different things of one grade that are told apart; what comes after is counted with the last of that grade."""
_MOST_WRITTEN = 5_000
"""Expressions that are written out, to see whether they differ."""
_LONGEST_NAME = 1_000
"""Letters of a name, of which it is plain that nothing is called so: attributes of it are not told apart."""
_MOST_LOOKED_INTO = 10_000
_COMPUTED = Verdict("dangerous", "imports what it computes, so that nobody can tell what")
_CHANGED = Verdict("dangerous", "changes an imported object itself, for the whole program")
_INDIRECT = Verdict("unknown", "calls what another call returned")
_ATTRIBUTE = Verdict("unknown", "takes an attribute of an object that it made")
_TAKE_BYTES = frozenset({"_codecs.encode", "builtins.bytes", "builtins.bytearray", "__builtin__.bytearray"})
"""What makes bytes of the first of what it is given, a text or bytes."""
_LONGEST_TEXT = 1 << 28
_CLASSES = frozenset({"builtins.type", "__builtin__.type"})


class Watcher:
    """What one pickle would do. `acts` holds what is not safe, in order; `nested` what it hands to other readers."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.nested: list[tuple[Source, int]] = []
        """Bytes that the pickle has read as a file of its own, and where that is asked for."""
        self.imports = 0
        """How often something is imported."""
        self.names: set[Name] = set()
        """What is imported: the first names of many."""
        self.calls = 0
        self.arrays: list[Call] = []
        """joblib's descriptions of arrays whose bytes stand in the midst of the pickle, until the scan has met them."""
        self._nested: dict[int, Any] = {}
        self._told: dict[tuple[str, str], Act] = {}
        self._last: dict[Grade, tuple[str, str]] = {}
        """The key of the last act that was told apart of each grade."""
        self._counted: Counter[Grade] = Counter()
        """Acts that were told apart, by grade."""
        self._written = 0
        self._graded: Counter[Grade] = Counter()
        """Names that were remembered, by grade."""
        self._imported: dict[str, tuple[Name, Verdict, int]] = {}

    @property
    def is_told(self) -> bool:
        """Whether anything was remembered beside imports."""
        return bool(self._told)

    def acts(self) -> list[Act]:
        """What is not known to be safe: calls first, then what is only imported."""
        called = list(self._told.values())
        for name, thought, at in self._imported.values():
            called.append(Act(thought.grade, self.where, _plain(name), thought.reason, at))
        return called

    def tell(self, thought: Verdict, expression: Any, at: int, key: str = "") -> None:
        """Remember one act; of one `key` only the first, and how often. `expression` is a text, or the value of one."""
        if thought.grade == "safe":
            return
        full = self._counted[thought.grade] >= _MOST_ACTS
        if not key and not full and self._written < _MOST_WRITTEN:
            self._written += 1
            key = expression = expression if isinstance(expression, str) else written(expression)
        kind = (key, thought.reason)
        found = self._told.get(kind)
        if found is None and not full:
            text = expression if isinstance(expression, str) else written(expression)
            self._told[kind] = Act(thought.grade, self.where, text, thought.reason, at)
            self._last[thought.grade] = kind
            self._counted[thought.grade] += 1
        else:
            kind = kind if found else self._last[thought.grade]
            last = self._told[kind]
            self._told[kind] = Act(last.grade, last.where, last.expression, last.reason, last.at, last.count + 1)

    def imported(self, name: Name, at: int) -> Name:
        """See to it that the name is graded, as soon as it is imported; that runs its module already."""
        self.imports += 1
        if len(self.names) < _MOST_ACTS:
            self.names.add(name)
        thought = verdict(name.module, name.name)
        full = name.full
        if thought.grade != "safe" and full not in self._imported and self._graded[thought.grade] < _MOST_ACTS:
            self._graded[thought.grade] += 1
            self._imported[full] = (name, thought, at)
        return name

    def computed_import(self, module: Any, name: Any, at: int) -> Any:
        self.imports += 1
        made = Call(Name("builtins", "getattr"), [Call(Name("builtins", "__import__"), [module]), name])
        self.tell(_COMPUTED, made, at)
        return UNKNOWN

    def changed(self, target: Any, values: list[Any], at: int) -> None:
        """What was imported, or nobody knows what, is given a state or elements."""
        made = Call(Name("builtins", "vars"), [target])
        self.tell(_CHANGED, Call(Attribute(made, "update"), values[:4]), at)

    def called(self, call: Call, at: int) -> Any:
        """What a call is taken for: itself, or the name that it is known to give."""
        self.calls += 1
        function = call.function
        if not isinstance(function, Name):
            self._indirect(call, at)
            return call
        full = function.full
        if (special := _SPECIAL.get(full)) is not None:
            return special(self, call, at)
        thought = verdict(function.module, function.name)
        if thought.grade != "safe":
            self._imported.pop(full, None)
            self.tell(thought, call, at, full)
            self._look_into(call, at)
        return call

    def _indirect(self, call: Call, at: int) -> None:
        if isinstance(call.function, Call):
            inner = call.function.function
            if isinstance(inner, Name) and inner.full == "functools.partial":
                return  # graded when it was made
            self.tell(_INDIRECT, call, at)
            self._look_into(call, at)

    def _look_into(self, call: Call, at: int) -> None:
        """Take bytes that are handed to a function that nobody knows for a file that it reads."""
        if self.calls <= _MOST_LOOKED_INTO:
            for argument in elements(call.args) or ():
                inner = _inner(argument)
                if inner is not None and len(self.nested) < _MOST_ACTS:
                    self._nest(inner, at)

    def _nest(self, inner: Any, at: int) -> None:
        """Remember bytes, or a text that stands for some, to be looked into as a file of its own; each once."""
        if id(inner) not in self._nested:
            source = _encoded(inner, f"{self.where}: bytes at {at:,}")
            if source.size > 1:
                self._nested[id(inner)] = inner
                self.nested.append((source, at))

    def filled(self, call: Call, at: int) -> None:
        """An object that was made is given its state."""
        function = call.function
        if not isinstance(function, Name):
            return
        if function.name == "NumpyArrayWrapper" and function.module.startswith("joblib."):
            self.arrays.append(call)
        if function.full == "functools.partial" and isinstance(call.state, Many):
            self._applied(Call(call.state.items[0] if call.state.items else UNKNOWN, UNKNOWN), at)

    def _applied(self, call: Call, at: int) -> None:
        """A call that is prepared, to be made later."""
        if isinstance(call.function, Name):
            full = call.function.full
            thought = verdict(call.function.module, call.function.name)
            self._imported.pop(full, None)
            self.tell(thought, f"functools.partial({full}, …)", at, full)
        else:
            self.tell(_INDIRECT, Call(Name("functools", "partial"), [call.function, UNKNOWN]), at)

    # Calls whose meaning is known

    def attribute_taken(self, call: Call, at: int) -> Any:
        args = elements(call.args) or []
        target, name = (args[0], args[1]) if len(args) > 1 else (UNKNOWN, UNKNOWN)
        self._imported.pop("builtins.getattr", None)
        self._imported.pop("__builtin__.getattr", None)
        if not isinstance(name, str):
            self.tell(_COMPUTED, call, at)
        elif isinstance(target, Name) and len(target.name) > _LONGEST_NAME:
            return target
        elif isinstance(target, Name):
            return self.imported(Name(target.module, f"{target.name}.{name}"), at)
        elif (thought := verdict("object", name)).grade == "dangerous":
            self.tell(thought, call, at)
        else:
            self.tell(_ATTRIBUTE, call, at)
        return call

    def applied_later(self, call: Call, at: int) -> Any:
        args = elements(call.args)
        function = args[0] if args else UNKNOWN
        if isinstance(function, Name) and function.full == "functools.partial":
            return call  # `partial(partial.__new__, ...)`, whose state tells
        self._applied(Call(function, UNKNOWN), at)
        self._look_into(call, at)
        return call

    def reconstructed(self, call: Call, at: int) -> Any:
        args = elements(call.args) or []
        for cls in args[:2]:
            if not isinstance(cls, Name):
                self.tell(_INDIRECT, call, at)
        if args and isinstance(args[0], Name):
            return self.called(Call(args[0], args[2:]), at)
        return call

    def newly_made(self, call: Call, at: int) -> Any:
        args = elements(call.args) or []
        return self.called(Call(args[0] if args else UNKNOWN, args[1:]), at)

    def loaded_from_bytes(self, call: Call, at: int) -> Any:
        args = elements(call.args) or []
        inner = _inner(args[0]) if len(args) == 1 else None
        if inner is None:
            self.tell(Verdict("dangerous", "reads a pickle out of bytes that it computes"), call, at)
        else:
            self._nest(inner, at)
        return call

    def type_asked(self, call: Call, at: int) -> Any:
        if len(elements(call.args) or ()) != 1:
            self.tell(Verdict("unknown", "makes a new class"), call, at)
        return call


def _plain(name: Name) -> str:
    return f"from {shown(name.module)} import {shown(name.name)}"


def _inner(value: Any) -> Any:
    """The bytes that an argument is made of, or the text, a character for each; None where they are computed."""
    made = False
    while isinstance(value, Call) and isinstance(value.function, Name):
        args = elements(value.args)
        if not args or value.function.full not in _TAKE_BYTES:
            return None
        value, made = args[0], True
    if isinstance(value, Blob):
        return value if made or not value.is_text else None
    return value if isinstance(value, bytes) or (made and isinstance(value, str)) else None


def _encoded(inner: Any, name: str) -> Source:
    """What `_inner` found, as a file."""
    if isinstance(inner, Blob) and not (inner.is_text and inner.extent.size < _LONGEST_TEXT):
        return PartSource(inner.extent, name)
    text = inner.extent.read().decode("utf-8", "replace") if isinstance(inner, Blob) else inner
    return BytesSource(text.encode("latin-1", "replace") if isinstance(text, str) else text, name)


_SPECIAL: dict[str, Callable[[Watcher, Call, int], Any]] = {
    "builtins.getattr": Watcher.attribute_taken,
    "__builtin__.getattr": Watcher.attribute_taken,
    "functools.partial": Watcher.applied_later,
    "copyreg._reconstructor": Watcher.reconstructed,
    "copy_reg._reconstructor": Watcher.reconstructed,
    "copyreg.__newobj__": Watcher.newly_made,
    "copyreg.__newobj_ex__": Watcher.newly_made,
    "torch.storage._load_from_bytes": Watcher.loaded_from_bytes,
    **dict.fromkeys(_CLASSES, Watcher.type_asked),
}
