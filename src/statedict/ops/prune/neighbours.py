"""N of every M neighbours: which stay, by comparing the bits of their magnitudes with each other."""

import math
from typing import TYPE_CHECKING, Any

from statedict.expressions.nodes import node_of
from statedict.ops.prune.kept import Kept
from statedict.ops.prune.ranking import Named, comparable, infinity, magnitudes, not_a_number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FEW = 16
"""Neighbours that are compared each with each; more are sorted."""


class Neighbours(Kept):
    """The `n` largest magnitudes of every `m` neighbours along one dimension; of equal ones the first."""

    __slots__ = ("_inner", "_kind", "_m", "_n", "_node", "_tensor")

    def __init__(self, tensor: Named, dim: int, n: int, m: int) -> None:
        self._tensor, self._n, self._m = tensor, n, m
        self._node = node_of(tensor.info)
        self._inner = math.prod((tensor.info.shape or ())[dim + 1 :])
        self._kind = comparable([self._node.dtype])

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        size = max(1, self._m * self._inner)  # what holds whole neighbourhoods
        first, skip = divmod(start, size)
        last = -(-(start + len(values)) // size)
        if skip or last * size != start + len(values):
            values, count = self._node.stored(first * size, last * size), len(values)
        else:
            count = len(values)
        bits = magnitudes(values, self._kind)
        if (bits > bits.dtype.type(infinity(self._kind))).any():
            raise not_a_number(self._tensor)
        kept = largest(bits.reshape(last - first, self._m, self._inner), self._n)
        return kept.reshape(-1)[skip : skip + count]


def largest(groups: "NDArray[Any]", n: int) -> "NDArray[np.bool_]":
    """Whether each is among the `n` largest along dimension 1; of equal ones the first are."""
    import numpy as np

    count, m, inner = groups.shape
    rows = np.ascontiguousarray(np.moveaxis(groups, 1, 0)).reshape(m, -1)
    if m > _FEW:
        kept = np.zeros(rows.shape, bool)
        np.put_along_axis(kept, np.argsort(~rows, axis=0, kind="stable")[:n], values=True, axis=0)
    else:
        kept = _larger_ones(rows) < n
    return np.moveaxis(kept.reshape(m, count, inner), 0, 1)


def _larger_ones(rows: "NDArray[Any]") -> "NDArray[np.uint8]":
    """How many of the same column are larger than each, or are equal and stand before it."""
    import numpy as np

    larger = np.zeros(rows.shape, np.uint8)
    for second in range(1, len(rows)):
        for first in range(second):
            before = rows[first] >= rows[second]
            larger[second] += before
            larger[first] += ~before
    return larger
