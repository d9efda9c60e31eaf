"""How the zeros of a tensor are arranged: rows, columns and channels of nothing else, and N:M patterns, in one pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from statedict.dtypes import DType
from statedict.engine import Job, Placed, axes_as_they_lie, in_any_order
from statedict.index import TensorInfo
from statedict.kernels import summarize
from statedict.moments import Summary
from statedict.tree.channels import channels, has_inputs_first

GROUPS = (4, 8, 16)
"""The M of N:M patterns that are looked for: that of NVIDIA's sparse tensor cores, and its multiples."""
MOST_INDICES = 1000
"""How many dead rows, columns or channels are kept by their index."""


@dataclass(frozen=True, slots=True)
class Dead:
    """The indices along one axis at which all elements are zero."""

    count: int
    size: int
    """Indices in all."""
    indices: tuple[int, ...]
    """The first of them, `MOST_INDICES` at most."""


@dataclass(frozen=True, slots=True)
class Structure:
    """How the zeros of one tensor are arranged. NaN and infinities are no zeros."""

    dead: Mapping[str, Dead]
    """Of a matrix its "rows" and "columns", of a convolution's kernel its "output_channels" and "input_channels"."""
    patterns: Mapping[int, int]
    """For 4, 8 and 16, where it divides the inputs: the most elements other than zero in any group of so many inputs
    side by side. `{4: 2, ...}` is what 2:4 sparsity asks for."""

    @property
    def pattern(self) -> tuple[int, int] | None:
        """The N and M of the narrowest N:M pattern that holds and says anything (N < M); None where none does."""
        return next(((most, group) for group, most in self.patterns.items() if most < group), None)


class Axis(NamedTuple):
    """One axis of a tensor, or several adjoining ones in one, in the order in which its elements lie."""

    name: str
    size: int
    step: int
    """Elements from one index to the next."""


class Layout(NamedTuple):
    """What of a tensor is looked at."""

    axes: tuple[Axis, ...]
    inputs: Axis
    """Along which N:M patterns are."""


