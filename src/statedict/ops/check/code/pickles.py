"""The pickles in a run of bytes: one, or several in a row, as PyTorch's older format has them."""

import math
import re
from dataclasses import dataclass, field

from statedict.errors import LimitError
from statedict.limits import Limits
from statedict.ops.check.code.act import Act
from statedict.ops.check.code.expressions import Call, Many, elements
from statedict.ops.check.code.machine import Machine, Overlay
from statedict.ops.check.code.names import verdict
from statedict.ops.check.code.opcodes import STOP, BrokenPickleError, Operation, Walk
from statedict.ops.check.code.watching import Watcher
from statedict.source import Source

_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_FIRST = frozenset(b"()]}cSVILFJKMGUCTBX\x80\x8c\x8d\x8e\x8f\x95\x96\x8a\x8bN\x88\x89ipP2")
"""What a pickle without a protocol can begin with."""
_MOST_PICKLES = 10_000


@dataclass
class Scanned:
    """What a run of pickles would do."""

    acts: list[Act] = field(default_factory=list[Act])
    pickles: int = 0
    imports: int = 0
    operations: int = 0
    nested: list[tuple[Source, int]] = field(default_factory=list[tuple[Source, int]])
    end: int = 0
    """Where the last of them ends."""
    broken: str = ""
    """Why the last could not be read to its end."""
    depth: int = 0
    """Arrays of objects that it lies in."""


def begins(head: bytes) -> bool:
    """Whether bytes that begin with `head` may be a pickle, as all of protocol 2 and newer say themselves."""
    return head.startswith(_PROTOCOLS)


def may_be(head: bytes) -> bool:
    """Whether they may be a pickle of any protocol; very many other bytes may, too."""
    return head[:1] != b"" and head[0] in _FIRST


def scan(
    source: Source, where: str, limits: Limits, start: int = 0, *, sure: bool = True, most: int | None = None
) -> Scanned:
    """What the pickles from `start` on would do, in a row as long as there are some.

    Where nothing but the bytes speaks for pickles (not `sure`), only those count that import something, or end. At
    `most` so many operations are followed, which are `limits.opcodes` unless given.
    """
    most = limits.opcodes if most is None else min(most, limits.opcodes)
    found = Scanned(end=start)
    for _ in range(_MOST_PICKLES):
        before = found.end
        if before >= source.size:
            break
        if before > start or not sure:
            head = source.read_at(before, min(2, source.size - before))
            if not may_be(head):
                break
        certain = sure if before == start else begins(source.read_at(before, min(2, source.size - before)))
        if not _one(source, where, limits, found, certain, most):
            break
    else:
        reason = f"has {_MOST_PICKLES:,} pickles in a row: what follows them is not looked into"
        found.acts.append(Act("unknown", where, "", reason, found.end))
    return found


def _one(source: Source, where: str, limits: Limits, found: Scanned, certain: bool, most: int) -> bool:
    """Scan one pickle and add to what was found; whether another may follow."""
    watcher = Watcher(where)
    walk = Walk(source, found.end, limits, most=max(0, most - found.operations))
    machine = Machine(watcher)
    broken, ended = "", False
    try:
        for operation in walk:
            machine.do(operation)
            found.operations += 1
            if watcher.arrays:
                _skip_array(walk, watcher.arrays.pop(), operation, found, limits, most)
                if walk.position > operation.end:
                    _as_pickle(Walk(source, operation.end, limits, most=most), walk.position, machine, where, found)
            if operation.code == STOP:
                ended = True
                break
    except BrokenPickleError as error:
        broken = str(error)
    except LimitError as error:
        broken, certain = str(error), True
    if not certain and not (_is_plausible(watcher) and (ended or watcher.calls)):
        found.pickles += ended and begins(source.read_at(found.end, min(2, source.size - found.end)))
        found.end = walk.position if ended else found.end
        return ended
    _add(found, watcher, where, walk.position, broken)
    return ended


def _add(found: Scanned, watcher: Watcher, where: str, end: int, broken: str) -> None:
    found.pickles += 1
    found.imports += watcher.imports
    found.acts += watcher.acts()
    found.nested += watcher.nested
    found.end = end
    found.broken = broken
    if broken:
        reason = f"{broken}: what follows cannot be looked into, but what stands before it is run"
        found.acts.append(Act("unknown", where, "", reason, end))


def _is_plausible(watcher: Watcher) -> bool:
    """Whether what was imported has names as Python's are, or known ones: random bytes import other things."""
    if watcher.is_told or any(verdict(name.module, name.name).grade == "dangerous" for name in watcher.names):
        return True
    return bool(watcher.names) and all(part.isidentifier() for name in watcher.names for part in name.full.split("."))


def _skip_array(walk: Walk, call: Call, operation: Operation, found: Scanned, limits: Limits, most: int) -> None:
    """Go on behind the bytes of an array, which joblib's own reader takes from the midst of a pickle."""
    state = call.state if isinstance(call.state, Many) else Many("dict")
    start, size, source = operation.end, _array_bytes(state), walk.source
    if size is None:  # of objects: a pickle stands there
        walk.skip_to(_scan_objects(source, found, start, limits, most))
        return
    if isinstance(state.get("numpy_array_alignment_bytes"), int) and start < source.size:
        start += 1 + source.read_at(start, 1)[0]
    if start + size > source.size:
        raise BrokenPickleError(f"ends at byte {source.size:,}, within an array of {size:,} bytes")
    walk.skip_to(start + size)


def _as_pickle(walk: Walk, end: int, machine: Machine, where: str, found: Scanned) -> None:
    """Scan the bytes of an array as what another reader than joblib's takes them for: more of the pickle."""
    watcher = Watcher(where)
    guess = Machine(watcher)
    guess.memo = Overlay(machine.memo)
    try:
        for operation in walk:
            if operation.at >= end:
                break
            guess.do(operation)
    except (BrokenPickleError, LimitError):
        pass  # as bytes of arrays are
    if _is_plausible(watcher):
        found.acts += [act for act in watcher.acts() if act.grade == "dangerous"]


def _scan_objects(source: Source, found: Scanned, start: int, limits: Limits, most: int) -> int:
    """Scan the pickle of an array's objects, and tell `found`; where it ends. Raises LimitError at a deep one."""
    if found.depth >= limits.nested:
        raise LimitError(f"holds arrays of objects deeper than `Limits.nested` ({limits.nested}) allows to look")
    inner = Scanned(end=start, operations=found.operations, depth=found.depth + 1)
    _one(source, f"{source.name}: an array's objects", limits, inner, certain=True, most=most)
    found.operations = inner.operations
    found.acts += inner.acts
    found.nested += inner.nested
    found.imports += inner.imports
    return max(inner.end, start)


def _array_bytes(state: Many) -> int | None:
    """The bytes of the array that joblib describes; None where it is one of objects. Raises BrokenPickleError."""
    shape = elements(state.get("shape"))
    dtype = state.get("dtype")
    code = (elements(dtype.args) or [None])[0] if isinstance(dtype, Call) else None
    if shape is None or not isinstance(code, str) or not all(type(each) is int and each >= 0 for each in shape):
        raise BrokenPickleError("describes an array whose size nobody can tell")
    if code.lstrip("<>|=").startswith("O"):
        return None
    digits = re.search(r"\d+", code)
    if digits is None:
        raise BrokenPickleError(f"describes an array of the type {code[:20]!r}, whose size nobody can tell")
    width = int(digits[0][:9]) * (4 if "U" in code else 1)
    return width * math.prod(shape)
