"""Numeric inner loops over the elements of one tensor: what engine.py runs on block after block.

A kernel takes elements and returns a value; values of a tensor's blocks are merged in their order. Where the C
accelerator is there it stands in for the numpy here, bit for bit: both sum in float64 in one fixed order.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from statedict import accelerator
from statedict.accelerator import BLOCK
from statedict.dtypes import DTYPES, DType
from statedict.expressions.rounding import convert
from statedict.summary import EMPTY, Summary

_LANES = 256
"""Element i of a block is added to the lane i % 256; at its end the lanes are folded by halves."""
_DOUBLE = DTYPES["float64"]
_CANCELLED = 2.0**-10
"""Where no more than this part of a sum of squares is left as deviation from the mean, that is summed anew."""
_COUNTS = ("count", "zeros", "nans", "positive_infinities", "negative_infinities", "denormals")
_SUMS = ("sum", "absolute", "squares", "deviations")
_RECORDS = {
    kind: np.dtype(
        [(name, "i8") for name in _COUNTS] + [("low", low), ("high", low)] + [(name, "f8") for name in _SUMS]
    )
    for kind, low in {"f": "f8", "i": "i8", "u": "u8"}.items()
}
"""What is said of a block, or of several, as the C code lays it out; by the kind of the elements."""
_BITS = {2: "u2", 4: "u4", 8: "u8"}


def summarize(dtype: DType, values: NDArray[Any]) -> Summary:
    """What there is to say of elements in one row: extremes, sums, counts of what is special.

    `values` are of `dtype.to_numpy()`. Those that are not finite are counted, and left out of extremes and sums.
    """
    if not len(values):
        return EMPTY
    if dtype.is_complex:
        return _of_complex(values)
    if values.itemsize == 1:
        return _of_counts(dtype, count(values, 8))
    record = np.zeros(1, _RECORDS[values.dtype.kind if values.dtype.kind in "iu" else "f"])
    found = accelerator.library()
    if found is not None:
        found.summarize(accelerator.CODES[dtype.numpy], _plain(values), record.view("u1"))
        return _summary(record)
    blocks = (_of_block(values[at : at + BLOCK], record) for at in range(0, len(values), BLOCK))
    return reduce(merge, blocks)


def merge(first: Summary, second: Summary) -> Summary:
    """One summary of both: what `engine.run` merges with."""
    return first.merge(second)


def _of_block(values: NDArray[Any], record: NDArray[Any]) -> Summary:
    """What there is to say of a block, for which there is room in `record`."""
    record[:] = 0
    if values.dtype.kind in "iu":
        _whole_block(values, record[0])
    else:
        _float_block(values, record[0])
    return _summary(record)


def _plain(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of elements that the C code may read where they are, or of a copy."""
    return np.require(values, requirements=["C", "ALIGNED"]).view("u1")


def _summary(record: NDArray[Any]) -> Summary:
    numbers, zeros, nans, above, below, denormals, low, high, *sums = record.item()
    finite = numbers - nans - above - below
    total, absolute, squares, deviations = sums
    return Summary(
        numbers, zeros, nans, above, below, denormals,
        low if finite else None, high if finite else None, max(abs(low), abs(high)),
        total, absolute, squares, deviations,
    )  # fmt: skip


# The memory of a block


class _Room(threading.local):
    """Memory that each thread has for a block: to ask for it anew takes longer than to fill it."""

    def __init__(self) -> None:
        self.wide = np.empty(BLOCK)
        self.other = np.empty(BLOCK)
        self.patterns = np.empty(BLOCK, "u8")


_room = _Room()


