"""What stretches of two tensors prove of the kind of change between them, found as they are read; numpy alone.

Each stretch is looked at by itself: a few of its elements tell what may be the case, and only that is then proved on
all of them. What holds for a tensor is what holds for each of its stretches.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.difference import Difference
from statedict.dtypes import DTYPES, DType
from statedict.expressions.rounding import convert
from statedict.ops.diff.glance import (
    FEW_IN_ALL,
    FEW_IN_GROUP,
    FEWER,
    GROUPS,
    LOOKED_AT,
    MANTISSAS,
    NARROWER,
    SCALED_BY,
    SIGNIFICANT,
    may_be_scaled,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LEAST_PROVED = 32
"""Elements by which a scale is proved, at least: fewer could have one by chance."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What all stretches so far prove. It merges: what one refutes is gone."""

    rounded: frozenset[str] = frozenset()
    """Element types to which the first was rounded, and nothing else happened to it."""
    zeroed: int | None = None
    """How many elements became zero, where nothing else changed."""
    flipped: int | None = None
    """How many elements changed their sign, where nothing else changed."""
    zeros: int = 0
    """Zeros in the second, where `zeroed` is known."""
    scale: "Scale | None" = None
    levels: frozenset[float] | None = None
    """All values of the second, where they are few and the first's are many."""
    groups: frozenset[int] = frozenset()
    """Sizes of groups in each of which the second has few values, and the first many."""

    @property
    def is_none(self) -> bool:
        """Whether everything is refuted."""
        return self == Evidence(zeros=self.zeros)

    def merge(self, other: "Evidence") -> "Evidence":
        """What both prove together."""
        scale = None if self.scale is None or other.scale is None else self.scale.merge(other.scale)
        levels = None if self.levels is None or other.levels is None else self.levels | other.levels
        return Evidence(
            self.rounded & other.rounded,
            _sum(self.zeroed, other.zeroed),
            _sum(self.flipped, other.flipped),
            self.zeros + other.zeros,
            scale,
            levels if levels is not None and len(levels) <= FEW_IN_ALL else None,
            self.groups & other.groups,
        )


class Scale(NamedTuple):
    """From which to which number a factor lies that turns each element into the other, both of them rounded."""

    low: float
    high: float
    proofs: int
    """Elements other than zero that it was proved by."""

    def merge(self, other: "Scale") -> "Scale | None":
        found = Scale(max(self.low, other.low), min(self.high, other.high), self.proofs + other.proofs)
        return found if found.low <= found.high else None

    @property
    def factor(self) -> float:
        """The shortest number between both."""
        middle = (self.low + self.high) / 2
        near = (float(f"{middle:.{digits}g}") for digits in range(1, 17))
        return next((each for each in near if self.low <= each <= self.high), middle)

    @property
    def is_proved(self) -> bool:
        return self.proofs >= _LEAST_PROVED


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def evidence(first: DType, a: "NDArray[Any]", second: DType, b: "NDArray[Any]", difference: Difference) -> Evidence:
    """What a stretch proves whose difference is known."""
    if difference.same_bits:
        return _untouched(b)
    if first.name not in MANTISSAS or (second.name not in MANTISSAS and second.name not in NARROWER):
        return Evidence()
    found = Evidence(rounded=_rounded(first, a, second, b))
    if first is second:
        found = _with_masks(found, a, b)
    if second.name in MANTISSAS:
        found = replace(found, scale=_scale(a, second, b))
        explained = found.rounded or found.zeroed is not None or found.flipped is not None
        found = found if explained else _with_levels(found, a, b)
    return found


def _untouched(b: "NDArray[Any]") -> Evidence:
    """A stretch that is the same to the bit: it refutes all that would have changed it."""
    import numpy as np

    zeros = len(b) - int(np.count_nonzero(_magnitudes(b)))
    return Evidence(zeroed=0, flipped=0, zeros=zeros)


def _bits(values: "NDArray[Any]") -> "NDArray[Any]":
    return values.view(f"u{values.itemsize}")


def _magnitudes(values: "NDArray[Any]") -> "NDArray[Any]":
    """The patterns without the sign."""
    bits = _bits(values)
    return bits & bits.dtype.type((1 << (8 * values.itemsize - 1)) - 1)


# Rounding


def _rounded(first: DType, a: "NDArray[Any]", second: DType, b: "NDArray[Any]") -> frozenset[str]:
    """The narrower types that take the first to the second."""
    candidates = NARROWER if first is second else (second.name,)
    holding: list[str] = []
    for target in (DTYPES[name] for name in candidates if name in NARROWER):
        if target.bits < first.bits and _fits(b[:LOOKED_AT], second, target):
            few = _is_rounding(a[:LOOKED_AT], target, second, b[:LOOKED_AT])
            holding += [target.name] if few and _is_rounding(a, target, second, b) else []
    return frozenset(holding)


def _fits(values: "NDArray[Any]", dtype: DType, target: DType) -> bool:
    """Whether the values may be of the narrower type: whether their last bits are zero."""
    import numpy as np

    if dtype is target:
        return True
    spare = MANTISSAS[dtype.name][0] - SIGNIFICANT[target.name]
    return spare > 0 and int(np.bitwise_or.reduce(_bits(values))) & ((1 << spare) - 1) == 0


