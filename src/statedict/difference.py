"""`Difference`: how far the elements of two tensors lie apart, in a few figures that merge: of blocks, of tensors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

_COUNTS = ("count", "same", "changed", "finite", "nans", "infinities", "mended", "beyond")
_SUMS = ("largest", "absolute", "squares", "before", "after")


@dataclass(frozen=True, slots=True)
class Difference:
    """Counts and sums of what lies between the elements of a tensor and those of another, one by one.

    Sums are of those elements that are finite in both, each difference taken in float64; of complex numbers they are of
    the modulus.
    """

    count: int = 0
    """Pairs of elements in all."""
    same: int = 0
    """Those in blocks of which every bit is the same; no sum holds them until `with_squares` adds theirs."""
    changed: int = 0
    """Those of unlike value. NaN is like NaN, and 0 like -0."""
    finite: int = 0
    """Those of which both are finite, but for the `same`."""
    nans: int = 0
    """Those that are NaN in the second and not in the first."""
    infinities: int = 0
    """Those that are infinite in the second and finite in the first."""
    mended: int = 0
    """Those that are finite in the second and not in the first."""
    beyond: int = 0
    """Those that are farther apart than the tolerance, where there is one."""
    largest: float = 0.0
    """The largest difference."""
    absolute: float = 0.0
    """The sum of differences without their signs."""
    squares: float = 0.0
    """The sum of squared differences."""
    before: float = 0.0
    """The sum of the first's squares."""
    after: float = 0.0
    """The sum of the second's squares."""

    @property
    def same_bits(self) -> bool:
        """Whether every bit was compared and is the same."""
        return self.same == self.count

    @property
    def same_values(self) -> bool:
        return self.changed == 0

    @property
    def max(self) -> float:
        """The largest difference of two elements."""
        return self.largest

    @property
    def mean(self) -> float:
        """The mean difference without its sign, of those that are finite in both."""
        numbers = self.finite + self.same
        return self.absolute / numbers if numbers else 0.0

    @property
    def share(self) -> float:
        """The share of elements whose value changed."""
        return self.changed / self.count if self.count else 0.0

    @property
    def relative(self) -> float:
        """The L2 norm of the difference relative to that of the first: infinite where the first is all zeros."""
        if not self.squares:
            return 0.0
        return math.sqrt(self.squares / self.before) if self.before else math.inf

    @property
    def product(self) -> float:
        """The sum of the products of both."""
        return (self.before + self.after - self.squares) / 2

    @property
    def cosine(self) -> float | None:
        """The cosine of the angle between both as vectors; None where one of them is all zeros."""
        length = math.sqrt(self.before) * math.sqrt(self.after)
        if not length or not math.isfinite(length):
            return None
        return 1.0 if not self.squares else max(-1.0, min(1.0, self.product / length))

    @property
    def snr(self) -> float:
        """The ratio of signal to noise in decibels, the first being the signal: the SQNR of a quantisation.

        Infinite where there is no difference.
        """
        relative = self.relative
        return math.inf if not relative else -20 * math.log10(relative) if math.isfinite(relative) else -math.inf

    def merge(self, other: "Difference") -> "Difference":
        """What there is to say of both stretches."""
        if not self.count or not other.count:
            return self if self.count else other
        counts = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        return Difference(
            **counts,
            largest=max(self.largest, other.largest),
            absolute=self.absolute + other.absolute,
            squares=self.squares + other.squares,
            before=self.before + other.before,
            after=self.after + other.after,
        )

    def with_beyond(self, count: int) -> "Difference":
        """The same, of which so many are farther apart than the tolerance."""
        return replace(self, beyond=count)

    def with_squares(self, before: float) -> "Difference":
        """The same, where the squares of the whole first tensor have become known: those of `same` elements as well."""
        more = max(0.0, before - self.before)
        return replace(self, before=before, after=self.after + more)


NONE = Difference()


def of_figures(figures: Sequence[Any]) -> Difference:
    """The difference that consists of these: the counts but `beyond`, then the sums."""
    return Difference(**dict(zip((*_COUNTS[:-1], *_SUMS), figures, strict=True)))