# Floating point: extremes and what is special from the patterns, sums from the values


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where infinity and the smallest normal number are among the patterns without their sign."""

    infinity: int
    normal: int
    widened: Callable[[NDArray[Any]], NDArray[Any]]


def _from_bfloat16(bits: NDArray[Any]) -> NDArray[Any]:
    wide = _room.patterns.view("u4")[: len(bits)]
    wide[:] = bits
    wide <<= 16
    return wide.view("f4")


_LAYOUTS = {
    "bfloat16": _Layout(0x7F80, 0x80, _from_bfloat16),
    "float16": _Layout(0x7C00, 0x400, lambda bits: bits.view("f2")),
    "float32": _Layout(0x7F80_0000, 0x80_0000, lambda bits: bits.view("f4")),
    "float64": _Layout(0x7FF0 << 48, 0x10 << 48, lambda bits: bits.view("f8")),
}


def _float_block(values: NDArray[Any], record: Any) -> None:
    layout, bits = _LAYOUTS[values.dtype.name], values.view(_BITS[values.itemsize])
    sign = bits.dtype.type(1 << (8 * values.itemsize - 1))
    wide = _rows(len(bits))
    with np.errstate(invalid="ignore"):
        wide[: len(bits)] = layout.widened(bits)
    magnitudes = _room.patterns.view(bits.dtype)[: len(bits)]
    np.bitwise_and(bits, sign - bits.dtype.type(1), out=magnitudes)
    if magnitudes.min() < layout.normal:
        record["zeros"] = len(bits) - np.count_nonzero(magnitudes)
        record["denormals"] = np.count_nonzero(magnitudes < layout.normal) - record["zeros"]
    finite = None
    if magnitudes.max() >= layout.infinity:
        finite = magnitudes < layout.infinity
        record["nans"] = np.count_nonzero(magnitudes > layout.infinity)
        record["positive_infinities"] = np.count_nonzero(bits == layout.infinity)
        record["negative_infinities"] = np.count_nonzero(bits == (sign | bits.dtype.type(layout.infinity)))
        wide[: len(bits)][~finite] = 0
    known = wide[: len(bits)] if finite is None else wide[: len(bits)][finite]
    if len(known):
        record["low"], record["high"] = known.min() + 0.0, known.max() + 0.0
    _sums(wide, finite, len(bits), len(known), record)


def _whole_block(values: NDArray[Any], record: Any) -> None:
    wide = _rows(len(values))
    wide[: len(values)] = values
    record["zeros"] = len(values) - np.count_nonzero(values)
    record["low"], record["high"] = values.min(), values.max()
    _sums(wide, None, len(values), len(values), record)


def _rows(count: int) -> NDArray[np.float64]:
    """Room for so many doubles, and zeros up to a multiple of the lanes."""
    rows = _room.wide[: -(-count // _LANES) * _LANES]
    rows[count:] = 0
    return rows


def _sums(wide: NDArray[np.float64], finite: NDArray[Any] | None, count: int, known: int, record: Any) -> None:
    """The sums of a block, of which `known` elements are finite and the others are 0."""
    record["count"] = count
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        other = _room.other[: len(wide)]
        total, squares = _folded(wide), _folded(np.multiply(wide, wide, out=other))
        record["sum"], record["absolute"], record["squares"] = total, _folded(np.abs(wide, out=other)), squares
        if not known:
            return
        mean = total / known
        deviations = squares - total * mean
        if not deviations >= squares * _CANCELLED:
            wide[:count] -= mean
            if finite is not None:
                wide[:count][~finite] = 0
            rest = _folded(wide)
            deviations = _folded(np.multiply(wide, wide, out=other)) - rest * (rest / known)
        record["deviations"] = 0.0 if deviations < 0 else deviations


def _folded(values: NDArray[np.float64]) -> np.float64:
    """The sum of a block in the order that is fixed: lane by lane, then the lanes by halves."""
    lanes = np.add.reduce(values.reshape(-1, _LANES), axis=0)
    half = _LANES // 2
    while half:
        lanes = lanes[:half] + lanes[half : 2 * half]
        half //= 2
    return lanes[0] + 0.0


def _of_complex(values: NDArray[Any]) -> Summary:
    """Of complex numbers: no extremes, sums of the modulus; one is NaN if a part is, else infinite if a part is."""
    real, imaginary = np.real(values), np.imag(values)
    nan = np.isnan(real) | np.isnan(imaginary)
    infinite = ~nan & (np.isinf(real) | np.isinf(imaginary))
    finite = ~(nan | infinite)
    known = values[finite].astype("c16")
    with np.errstate(over="ignore"):
        modulus = np.abs(known)
    first, second, size = (summarize(_DOUBLE, part) for part in (np.real(known), np.imag(known), modulus))
    return Summary(
        count=len(values),
        zeros=int(np.count_nonzero(known == 0)),
        nans=int(np.count_nonzero(nan)),
        positive_infinities=int(np.count_nonzero(infinite)),
        negative_infinities=0,
        denormals=0,
        min=None,
        max=None,
        largest=float(modulus.max(initial=0)),
        total=complex(first.total.real, second.total.real),
        absolute=size.absolute,
        squares=first.squares + second.squares,
        deviations=first.deviations + second.deviations,
    )


# Counts of patterns


def count(values: NDArray[Any], width: int = 16, shift: int = 0, prefix: int = 0) -> NDArray[np.uint64]:
    """How often each pattern of `width` bits (8: of bytes, or 16) is found `shift` bits above the lowest.

    Only elements count whose bits above those are `prefix`. The result has `2**width` counts.
    """
    found = accelerator.library()
    if found is not None:
        counts = np.zeros(1 << width, np.uint64)
        plain = _plain(values)
        found.count(plain, values.itemsize, shift, prefix, counts.view("u1"))
        return counts
    bits = values.view(f"u{values.itemsize}")
    if shift + width < 8 * values.itemsize:
        bits = bits[bits >> bits.dtype.type(shift + width) == prefix]
    if shift:
        bits = bits >> bits.dtype.type(shift)
    if values.itemsize * 8 > width:
        bits = bits.astype(f"u{width // 8}")
    return np.bincount(bits, minlength=1 << width).astype(np.uint64)


def _of_counts(dtype: DType, counts: NDArray[np.uint64]) -> Summary:
    """The same as of the elements themselves, from the counts of all patterns of one byte."""
    values, denormal = _table(dtype)
    there = counts > 0
    values, denormal, often = values[there], denormal[there], counts[there].astype(np.int64)
    finite = np.isfinite(values)
    known, times = values[finite], often[finite]
    total, squares = float((known * times).sum()), float((known * known * times).sum())
    mean = total / int(times.sum()) if len(known) else 0.0
    plain = int if dtype.to_numpy().kind in "iub" else float
    return Summary(
        count=int(often.sum()),
        zeros=int(often[values == 0].sum()),
        nans=int(often[np.isnan(values)].sum()),
        positive_infinities=int(often[values == np.inf].sum()),
        negative_infinities=int(often[values == -np.inf].sum()),
        denormals=int(often[denormal].sum()),
        min=plain(known.min() + 0.0) if len(known) else None,
        max=plain(known.max() + 0.0) if len(known) else None,
        largest=float(np.abs(known).max(initial=0)),
        total=total,
        absolute=float((np.abs(known) * times).sum()),
        squares=squares,
        deviations=float((np.square(known - mean) * times).sum()),
    )


@cache
def _table(dtype: DType) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The value of each pattern of one byte, and whether it is a denormal number."""
    patterns = np.arange(256, dtype="u1")
    if dtype.name == "bool":
        return (patterns != 0).astype("f8"), np.zeros(256, bool)
    kind = dtype.to_numpy()
    with np.errstate(invalid="ignore"):
        values = patterns.view(kind).astype("f8")
    if kind.kind in "iu" or not dtype.is_floating_point or dtype.name == "float8_e8m0fnu":
        return values, np.zeros(256, bool)
    import ml_dtypes

    normal = float(cast("Any", ml_dtypes.finfo(kind)).smallest_normal)
    return values, (values != 0) & (np.abs(values) < normal)


# What a cast would lose


@dataclass(frozen=True, slots=True)
class Lost:
    """How many finite elements are beyond the largest of another type, and how many others than zero become zero."""

    overflowed: int = 0
    vanished: int = 0

    def merge(self, other: "Lost") -> "Lost":
        """The losses of two sets together."""
        return Lost(self.overflowed + other.overflowed, self.vanished + other.vanished)


def lost(dtype: DType, values: NDArray[Any], target: DType) -> Lost:
    """What real elements lose when they are cast to a floating-point type."""
    with np.errstate(invalid="ignore", over="ignore"):
        wide = values.astype("f8")
        # Where `convert` saturates, as PyTorch does, a plain cast shows what was beyond the largest.
        narrow = convert(values, target) if target.bits >= 16 else values.astype("f4").astype(target.to_numpy())
        after = narrow.astype("f8")
    overflowed = np.count_nonzero(np.isfinite(wide) & ~np.isfinite(after))
    return Lost(int(overflowed), int(np.count_nonzero((wide != 0) & (after == 0))))