def layout(info: TensorInfo, kind: str | None) -> Layout | None:
    """The axes of a weight in a module of that kind; None of a tensor that is no matrix and no convolution's kernel.

    More than two dimensions that are no convolution's are a stack of matrices, with the rows of all. Such a stack whose
    elements lie in another order has no rows side by side: None, too.
    """
    shape = list(info.shape or ())
    if len(shape) < 2:
        return None
    if info.dtype.name == "float4_e2m1fn_x2":
        shape[-1] *= 2
    axes, steps, step = axes_as_they_lie(info), dict[int, int](), 1
    for axis in reversed(axes):
        steps[axis] = step
        step *= shape[axis]
    if found := channels(kind, len(shape)):
        first, second = (
            Axis(name, shape[at], steps[at])
            for name, at in zip(("output_channels", "input_channels"), found, strict=True)
        )
        return Layout((first, second), second)
    if len(shape) > 2 and axes != tuple(range(len(shape))):
        return None
    rows = Axis("rows", step // shape[-1] if step else 0, steps[len(shape) - 2])
    columns = Axis("columns", shape[-1], steps[len(shape) - 1])
    return Layout((rows, columns), rows if has_inputs_first(kind) else columns)


def finding(info: TensorInfo, where: Layout) -> Job[Any]:
    """The job that finds a tensor's `Summary` and its `Structure`, as a pair.

    Both at once, since a stretch without zeros, as nearly all are, needs no second look.
    """
    return Job(in_any_order(info), _Find(where), _Found.merge, _Found.finish)


class _Find(Placed):
    """The kernel: what a stretch of elements tells."""

    def __init__(self, where: Layout) -> None:
        self._where = where

    def at(self, start: int) -> "_FindAt":
        return _FindAt(self._where, start)


@dataclass(frozen=True, slots=True)
class _FindAt:
    where: Layout
    start: int

    def __call__(self, dtype: DType, values: NDArray[Any]) -> "_Found":
        summary = summarize(dtype, values)
        stretch = _Stretch(self.start, len(values), summary.zeros, partial(is_not_zero, dtype, values))
        along = tuple(_Along.of(axis, stretch) for axis in self.where.axes)
        return _Found(summary, along, _Groups.of(self.where.inputs, stretch))


@dataclass(frozen=True)
class _Stretch:
    """Some elements in a row. Which of them are zero need not be looked at where there are too few."""

    start: int
    """Elements of the tensor before the first."""
    numel: int
    zeros: int
    _find: Callable[[], NDArray[np.bool_]]

    @property
    def stop(self) -> int:
        return self.start + self.numel

    @cached_property
    def there(self) -> NDArray[np.bool_]:
        """Whether each is another than zero."""
        return self._find() if self.zeros else np.ones(self.numel, bool)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a stretch of a tensor's elements tells, to be merged with what the next one does."""

    summary: Summary
    along: "tuple[_Along, ...]"
    groups: "_Groups"

    def merge(self, other: "_Found") -> "_Found":
        return _Found(
            self.summary.merge(other.summary),
            tuple(first.merge(second) for first, second in zip(self.along, other.along, strict=True)),
            self.groups.merge(other.groups),
        )

    def finish(self) -> tuple[Summary, Structure]:
        return self.summary, Structure({each.axis.name: each.finish() for each in self.along}, self.groups.most)


def is_not_zero(dtype: DType, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each element is another number than zero, of either sign, or none."""
    if values.dtype.kind == "c":
        return (np.real(values) != 0) | (np.imag(values) != 0)
    if values.itemsize == 1:
        return _not_zero(dtype)[values.view("u1")]
    bits = values.view(f"u{values.itemsize}")
    return (bits << bits.dtype.type(1) if dtype.is_floating_point else bits) != 0


@cache
def _not_zero(dtype: DType) -> NDArray[np.bool_]:
    """The same of each pattern of a type of one byte."""
    values = np.arange(256, dtype="u1").view("bool" if dtype.name == "bool" else dtype.to_numpy())
    with np.errstate(invalid="ignore"):
        return values.astype("f4") != 0


# Along an axis


@dataclass(frozen=True, slots=True)
class _Along:
    """Which indices of an axis a stretch of elements touches, and at which of these it has nothing but zeros."""

    axis: Axis
    first: int
    """Where the stretch begins, in whole steps of the axis from the tensor's begin."""
    count: int
    """How many it touches; more than the axis has indices, where it goes round."""
    dead: NDArray[np.int64]

    @classmethod
    def of(cls, axis: Axis, stretch: _Stretch) -> "_Along":
        first, last = stretch.start // axis.step, (stretch.stop - 1) // axis.step
        count = last - first + 1
        if stretch.zeros < _fewest(axis, stretch, count):
            return cls(axis, first, count, _NONE)
        if count > axis.size:
            return cls(axis, first, count, np.flatnonzero(~_folded(axis, stretch)))
        there = stretch.there
        if axis.step > 1:
            begins = np.arange(first, last + 1) * axis.step - stretch.start
            there = np.logical_or.reduceat(there, np.maximum(begins, 0))
        return cls(axis, first, count, (first + np.flatnonzero(~there)) % axis.size)

    def merge(self, other: "_Along") -> "_Along":
        count = other.first + other.count - self.first
        if not len(self.dead) and not len(other.dead):
            return _Along(self.axis, self.first, count, _NONE)
        alone = self.dead[~other.touches(self.dead)], other.dead[~self.touches(other.dead)]
        dead = np.concatenate([*alone, np.intersect1d(self.dead, other.dead, assume_unique=True)])
        return _Along(self.axis, self.first, count, dead)

    def touches(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the stretch has elements of each index."""
        return (indices - self.first) % self.axis.size < self.count

    def finish(self) -> Dead:
        indices = np.sort(self.dead)
        return Dead(len(indices), self.axis.size, tuple(indices[:MOST_INDICES].tolist()))


_NONE = np.empty(0, np.int64)


def _fewest(axis: Axis, stretch: _Stretch, count: int) -> int:
    """As many zeros as are needed at least to fill any of the `count` indices that a stretch touches."""
    if count > axis.size:
        return stretch.numel // (axis.size * axis.step) * axis.step or 1
    head, tail = -stretch.start % axis.step, stretch.stop % axis.step
    return min(each or axis.step for each in (head, tail, stretch.numel))


def _folded(axis: Axis, stretch: _Stretch) -> NDArray[np.bool_]:
    """Whether there is any at each index of an axis, of a stretch that goes round it: all rounds one upon the other."""
    around = axis.size * axis.step
    first = stretch.start % around
    rounds = -(-(first + stretch.numel) // around)
    whole = np.zeros(rounds * around, bool)
    whole[first : first + stretch.numel] = stretch.there
    return np.logical_or.reduce(np.logical_or.reduce(whole.reshape(rounds, around)).reshape(-1, axis.step), axis=1)


# N:M patterns


@dataclass(frozen=True, slots=True)
class _Groups:
    """The most elements other than zero in a group of inputs; and what a stretch holds of groups that it cuts."""

    axis: Axis
    most: Mapping[int, int]
    """By the size of the groups, of those that are whole."""
    cut: Mapping[int, tuple[NDArray[np.bool_], int]]
    """Of slabs of the widest groups side by side, by their number: what is known, and how many elements that is."""

    @classmethod
    def of(cls, axis: Axis, stretch: _Stretch) -> "_Groups":
        sizes = [size for size in GROUPS if axis.size and axis.size % size == 0]
        if not sizes:
            return cls(axis, {}, {})
        start, stop, slab = stretch.start, stretch.stop, sizes[-1] * axis.step
        first, last = -(-start // slab) * slab, stop // slab * slab
        if stretch.zeros * sizes[-1] < last - first:  # so that a group of each size has none
            return cls(axis, {size: size for size in sizes}, {})
        inside = stretch.there[first - start : max(first, last) - start]
        return cls(axis, _most(inside, sizes, axis.step), dict(_cut(stretch.there, start, slab)))

    def merge(self, other: "_Groups") -> "_Groups":
        most = {size: max(found, other.most[size]) for size, found in self.most.items()}
        if all(size == found for size, found in most.items()):
            return _Groups(self.axis, most, {})
        cut = dict(self.cut)
        for number, (there, known) in other.cut.items():
            before, others = cut.pop(number, (there, 0))
            if known + others < len(there):
                cut[number] = before | there, known + others
            else:
                found = _most(before | there, list(most), self.axis.step)
                most = {size: max(most[size], found[size]) for size in most}
        return _Groups(self.axis, most, cut)


def _cut(there: NDArray[np.bool_], start: int, slab: int) -> Iterator[tuple[int, tuple[NDArray[np.bool_], int]]]:
    """The slabs that begin before a stretch, or end behind it, by their number: filled with False."""
    stop = start + len(there)
    for number in {start // slab, (stop - 1) // slab}:
        low, high = max(start, number * slab), min(stop, (number + 1) * slab)
        if high - low < slab:
            known = np.zeros(slab, bool)
            known[low - number * slab : high - number * slab] = there[low - start : high - start]
            yield number, (known, high - low)


def _most(there: NDArray[np.bool_], sizes: Sequence[int], step: int) -> dict[int, int]:
    """The most True in any group of each size, whose members lie `step` apart; of whole slabs of the widest groups."""
    counts, width, most = there.view("u1").reshape(-1, step), 1, dict[int, int]()
    for size in sizes:
        parts = counts.reshape(-1, size // width, step)
        counts, width = reduce(np.add, (parts[:, at] for at in range(size // width))), size
        most[size] = int(counts.max(initial=0))
    return most
