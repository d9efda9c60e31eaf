"""Whole slices and blocks of weights: which elements each has, how large it is, and which of all stay."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from statedict import engine
from statedict.dtypes import DType
from statedict.engine import Job, Placed
from statedict.expressions.once import Once
from statedict.ops.prune.kept import Kept
from statedict.ops.prune.ranking import Named, Watch, cut, not_a_number
from statedict.tree.reading import info_of_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Norm = Literal["l1", "l2"]
_PART = 1 << 15
"""Elements whose units are told at once: what numbers them stays in a processor's cache."""


@dataclass(frozen=True, slots=True)
class Slices:
    """The slices of a tensor along one dimension."""

    count: int
    inner: int
    """Elements that lie side by side in one."""

    def numbers(self, start: int, length: int) -> "NDArray[np.intp]":
        """The slice that each element from a position on is in."""
        import numpy as np

        return np.arange(start, start + length) // max(self.inner, 1) % max(self.count, 1)


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of a tensor, seen as a matrix whose rows are its first dimension."""

    rows: int
    """Of one block."""
    columns: int
    height: int
    """Of the tensor."""
    width: int

    @property
    def count(self) -> int:
        return self.height // self.rows * (self.width // self.columns)

    def numbers(self, start: int, length: int) -> "NDArray[np.intp]":
        """The block that each element from a position on is in."""
        import numpy as np

        row, column = np.divmod(np.arange(start, start + length), max(self.width, 1))
        return row // self.rows * (self.width // self.columns) + column // self.columns


Units = Slices | Blocks


def slices(shape: tuple[int, ...], dim: int) -> Slices:
    """The slices of a tensor of that shape along `dim`."""
    return Slices(shape[dim], math.prod(shape[dim + 1 :]))


class Part(NamedTuple):
    """The units of one tensor, and what ranks them: the tensor itself, or one that has a scale for each."""

    units: Units
    ranked: Named
    of_ranked: Units
    """The units of what ranks them, of which there are as many."""


class Whole(Kept):
    """The elements in units that stay: the row `at` of what was chosen."""

    __slots__ = ("_at", "_chosen", "_units")

    def __init__(self, chosen: "Once[list[NDArray[np.bool_]]]", at: int, units: Units) -> None:
        self._chosen, self._at, self._units = chosen, at, units

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        return self._chosen()[self._at][self._units.numbers(start, len(values))]

    def beside(self, units: Units) -> "Whole":
        """The same units of another tensor: of a bias, that has one element for each."""
        return Whole(self._chosen, self._at, units)


def without_smallest(parts: Sequence[Part], pruned: int, norm: Norm, watch: Watch) -> list[Whole]:
    """For each tensor what stays without the `pruned` smallest units of all, found when it is asked for."""
    found = Once(chosen, tuple(parts), pruned, norm, watch)
    return [Whole(found, at, each.units) for at, each in enumerate(parts)]


def chosen(parts: Sequence[Part], pruned: int, norm: Norm, watch: Watch) -> "list[NDArray[np.bool_]]":
    """Whether each unit of each tensor stays: all but the `pruned` smallest of all tensors; of equal ones the first.

    Large is the mean magnitude, or the root mean square, so that units of different sizes compare. Reads each tensor
    once, and holds 9 bytes for each unit. Raises StatedictError that names a tensor with NaN.
    """
    jobs = [
        Job(each.ranked.info, _Sums(each.of_ranked, norm), partial(_added, count=each.units.count)) for each in parts
    ]
    sums = engine.run(jobs, progress=watch.progress, executor=watch.executor)
    scores = [_score(each, total, norm) for each, total in zip(parts, sums, strict=True)]
    found = cut(
        [Named(each.ranked.name, info_of_array(score)) for each, score in zip(parts, scores, strict=True)], pruned
    )
    begins = accumulate(map(len, scores), initial=0)
    return [found.keeps(score, begin) for score, begin in zip(scores, begins, strict=False)]


class _Sums(Placed):
    """The sum of the magnitudes of each unit, or of their squares."""

    def __init__(self, units: Units, norm: Norm) -> None:
        self._units = units
        self._norm: Norm = norm

    def at(self, start: int) -> Callable[..., Any]:
        return partial(_sums, start=start, units=self._units, norm=self._norm)


class _Stretch(NamedTuple):
    """The sums of some units that follow one another."""

    first: int
    sums: "NDArray[np.float64]"


def _sums(_: DType, values: "NDArray[Any]", start: int, units: Units, norm: Norm) -> _Stretch:
    import numpy as np

    begins = range(0, len(values), _PART)
    parts = [_of_part(values[at : at + _PART], start + at, units, norm) for at in begins]
    first = min(each.first for each in parts)
    sums = np.zeros(max(each.first + len(each.sums) for each in parts) - first)
    for each in parts:
        sums[each.first - first : each.first - first + len(each.sums)] += each.sums
    return _Stretch(first, sums)


def _of_part(values: "NDArray[Any]", start: int, units: Units, norm: Norm) -> _Stretch:
    import numpy as np

    numbers = units.numbers(start, len(values))
    sizes = np.abs(values.astype(np.float64))
    first = int(numbers.min())
    weights = sizes if norm == "l1" else sizes * sizes
    return _Stretch(first, np.bincount(numbers - first, weights).astype(np.float64, copy=False))


def _added(a: _Stretch, b: _Stretch, count: int) -> _Stretch:
    """Both, in the memory of the first, which is given room for all units once."""
    import numpy as np

    if len(a.sums) < count:
        room = np.zeros(count)
        room[a.first : a.first + len(a.sums)] = a.sums
        a = _Stretch(0, room)
    a.sums[b.first : b.first + len(b.sums)] += b.sums
    return a


def _score(part: Part, total: _Stretch | None, norm: Norm) -> "NDArray[np.float64]":
    import numpy as np

    if total is None:
        return np.zeros(part.units.count)
    if np.isnan(total.sums).any():
        raise not_a_number(part.ranked)
    scores = total.sums
    scores /= max(1, part.ranked.info.numel // max(1, part.units.count))
    return scores if norm == "l1" else np.sqrt(scores, out=scores)
