"""Numeric inner loops over the elements of one tensor: what engine.py runs on block after block.

A kernel takes elements and returns a value; values of a tensor's blocks are merged in their order. Where the C
accelerator is there it stands in for the numpy here, bit for bit: both sum in float64 in one fixed order. Only of many
elements of 16 bits numpy counts the patterns, and sums are made from the counts: these may differ in their last digits.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from statedict import accelerator
from statedict.accelerator import BLOCK
from statedict.dtypes import DTYPES, DType
from statedict.expressions.rounding import convert
from statedict.moments import EMPTY, Summary, of_figures

_LANES = 256
"""Element i of a block is added to the lane i % 256; at the block's end the lanes are folded by halves."""
_PART = 1 << 15
"""Elements that are worked on at once: as doubles, twice, they stay in a processor's own cache."""
_MANY = 2 * BLOCK
"""Elements of which numpy counts the patterns, of 16 bits, sooner than it adds them up."""
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


def summarize(dtype: DType, values: NDArray[Any]) -> Summary:
    """What there is to say of elements in one row: extremes, sums, counts of what is special.

    `values` are of `dtype.to_numpy()`. Those that are not finite are counted, and left out of extremes and sums.
    """
    if not len(values):
        return EMPTY
    if dtype.is_complex:
        return reduce(merge, (_of_complex(values[at : at + _PART]) for at in range(0, len(values), _PART)))
    found = accelerator.library()
    if values.itemsize == 1 or (values.itemsize == 2 and len(values) >= _MANY and found is None):
        return _of_counts(dtype, count(values, 8 * values.itemsize))
    record = np.zeros(1, _RECORDS[values.dtype.kind if values.dtype.kind in "iu" else "f"])
    if found is not None:
        found.summarize(accelerator.CODES[dtype.numpy], _plain(values), record.view("u1"))
        return of_figures(record.item())
    blocks = (_of_block(values[at : at + BLOCK], record) for at in range(0, len(values), BLOCK))
    return reduce(merge, blocks)


def merge(first: Summary, second: Summary) -> Summary:
    """One summary of both: what `engine.run` merges with."""
    return first.merge(second)


def _of_block(values: NDArray[Any], record: NDArray[Any]) -> Summary:
    """What there is to say of a block, for which there is room in `record`."""
    record[:] = 0
    found, lanes, extremes = record[0], np.zeros((3, _LANES)), list[Any]()
    parts = [values[at : at + _PART] for at in range(0, len(values), _PART)]
    look = _look_at_wholes if values.dtype.kind in "iu" else _look_at_floats
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for part in parts:
            wide = _widened(part)
            extremes += look(part, wide, found)
            _add(wide, lanes)
        found["count"] = len(values)
        found["sum"], found["absolute"], found["squares"] = map(_folded, lanes)
        if extremes:
            found["low"], found["high"] = min(extremes), max(extremes)
            found["deviations"] = _deviations(parts, found)
    return of_figures(record.item())