def _is_rounding(a: "NDArray[Any]", target: DType, second: DType, b: "NDArray[Any]") -> bool:
    import numpy as np

    made = convert(a, target)
    made = made if target is second else convert(made, second)
    with np.errstate(invalid="ignore"):
        return bool(((made == b) | ((made != made) & (b != b))).all())


# Masks and signs


def _with_masks(found: Evidence, a: "NDArray[Any]", b: "NDArray[Any]") -> Evidence:
    """With how many elements became zero, or changed their sign, where nothing else happened."""
    import numpy as np

    may_be_zeroed, may_be_flipped = _may_be(a[:LOOKED_AT], b[:LOOKED_AT])
    if not (may_be_zeroed or may_be_flipped):
        return found
    apart, rest = _bits(a) ^ _bits(b), _magnitudes(b)
    if may_be_zeroed and bool(((apart == 0) | (rest == 0)).all()):
        zero = rest == 0
        lost = int(np.count_nonzero(zero & (_magnitudes(a) != 0)))
        found = replace(found, zeroed=lost, zeros=int(np.count_nonzero(zero)))
    if may_be_flipped and not _magnitudes(apart).any():
        found = replace(found, flipped=int(np.count_nonzero((apart != 0) & (rest != 0))))
    return found


def _may_be(a: "NDArray[Any]", b: "NDArray[Any]") -> tuple[bool, bool]:
    """Whether all that changed became zero, and whether it changed its sign alone."""
    apart = _bits(a) ^ _bits(b)
    return not _magnitudes(b)[apart != 0].any(), not _magnitudes(apart).any()


# A scale


def _scale(a: "NDArray[Any]", second: DType, b: "NDArray[Any]") -> Scale | None:
    """The factors that turn each element into the other, which was rounded; None where there is none."""
    if not may_be_scaled(second, *(each[:SCALED_BY].astype("f8").tolist() for each in (a, b))):
        return None
    few = _factors(a[:LOOKED_AT], second, b[:LOOKED_AT])
    if few is None or len(a) <= LOOKED_AT:
        return few
    return _factors(a, second, b)


def _factors(a: "NDArray[Any]", second: DType, b: "NDArray[Any]") -> Scale | None:
    import numpy as np

    with np.errstate(all="ignore"):
        x, y = a.astype("f8"), b.astype("f8")
        there = x != 0
        if not np.isfinite(x).all() or not np.isfinite(y).all() or (y[~there] != 0).any():
            return None
        x, y = x[there], y[there]
        if not len(x):
            return Scale(-np.inf, np.inf, 0)
        mantissa, least = MANTISSAS[second.name]
        half = np.ldexp(0.5, np.maximum(np.frexp(y)[1] - 1 - mantissa, least))
        half[y == 0] = np.ldexp(0.5, least)
        edges = (y - half) / x, (y + half) / x
        low, high = float(np.minimum(*edges).max()), float(np.maximum(*edges).min())
    return Scale(low, high, len(x)) if low <= high else None


# Few values


def _with_levels(found: Evidence, a: "NDArray[Any]", b: "NDArray[Any]") -> Evidence:
    """With all values of the second, or of each of its groups, where these are much fewer than the first's."""
    import numpy as np

    before, after = patterns(a[:LOOKED_AT]), patterns(b[:LOOKED_AT])
    few, many = (set(each.tolist()) for each in (after, before))
    levels: frozenset[float] | None = None
    groups: list[int] = []
    if len(few) <= FEW_IN_ALL and FEWER * len(few) < len(many):
        few, many = np.unique(patterns(b)), np.unique(patterns(a))
        levels = frozenset(few.tolist()) if len(few) <= FEW_IN_ALL and 2 * len(few) < len(many) else None
    for size in GROUPS:
        if len(b) % size == 0 and _in_groups(before, after, size):
            groups += [size] if _in_groups(patterns(a), patterns(b), size) else []
    return replace(found, levels=levels, groups=frozenset(groups))


def _in_groups(before: "NDArray[Any]", after: "NDArray[Any]", size: int) -> bool:
    """Whether each group of the second has few values, and the first's many more on the whole."""
    if len(set(after[:size].tolist())) > FEW_IN_GROUP:
        return False
    few = distinct(after.reshape(-1, size))
    if int(few.max()) > FEW_IN_GROUP:
        return False
    return FEWER * float(few.mean()) < float(distinct(before.reshape(-1, size)).mean())


def patterns(values: "NDArray[Any]") -> "NDArray[Any]":
    """The patterns of some elements, that of -0 as that of 0."""
    bits = _bits(values).copy()
    bits[bits == bits.dtype.type(1 << (8 * values.itemsize - 1))] = 0
    return bits


def distinct(rows: "NDArray[Any]") -> "NDArray[np.int64]":
    """How many different patterns there are in each row."""
    import numpy as np

    ordered = np.sort(rows, axis=1)
    return 1 + np.count_nonzero(ordered[:, 1:] != ordered[:, :-1], axis=1)
