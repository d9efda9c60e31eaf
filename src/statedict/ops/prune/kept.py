"""Which elements stay: of a tensor of any size, the same in whatever stretches it is read, and exactly so many."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from statedict.dtypes import DTYPES
from statedict.errors import StatedictError
from statedict.expressions.nodes import Node
from statedict.expressions.once import Once
from statedict.expressions.selecting import Threshold, stretches, threshold

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PER_COUNT = 4
"""Numbers of 64 bits that Philox makes for one value of its counter."""


class Kept(ABC):
    """Says of each element of one tensor whether it stays."""

    __slots__ = ()

    @abstractmethod
    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        """Of a tensor's working values from a position on: whether each stays."""


class Largest(Kept):
    """The largest magnitudes of a row of tensors, of which this one begins at a position; of equal ones the first."""

    __slots__ = ("_begin", "_threshold")

    def __init__(self, found: Once[Threshold], begin: int) -> None:
        self._threshold = found
        self._begin = begin

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        return self._threshold().keeps(values, self._begin + start)


class Random(Kept):
    """Exactly so many of a row of tensors, by random numbers that depend on names, positions and a seed alone."""

    __slots__ = ("_begin", "_numbers", "_threshold")

    def __init__(self, found: Once[Threshold], begin: int, numbers: "RandomNumbers") -> None:
        self._threshold = found
        self._begin = begin
        self._numbers = numbers

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        return self._threshold().keeps(self._numbers.working(start, start + len(values)), self._begin + start)