def _plain(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of elements that the C code may read where they are, or of a copy."""
    flags = values.flags
    return (values if flags.c_contiguous and flags.aligned else values.copy()).view("u1")


# A part of a block: its elements as doubles, in rows below one that is free, the last one filled up with zeros


class _Room(threading.local):
    """Memory that each thread has for a part: to ask for it anew takes longer than to fill it."""

    def __init__(self) -> None:
        rows = 1 + _PART // _LANES
        self.wide, self.other = np.empty((rows, _LANES)), np.empty((rows, _LANES))
        self.patterns = np.empty(_PART, "u8")
        self.indices = np.empty(BLOCK, np.intp)


_room = _Room()


def _widened(part: NDArray[Any]) -> NDArray[np.float64]:
    rows = _room.wide[: 1 + -(-len(part) // _LANES)]
    flat = rows.reshape(-1)[_LANES:]
    flat[len(part) :] = 0
    flat[: len(part)] = _FLOATS[part.dtype.name](part) if part.dtype.name in _FLOATS else part
    return rows


def _of_bfloat16(part: NDArray[Any]) -> NDArray[np.float32]:
    wide = _room.patterns.view("u4")[: len(part)]
    wide[:] = part.view("u2")
    wide <<= 16
    return wide.view("f4")


def _of_float16(part: NDArray[Any]) -> NDArray[np.float32]:
    """Right for those that are finite: their bits are moved to where a float32 has them, and the exponent is mended."""
    wide = _room.patterns.view("i4")[: len(part)]
    wide[:] = part.view("i2")
    wide <<= 13
    wide &= np.int32(-0x7000_2000)
    values = wide.view("f4")
    values *= np.float32(2.0**112)
    return values


_FLOATS: dict[str, Callable[[NDArray[Any]], NDArray[np.float32]]] = {
    "bfloat16": _of_bfloat16,
    "float16": _of_float16,
}
"""What is quicker than numpy's own way to make floats of them, one by one."""


def _add(wide: NDArray[np.float64], lanes: NDArray[np.float64]) -> None:
    """Add the elements, their magnitudes and their squares to the lanes, row after row."""
    other = _room.other[: len(wide)]
    wide[0] = lanes[0]
    np.add.reduce(wide, axis=0, out=lanes[0])
    np.abs(wide[1:], out=other[1:])
    other[0] = lanes[1]
    np.add.reduce(other, axis=0, out=lanes[1])
    np.multiply(wide[1:], wide[1:], out=other[1:])
    other[0] = lanes[2]
    np.add.reduce(other, axis=0, out=lanes[2])


def _folded(lanes: NDArray[np.float64]) -> np.float64:
    """The sum of the lanes in the order that is fixed: by halves."""
    half = _LANES // 2
    while half:
        lanes = lanes[:half] + lanes[half : 2 * half]
        half //= 2
    return lanes[0] + 0.0


def _deviations(parts: list[NDArray[Any]], found: Any) -> np.float64:
    """The sum of squared differences from the mean; anew where the sums are too near to each other to tell it."""
    known = found["count"] - found["nans"] - found["positive_infinities"] - found["negative_infinities"]
    mean = found["sum"] / known
    deviations = found["squares"] - found["sum"] * mean
    if not deviations >= found["squares"] * _CANCELLED:
        lanes = np.zeros((3, _LANES))
        for part in parts:
            wide = _widened(part)
            flat = wide.reshape(-1)[_LANES : _LANES + len(part)]
            flat -= mean
            if known < found["count"]:
                flat[~_finite(part)] = 0
            _add(wide, lanes)
        rest = _folded(lanes[0])
        deviations = _folded(lanes[2]) - rest * (rest / known)
    return np.float64(0.0) if deviations < 0 else deviations


# What is special in a part, which is counted, and put to zero where it is not finite; and the part's extremes


class _Layout(NamedTuple):
    """Where infinity and the smallest normal number are among the patterns without their sign."""

    infinity: int
    normal: int


_LAYOUTS = {
    "bfloat16": _Layout(0x7F80, 0x80),
    "float16": _Layout(0x7C00, 0x400),
    "float32": _Layout(0x7F80_0000, 0x80_0000),
    "float64": _Layout(0x7FF0 << 48, 0x10 << 48),
}


def _look_at_floats(part: NDArray[Any], wide: NDArray[np.float64], found: Any) -> list[float]:
    layout, bits = _LAYOUTS[part.dtype.name], _bits(part)
    magnitudes = _magnitudes(bits)
    sign, smallest = 1 << (8 * bits.itemsize - 1), int(magnitudes.min())
    if smallest < layout.normal:
        zeros = len(bits) - np.count_nonzero(magnitudes)
        found["zeros"] += zeros
        found["denormals"] += np.count_nonzero(magnitudes < layout.normal) - zeros
    highest, lowest = int(bits.view(f"i{bits.itemsize}").max()), int(bits.max())
    if highest >= layout.infinity or lowest >= sign | layout.infinity:
        finite = magnitudes < layout.infinity
        found["nans"] += np.count_nonzero(magnitudes > layout.infinity)
        found["positive_infinities"] += np.count_nonzero(bits == layout.infinity)
        found["negative_infinities"] += np.count_nonzero(bits == (sign | layout.infinity))
        wide.reshape(-1)[_LANES : _LANES + len(part)][~finite] = 0
        if not finite.any():
            return []
        bits, smallest = bits[finite], int(magnitudes[finite].min())
        highest, lowest = int(bits.view(f"i{bits.itemsize}").max()), int(bits.max())
    # The largest as a signed number is the greatest positive one, as an unsigned one the least negative one.
    ends = [lowest if lowest >= sign else smallest, highest if highest >= 0 else sign | smallest]
    return [each + 0.0 for each in np.array(ends, bits.dtype).view(part.dtype).astype("f8").tolist()]


def _look_at_wholes(part: NDArray[Any], wide: NDArray[np.float64], found: Any) -> list[int]:
    found["zeros"] += len(part) - np.count_nonzero(part)
    return [int(part.min()), int(part.max())]


def _bits(part: NDArray[Any]) -> NDArray[Any]:
    return part.view(f"u{part.itemsize}")


def _magnitudes(bits: NDArray[Any]) -> NDArray[Any]:
    """The patterns without their sign."""
    kind = bits.dtype.type
    return np.bitwise_and(bits, kind((1 << (8 * bits.itemsize - 1)) - 1), out=_room.patterns.view(kind)[: len(bits)])


def _finite(part: NDArray[Any]) -> NDArray[np.bool_]:
    return _magnitudes(_bits(part)) < _LAYOUTS[part.dtype.name].infinity


def _of_complex(values: NDArray[Any]) -> Summary:
    """Of complex numbers: no extremes, sums of the modulus; one is NaN if a part is, else infinite if a part is."""
    finite, nans = np.isfinite(values), 0
    if not finite.all():
        nans = int(np.count_nonzero(np.isnan(values)))
        values = values[finite]
    known = values.astype("c16")
    with np.errstate(over="ignore"):
        modulus = np.abs(known)
    first, second, size = (summarize(_DOUBLE, part) for part in (np.real(known), np.imag(known), modulus))
    return Summary(
        count=len(finite),
        zeros=len(known) - int(np.count_nonzero(known)),
        nans=nans,
        positive_infinities=len(finite) - len(known) - nans,
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
    if bits.itemsize == 1 and len(bits) >= _MANY:
        pairs = _counted(bits[: len(bits) // 2 * 2].view("u2"), 1 << 16).reshape(256, 256)
        last = _counted(bits[len(bits) // 2 * 2 :], 256)
        return (pairs.sum(axis=0) + pairs.sum(axis=1) + last).view(np.uint64)
    if shift + width < 8 * values.itemsize:
        bits = bits[bits >> bits.dtype.type(shift + width) == prefix]
    if shift:
        bits = bits >> bits.dtype.type(shift)
    if values.itemsize * 8 > width:
        bits = bits.astype(f"u{width // 8}")
    return _counted(bits, 1 << width).view(np.uint64)


def _counted(patterns: NDArray[Any], size: int) -> NDArray[np.int64]:
    """How often each number below `size` is found: `bincount` of indices that stay in a processor's own cache."""
    counts = np.zeros(size, np.int64)
    for at in range(0, len(patterns), BLOCK):
        indices = _room.indices[: min(BLOCK, len(patterns) - at)]
        indices[:] = patterns[at : at + BLOCK]
        found = np.bincount(indices)
        counts[: len(found)] += found
    return counts


def _of_counts(dtype: DType, counts: NDArray[np.uint64]) -> Summary:
    """The same as of the elements themselves, from the counts of all patterns of one byte or two."""
    there = np.flatnonzero(counts != 0)  # of truths they are found sooner
    all_values, is_denormal = _table(dtype)
    values, denormal, often = all_values[there], is_denormal[there], counts[there].astype(np.int64)
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
        largest=plain(np.abs(known).max(initial=0)),
        total=total,
        absolute=float((np.abs(known) * times).sum()),
        squares=squares,
        deviations=float((np.square(known - mean) * times).sum()),
    )


@cache
def _table(dtype: DType) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The value of each pattern of one byte or two, and whether it is a denormal number."""
    kind = dtype.to_numpy()
    patterns = np.arange(1 << 8 * kind.itemsize).astype(f"u{kind.itemsize}")
    with np.errstate(invalid="ignore"):
        values = (patterns.view(kind) if kind.kind != "b" else patterns != 0).astype("f8")
    if not dtype.is_floating_point or dtype.name == "float8_e8m0fnu":
        return values, np.zeros(len(values), bool)
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
