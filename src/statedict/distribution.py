"""How the elements of a tensor are spread: exact counts, and from them quantiles, histograms, distinct values.

Elements of 16 bits and fewer are counted by their whole pattern, wider ones by their first 16 bits; for a quantile of
these, each further 16 bits take another pass.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statedict.dtypes import DType
from statedict.engine import Job
from statedict.index import TensorInfo
from statedict.kernels import count
from statedict.units import into_first

Counts = NDArray[np.uint64]
LEAST = -12
"""The power of ten that `Magnitudes` begin with."""
DECADES = 18
"""The powers of ten that they go through."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The counts of a real tensor's patterns, by their first bits, in the order of the numbers that they stand for.

    Only finite elements count.
    """

    dtype: DType
    patterns: NDArray[np.uint16]
    """The first bits of those that are there, ascending by number."""
    counts: NDArray[np.int64]

    @property
    def numel(self) -> int:
        return int(self.counts.sum())

    @property
    def distinct(self) -> int | None:
        """How many different numbers there are; None where elements have more than 16 bits. The two zeros are one."""
        return len(np.unique(self.values())) if _shift(self.dtype) == 0 else None

    def values(self) -> NDArray[np.float64]:
        """The number of each pattern; of wider ones that in the middle of those that begin so."""
        return _values(self.dtype, self.patterns.astype(np.uint64))

    def histogram(self, bins: int, low: float, high: float) -> tuple[list[int], list[float]]:
        """Counts in so many stretches of equal width between the least and the greatest number, and their edges.

        Exact for elements of 16 bits and fewer; wider ones are counted as if they had no more.
        """
        scale = 0.25 if np.isinf(float(high) - float(low)) else 1.0
        values, low, high = np.clip(self.values(), low, high) * scale, low * scale, high * scale
        gap = bins * float(np.spacing(max(abs(low), abs(high))))
        if high - low < 2 * gap:  # too close for so many edges
            low, high = low - max(gap, 0.5), high + max(gap, 0.5)
        found, edges = np.histogram(values, bins, (low, high), weights=self.counts)
        return found.astype(int).tolist(), (edges / scale).tolist()

    def magnitudes(self) -> "Magnitudes":
        """The counts by magnitude. Wider elements are counted as their first 16 bits tell, as zeros if these are 0."""
        values = np.abs(self.values())
        there = _values(self.dtype, self.patterns.astype(np.uint64) << np.uint64(_shift(self.dtype)), whole=True) != 0
        places = np.clip(np.floor((np.log10(values[there]) - LEAST) * 10), 0, 10 * DECADES - 1).astype(np.int64)
        return Magnitudes(tuple(np.bincount(places, self.counts[there], 10 * DECADES).astype(np.int64).tolist()))


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """How many numbers other than zero there are in each tenth of a decade, from 10 ** `LEAST` on."""

    counts: tuple[int, ...]
    """The first and the last are also of what is below and above."""


def counting(info: TensorInfo) -> Job[Counts]:
    """The job that counts the first bits of each element, of which the result is a `Spread`."""
    return Job(info, _first, np.add, partial(spread, info.dtype), fold=partial(into_first, merge=np.add))


def weighing(info: TensorInfo) -> Job[Counts]:
    """The same of which the result is `Magnitudes`, which take less memory."""
    return counting(info)._replace(finish=partial(_magnitudes, info.dtype))


def _magnitudes(dtype: DType, counts: Counts) -> Magnitudes:
    return spread(dtype, counts).magnitudes()


def _first(dtype: DType, values: NDArray[Any]) -> Counts:
    return count(values, _width(dtype), _shift(dtype))


def spread(dtype: DType, counts: Counts) -> Spread:
    """The counts of all first bits, put in order."""
    order = _order(dtype)
    often = counts[order].astype(np.int64)
    there = np.flatnonzero(often)
    return Spread(dtype, order[there].astype(np.uint16), often[there])


def merged(spreads: Sequence[Spread]) -> Spread | None:
    """Those of several tensors of one element type as one; None of several types, and of none."""
    kinds = {each.dtype for each in spreads}
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    counts = np.zeros(1 << _width(kind), np.uint64)
    for each in spreads:
        counts[each.patterns] += each.counts.astype(np.uint64)
    return spread(kind, counts)


class Ranks:
    """The numbers at some positions in the ascending order of a tensor's finite elements, exact to the last bit.

    While `kernel()` is not None it is to be run, for what it gives to be learnt: the next 16 bits.
    """

    def __init__(self, found: Spread, ranks: list[int]) -> None:
        self._dtype = found.dtype
        self._known = _shift(found.dtype)
        ends = np.cumsum(found.counts)
        self._at: dict[int, tuple[int, int]] = {}
        """Of each rank: the first bits of its number, and its position among those that begin so."""
        for rank in ranks:
            at = int(np.searchsorted(ends, rank, side="right"))
            self._at[rank] = int(found.patterns[at]), rank - int(ends[at] - found.counts[at])

    def kernel(self) -> Callable[[DType, NDArray[Any]], Counts] | None:
        """What counts the next 16 bits of some elements; None when all are known. Its counts add up."""
        if self._known == 0 or not self._at:
            return None
        return partial(_next, shift=self._known - 16, prefixes=self._prefixes())

    def _prefixes(self) -> tuple[int, ...]:
        return tuple(sorted({pattern for pattern, _ in self._at.values()}))

    def learn(self, counts: Counts) -> None:
        """Take in what `kernel` gave for all elements."""
        rows = dict(zip(self._prefixes(), counts, strict=True))
        self._known -= 16
        for rank, (pattern, position) in self._at.items():
            down = _falls(self._dtype, pattern, self._known + 16)
            often = rows[pattern][::-1] if down else rows[pattern]
            ends = np.cumsum(often.astype(np.int64))
            at = int(np.searchsorted(ends, position, side="right"))
            low = (1 << 16) - 1 - at if down else at
            self._at[rank] = pattern << 16 | low, position - int(ends[at] - int(often[at]))

    def values(self) -> dict[int, float]:
        """The number at each rank."""
        patterns = np.array([pattern for pattern, _ in self._at.values()], np.uint64)
        return dict(zip(self._at, _values(self._dtype, patterns, whole=True).tolist(), strict=True))


class Quantiles(Ranks):
    """The quantiles of a tensor's finite elements for shares from 0 to 1: numpy's, between two ranks in proportion."""

    def __init__(self, found: Spread, shares: Iterable[float]) -> None:
        numel = found.numel
        self._places = {share: share * (numel - 1) for share in shares} if numel else {}
        places = self._places.values()
        super().__init__(found, sorted({*map(math.floor, places), *map(math.ceil, places)}))

    def quantiles(self) -> dict[float, float]:
        """By their shares; nothing where no element is finite."""
        at = self.values()
        return {share: _between(at, place) for share, place in self._places.items()}


def _between(at: dict[int, float], place: float) -> float:
    low, high, part = at[math.floor(place)], at[math.ceil(place)], place % 1
    return low + (high - low) * part if part else low


def _next(dtype: DType, values: NDArray[Any], shift: int, prefixes: tuple[int, ...]) -> Counts:
    """The counts of 16 further bits, a row for each of the bits before."""
    return np.stack([count(values, 16, shift, prefix) for prefix in prefixes])


# Patterns and numbers


def _width(dtype: DType) -> int:
    return 8 if dtype.to_numpy().itemsize == 1 else 16


def _shift(dtype: DType) -> int:
    return 8 * dtype.to_numpy().itemsize - _width(dtype)


@cache
def _order(dtype: DType) -> NDArray[np.int64]:
    """The patterns of first bits, ascending by the number that they stand for; without those of no finite one."""
    values = _values(dtype, np.arange(1 << _width(dtype), dtype=np.uint64))
    order = np.argsort(values, kind="stable")
    return order[np.isfinite(values[order])]


def _falls(dtype: DType, pattern: int, below: int) -> bool:
    """Whether numbers become less as the `below` bits behind `pattern` become more: negative floating-point ones."""
    sign = dtype.to_numpy().itemsize * 8 - 1 - below
    return dtype.is_floating_point and pattern >> sign & 1 == 1


def _values(dtype: DType, patterns: NDArray[np.uint64], *, whole: bool = False) -> NDArray[Any]:
    """The numbers of patterns, which are of first bits unless they are `whole`."""
    kind = dtype.to_numpy()
    shift = 0 if whole else _shift(dtype)
    middle = 1 << (shift - 1) if shift else 0
    bits = (patterns << np.uint64(shift) | np.uint64(middle)).astype(f"u{kind.itemsize}")
    with np.errstate(invalid="ignore"):
        values = bits.view(kind) if kind.kind != "b" else bits != 0
        return values if whole and kind.kind in "iu" else values.astype(np.float64)
