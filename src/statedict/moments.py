"""`Summary`: what is said of a set of numbers in a few figures, and of several sets together by merging theirs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts, extremes and sums of numbers. All but the counts of NaN and infinities are of the finite ones.

    Of complex numbers there are no extremes, and all sums but `total` are of the modulus.
    """

    count: int = 0
    """Elements in all."""
    zeros: int = 0
    """Zeros of either sign."""
    nans: int = 0
    positive_infinities: int = 0
    """Of complex numbers: those of which a part is infinite."""
    negative_infinities: int = 0
    denormals: int = 0
    """Numbers other than zero below the smallest normal one of their type."""
    min: float | None = None
    max: float | None = None
    largest: float = 0.0
    """The largest magnitude: the L∞ norm."""
    total: float | complex = 0.0
    """The sum."""
    absolute: float = 0.0
    """The sum of magnitudes: the L1 norm."""
    squares: float = 0.0
    """The sum of squared magnitudes."""
    deviations: float = 0.0
    """The sum of squared differences from the mean."""

    @property
    def finite(self) -> int:
        """Elements that are neither NaN nor infinite."""
        return self.count - self.nans - self.infinities

    @property
    def infinities(self) -> int:
        return self.positive_infinities + self.negative_infinities

    @property
    def mean(self) -> float | complex | None:
        """The mean of the finite elements; None where there are none."""
        return self.total / self.finite if self.finite else None

    @property
    def std(self) -> float | None:
        """The standard deviation of the finite elements as a whole population; None where there are none."""
        if not self.finite:
            return None
        return 0.0 if self.min is not None and self.min == self.max else math.sqrt(self.deviations / self.finite)

    @property
    def l1(self) -> float:
        return self.absolute

    @property
    def l2(self) -> float:
        return math.sqrt(self.squares)

    @property
    def linf(self) -> float:
        return self.largest

    @property
    def sparsity(self) -> float | None:
        """The share of zeros; None where there are no elements."""
        return self.zeros / self.count if self.count else None

    def merge(self, other: "Summary") -> "Summary":
        """One summary of both sets.

        Deviations are merged as Chan, Golub and LeVeque (1979) have it, so that means far from zero cost no precision.
        """
        if not self.count or not other.count:
            return self if self.count else other
        return Summary(
            count=self.count + other.count,
            zeros=self.zeros + other.zeros,
            nans=self.nans + other.nans,
            positive_infinities=self.positive_infinities + other.positive_infinities,
            negative_infinities=self.negative_infinities + other.negative_infinities,
            denormals=self.denormals + other.denormals,
            min=_known(min, self.min, other.min),
            max=_known(max, self.max, other.max),
            largest=max(self.largest, other.largest),
            total=self.total + other.total,
            absolute=self.absolute + other.absolute,
            squares=self.squares + other.squares,
            deviations=self.deviations + other.deviations + self._between(other),
        )

    def _between(self, other: "Summary") -> float:
        """What two sets deviate because their means differ."""
        if not self.finite or not other.finite:
            return 0.0
        apart = abs(other.total / other.finite - self.total / self.finite)
        return apart * apart * (self.finite * other.finite / (self.finite + other.finite))


EMPTY = Summary()


def of_figures(figures: Sequence[Any]) -> Summary:
    """The summary of real numbers from the figures that a kernel finds: six counts, both extremes, four sums."""
    numbers, zeros, nans, above, below, denormals, low, high, total, absolute, squares, deviations = figures
    finite = numbers - nans - above - below
    return Summary(
        numbers, zeros, nans, above, below, denormals,
        low if finite else None, high if finite else None, max(abs(low), abs(high)),
        total, absolute, squares, deviations,
    )  # fmt: skip


def _known(choose: Any, first: float | None, second: float | None) -> float | None:
    if first is None or second is None:
        return second if first is None else first
    return choose(first, second)