class NofM(Kept):
    """The `n` largest magnitudes of every `m` neighbours along one dimension; of equal ones the first."""

    __slots__ = ("_inner", "_m", "_n", "_node")

    def __init__(self, node: Node, shape: tuple[int, ...], dim: int, n: int, m: int) -> None:
        self._node, self._n, self._m = node, n, m
        self._inner = math.prod(shape[dim + 1 :])

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        size = max(1, self._m * self._inner)  # what holds whole neighbourhoods
        first, skip = divmod(start, size)
        last = -(-(start + len(values)) // size)
        whole = skip == 0 and last * size == start + len(values)
        groups = values if whole else self._node.working(first * size, last * size)
        kept = _largest_of_each(groups.reshape(last - first, self._m, -1), self._n)
        return kept.reshape(-1)[skip : skip + len(values)]


class Slices(Kept):
    """Whole slices along one dimension: those that `chosen` says."""

    __slots__ = ("_at", "_chosen", "_inner", "_size")

    def __init__(self, chosen: "Once[list[NDArray[np.bool_]]]", at: int, shape: tuple[int, ...], dim: int) -> None:
        self._chosen, self._at = chosen, at
        self._size, self._inner = shape[dim], math.prod(shape[dim + 1 :])

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        return self._chosen()[self._at][_slice_numbers(start, len(values), self._inner, self._size)]


def magnitude(nodes: Sequence[Node], pruned: int) -> list[Kept]:
    """For each of the tensors, taken as one row: all but the `pruned` smallest magnitudes of the row."""
    found = Once(threshold, tuple(nodes), sum(node.numel for node in nodes) - pruned)
    return [Largest(found, begin) for begin in _begins(nodes)]


def random(nodes: Sequence[Node], names: Sequence[str], pruned: int, seed: int) -> list[Kept]:
    """The same with random ones. More that are pruned with one seed are those that fewer are, and others."""
    numbers = [RandomNumbers(f"{seed} {name}", node.numel) for node, name in zip(nodes, names, strict=True)]
    found = Once(threshold, tuple(numbers), sum(node.numel for node in nodes) - pruned)
    return [Random(found, begin, each) for begin, each in zip(_begins(nodes), numbers, strict=True)]


def slices(nodes: Sequence[Node], shapes: Sequence[tuple[int, ...]], dims: Sequence[int], pruned: int) -> list[Kept]:
    """For each of the tensors: all but the `pruned` slices of all of them with the smallest root mean square.

    Of equal slices the first stay. The mean makes slices of different sizes comparable. Every shape has its `dim`.
    """
    chosen = Once(_chosen_slices, tuple(nodes), tuple(shapes), tuple(dims), pruned)
    return [Slices(chosen, at, shape, dim) for at, (shape, dim) in enumerate(zip(shapes, dims, strict=True))]


def slice_scores(node: Node, shape: tuple[int, ...], dim: int) -> "NDArray[np.float64]":
    """The root mean square of each slice of a tensor along a dimension."""
    import numpy as np

    size, inner = shape[dim], math.prod(shape[dim + 1 :])
    squares = np.zeros(size)
    for start, values in stretches(node):
        numbers = _slice_numbers(start, len(values), inner, size)
        squares += np.bincount(numbers, np.square(np.abs(values), dtype=np.float64), minlength=size)
    return np.sqrt(squares / max(1, node.numel // max(size, 1)))


def _chosen_slices(
    nodes: Sequence[Node], shapes: Sequence[tuple[int, ...]], dims: Sequence[int], pruned: int
) -> "list[NDArray[np.bool_]]":
    import numpy as np

    scores = [slice_scores(*each) for each in zip(nodes, shapes, dims, strict=True)]
    return split_largest(scores, sum(map(len, scores)) - pruned) if scores else [np.empty(0, bool)]


def split_largest(scores: "Sequence[NDArray[np.float64]]", keep: int) -> "list[NDArray[np.bool_]]":
    """Whether each score is among the `keep` largest of all rows; of equal ones the first are."""
    import numpy as np

    kept = np.zeros(sum(map(len, scores)), bool)
    kept[np.argsort(-np.concatenate(scores), kind="stable")[: max(keep, 0)]] = True
    return np.split(kept, np.cumsum([len(row) for row in scores])[:-1])


class RandomNumbers(Node):
    """Numbers from 0 to 1 that depend on a key and their position: those of Philox4x64-10 (Salmon et al. 2011)."""

    __slots__ = ("_key", "_text")

    def __init__(self, key: str, numel: int) -> None:
        self._text = key
        self._key = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
        self.dtype = DTYPES["float64"]
        self.numel = numel

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        first, skip = divmod(start, _PER_COUNT)
        counts = -(-(skip + stop - start) // _PER_COUNT)
        drawn = np.random.Philox(key=self._key, counter=first).random_raw(counts * _PER_COUNT)
        return (drawn[skip : skip + stop - start] >> np.uint64(11)) * 2.0**-53

    def __reduce__(self) -> tuple[Any, ...]:
        return RandomNumbers, (self._text, self.numel)


class Checked(Node):
    """The elements of another node. Raises StatedictError that names the tensor when one of them is not a number."""

    __slots__ = ("_name", "_of")

    def __init__(self, of: Node, name: str) -> None:
        self._of, self._name = of, name
        self.dtype, self.numel = of.dtype, of.numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self._of,)

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        return self._refused(self._of.stored(start, stop))

    def working(self, start: int, stop: int) -> "NDArray[Any]":
        return self._refused(self._of.working(start, stop))

    def _refused(self, values: "NDArray[Any]") -> "NDArray[Any]":
        import numpy as np

        if np.isnan(values).any():
            raise StatedictError(
                f"tensor `{self._name}` holds NaN, which has no magnitude; repair it, or leave it out of the pruning"
            )
        return values

    def __reduce__(self) -> tuple[Any, ...]:
        return Checked, (self._of, self._name)


def _begins(nodes: Sequence[Node]) -> list[int]:
    """The position at which each begins in the row of all."""
    begins: list[int] = []
    total = 0
    for node in nodes:
        begins.append(total)
        total += node.numel
    return begins


def _slice_numbers(start: int, count: int, inner: int, size: int) -> "NDArray[np.intp]":
    """Of elements from a position on: the index along a dimension that has `inner` elements behind it."""
    import numpy as np

    return np.arange(start, start + count) // max(inner, 1) % max(size, 1)


def _largest_of_each(groups: "NDArray[Any]", n: int) -> "NDArray[np.bool_]":
    """Whether each element is among the `n` largest magnitudes along dimension 1."""
    import numpy as np

    order = np.argsort(-np.abs(groups), axis=1, kind="stable")
    kept = np.zeros(groups.shape, bool)
    np.put_along_axis(kept, order[:, :n], values=True, axis=1)
    return kept
