"""Which tensor of one checkpoint answers to which of another: by name, by where it lies, by content, by shape."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

from statedict import engine
from statedict.errors import MissingExtraError
from statedict.expressions.nodes import run
from statedict.index import TensorInfo

By = Literal["name", "bytes", "content", "shape"]
_PROBED = 512
"""Elements at the begin, in the middle and at the end of a tensor by which its content is known again."""


class Pair(NamedTuple):
    """A name of a tensor on either side; None where there is none."""

    name: str | None
    new_name: str | None
    by: By = "name"


def pairs(old: Mapping[str, TensorInfo], new: Mapping[str, TensorInfo], *, read: bool) -> list[Pair]:
    """Every name of both sides once, in the first's order, what only the second has where it stands there.

    Names that only one side has are brought together where their tensors lie in the same bytes; with `read`, where
    their first, middle and last elements are the same; else where shape and the last parts of the name agree, if as
    many on one side as on the other have these.
    """
    gone = {name: info for name, info in old.items() if name not in new}
    come = {name: info for name, info in new.items() if name not in old}
    found: dict[str, Pair] = {}
    for by, key in _keys(gone, come, read=read):
        _bring_together(gone, come, by, key, found)
    return _in_order(old, new, found)


def place(info: TensorInfo) -> Hashable | None:
    """What is equal for tensors of the same bytes, read the same way; None where there are no bytes."""
    if info.extent is None:
        return None
    source, offset = info.extent.source.located(info.extent.offset)
    return source.identity(), offset, info.extent.size, info.dtype, info.shape, info.stride, info.encoding


_Key = Callable[[str, TensorInfo], Hashable | None]
"""What must agree of two names and their tensors; None agrees with nothing."""


def _keys(gone: Mapping[str, TensorInfo], come: Mapping[str, TensorInfo], *, read: bool) -> Iterator[tuple[By, _Key]]:
    """From the surest to the least."""
    yield "bytes", _place
    if read:
        probe = _Probe({_form(info) for info in gone.values()} & {_form(info) for info in come.values()})
        yield "content", probe.with_name
        yield "content", probe.alone
    for parts in range(max((name.count(".") for name in come), default=0) + 1, 0, -1):
        yield "shape", partial(_ends, parts)


def _place(_: str, info: TensorInfo) -> Hashable | None:
    return place(info)


def _ends(parts: int, name: str, info: TensorInfo) -> Hashable | None:
    """Shape and the last parts of a name; None where it has fewer."""
    return (info.shape, *name.split(".")[-parts:]) if name.count(".") + 1 >= parts else None


def _form(info: TensorInfo) -> Hashable:
    return info.dtype, info.shape


class _Probe:
    """A digest of some elements of tensors, those of certain forms alone, each read once."""

    def __init__(self, forms: set[Hashable]) -> None:
        self._forms = forms
        self._known: dict[int, tuple[Hashable | None, bool]] = {}
        self._kept: list[Any] = []

    def with_name(self, name: str, info: TensorInfo) -> Hashable | None:
        """The digest and the last part of the name."""
        found = self._of(info)[0]
        return None if found is None else (found, name.rpartition(".")[2])

    def alone(self, _: str, info: TensorInfo) -> Hashable | None:
        """The digest; None where all these elements are the same: of ones and zeros there are many."""
        found, constant = self._of(info)
        return None if constant else found

    def _of(self, info: TensorInfo) -> tuple[Hashable | None, bool]:
        if id(info) not in self._known:
            self._kept.append(info)
            self._known[id(info)] = self._read(info) if _form(info) in self._forms else (None, True)
        return self._known[id(info)]

    def _read(self, info: TensorInfo) -> tuple[Hashable | None, bool]:
        import hashlib  # which only renamed tensors need

        try:
            row = engine.row(info)
        except (TypeError, ValueError, MissingExtraError):
            return None, True
        if row.extent is None or not row.numel:
            return None, True
        starts = sorted({0, max(0, row.numel // 2 - _PROBED), max(0, row.numel - _PROBED)})
        pieces = [run(row, start, min(start + _PROBED, row.numel)).extent for start in starts]
        data = b"".join(piece.read() for piece in pieces if piece is not None)
        size = row.dtype.itemsize
        return (_form(info), hashlib.sha256(data).digest()), data == data[:size] * (len(data) // size)


def _bring_together(
    gone: dict[str, TensorInfo], come: dict[str, TensorInfo], by: By, key: _Key, found: dict[str, Pair]
) -> None:
    """Pair what has one key, in order; by shape only where there are as many on both sides."""
    sides = [_grouped(side, key) for side in (gone, come)]
    for each, names in sides[0].items():
        others = sides[1].get(each, [])
        if by == "shape" and len(names) != len(others):
            continue
        for name, new_name in zip(names, others, strict=False):
            found[name] = Pair(name, new_name, by)
            del gone[name], come[new_name]


def _grouped(side: Mapping[str, TensorInfo], key: _Key) -> dict[Hashable, list[str]]:
    groups: dict[Hashable, list[str]] = {}
    for name, info in side.items():
        if (value := key(name, info)) is not None:
            groups.setdefault(value, []).append(name)
    return groups


def _in_order(old: Mapping[str, TensorInfo], new: Mapping[str, TensorInfo], moved: Mapping[str, Pair]) -> list[Pair]:
    """All pairs: those of the first side, and what only the second has behind what stands before it there."""
    taken = {pair.new_name for pair in moved.values()}
    behind: dict[str | None, list[str]] = {}
    last: str | None = None
    for name in new:
        if name in old or name in taken:
            last = name
        else:
            behind.setdefault(last, []).append(name)
    ordered = [Pair(None, name) for name in behind.get(None, [])]
    for name in old:
        pair = moved.get(name) or Pair(name, name if name in new else None)
        ordered.append(pair)
        ordered += [Pair(None, added) for added in behind.get(pair.new_name, [])] if pair.new_name else []
    return ordered
