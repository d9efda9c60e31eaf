"""The tensors behind the lines of a tree, of which those of modules that are not built are counted, and not listed."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import overload

from statedict.ops.select import NamedTensor, named_tensors
from statedict.ops.sizes import Sizes, sizes, together
from statedict.tree.module import Module

Entries = Sequence[NamedTensor]


class _Counted(Entries):
    """Tensors that are listed, and their modules built, only for whoever looks at them one by one."""

    @abstractmethod
    def __iter__(self) -> Iterator[NamedTensor]: ...

    @overload
    def __getitem__(self, index: int) -> NamedTensor: ...
    @overload
    def __getitem__(self, index: slice) -> Entries: ...
    def __getitem__(self, index: int | slice) -> NamedTensor | Entries:
        return list(self)[index]


class Unlisted(_Counted):
    """The tensors of a module that is not built, which are as many and as large as `like`."""

    def __init__(self, head: str, module: Module, like: Entries) -> None:
        self.like = like
        self._head = head
        self._module = module

    def __len__(self) -> int:
        return len(self.like)

    def __iter__(self) -> Iterator[NamedTensor]:
        for name, tensor, owner, role in named_tensors(self._module):
            yield NamedTensor(self._head + name, tensor, owner, role)


class _Joined(_Counted):
    def __init__(self, parts: Sequence[Entries]) -> None:
        self.parts = parts
        self._len = sum(map(len, parts))

    def __len__(self) -> int:
        return self._len

    def __iter__(self) -> Iterator[NamedTensor]:
        return chain.from_iterable(self.parts)


def joined(parts: Sequence[Entries]) -> Entries:
    """All of them, one after the other."""
    if any(isinstance(part, _Counted) for part in parts):
        return _Joined(parts)
    return [entry for part in parts for entry in part]


def is_listed(entries: Entries) -> bool:
    """Whether all of them are at hand."""
    return not isinstance(entries, _Counted)


def sizes_of(entries: Entries) -> Sizes:
    """The totals. What is not built shares no tensor, and no byte, with anything else."""
    listed: list[NamedTensor] = []
    times = Counter[int]()
    likes: dict[int, Entries] = {}
    waiting = [entries]
    while waiting:
        part = waiting.pop()
        if isinstance(part, _Joined):
            waiting += reversed(part.parts)
        elif isinstance(part, Unlisted):
            times[id(part.like)] += 1
            likes[id(part.like)] = part.like
        else:
            listed += part
    if not times:
        return sizes(listed)
    return together([(sizes(listed), 1), *((sizes_of(likes[at]), count) for at, count in times.items())])
