"""Which blocks of a large model repeat: those whose tensors have the names, types and shapes of another's.

`layers.7` is a block of the list `layers`. Two of a kind are to be built: what is told of modules from names, shapes
and neighbours never asks how many more there are. In a list that has layers of its own it may; there all are built.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from statedict.columns import Columns, Shape
from statedict.dtypes import DType

_NUMBER = re.compile(r"(?<![^.])(?:0|[1-9][0-9]{0,17})\.")
_FEWEST = 3
"""Blocks of a list in which one may be like two others."""
_LOOKS = 8
"""Kinds of blocks that a block is compared with: the last ones met in its list."""


class Block(NamedTuple):
    """A block like another that is built."""

    head: str
    """What its tensors' names begin with: "layers.7."."""
    like: str
    """The same of the first of its kind."""
    where: tuple[range, ...]
    """The positions of its tensors."""


class _Look(NamedTuple):
    """All that one sees of a block."""

    names: list[str]
    dtypes: list[DType]
    shapes: list[Shape]


def arranged(columns: Columns, where: Iterable[range], cut: int = 0) -> Iterator[range | Block]:
    """All those tensors, in an order that makes the same tree: those to build, and the blocks that need not be.

    The first `cut` characters of their names are the same for all, and those of a block in which blocks are looked for.
    """
    runs = list(_runs(columns.names, where, cut))
    blocks: dict[str, list[range]] = {}
    for head, run in runs:
        if head:
            blocks.setdefault(head, []).append(run)
    lists: dict[str, list[str]] = {}
    for head in blocks:
        lists.setdefault(head[: head.rfind(".", 0, -1) + 1], []).append(head)
    likes: dict[str, str] = {}
    for heads in lists.values():
        if len(heads) >= _FEWEST:
            likes |= _likes(columns, {head: blocks[head] for head in heads})
    for head, run in runs:
        if not head:
            yield run
        elif found := blocks.pop(head, None):  # all of it, where its first tensor stands
            if like := likes.get(head):
                yield Block(head, like, tuple(found))
            else:
                yield from arranged(columns, found, len(head))


def _runs(names: Sequence[str], where: Iterable[range], cut: int) -> Iterator[tuple[str, range]]:
    """Tensors side by side that are in one block, with its head, or in none, with ""."""
    for those in where:
        head, start = "", those.start
        for at in those:
            if head:
                if names[at].startswith(head):
                    continue
                yield head, range(start, at)
                head, start = "", at
            if found := _NUMBER.search(names[at], cut):
                if start < at:
                    yield "", range(start, at)
                head, start = names[at][: found.end()], at
        yield head, range(start, those.stop)


def _likes(columns: Columns, blocks: dict[str, list[range]]) -> dict[str, str]:
    """The first that looks the same, by the head of each block of one list that is not among the first two."""
    likes: dict[str, str] = {}
    met = deque[tuple[str, _Look]](maxlen=_LOOKS)
    again: set[str] = set()
    for head, where in blocks.items():
        look = _look(columns, head, where)
        first = next((first for first, known in reversed(met) if known == look), None)
        if first in again:
            likes[head] = first
        elif first is not None:
            again.add(first)
        elif any("." in name for name in look.names):
            met.append((head, look))
        else:
            return {}
    return likes


def _look(columns: Columns, head: str, where: list[range]) -> _Look:
    cut = len(head)
    return _Look(
        [name[cut:] for each in where for name in columns.names[each.start : each.stop]],
        [dtype for each in where for dtype in columns.dtypes[each.start : each.stop]],
        [shape for each in where for shape in columns.shapes[each.start : each.stop]],
    )
