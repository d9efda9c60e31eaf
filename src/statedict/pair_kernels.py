"""Numeric inner loops over the elements of two tensors at once: what engine.py runs on stretch after stretch.

Where the C accelerator is there it stands in for the numpy here, bit for bit: both sum in float64 in one fixed order.
"""

import threading
from collections.abc import Callable
from functools import cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statedict import accelerator
from statedict.accelerator import BLOCK
from statedict.difference import NONE, Difference, of_figures
from statedict.dtypes import DType

_LANES = 256
_ROWS = 512
_COUNTS = ("count", "same", "changed", "finite", "nans", "infinities", "mended")
_SUMS = ("largest", "absolute", "squares", "before", "after")
_RECORD = np.dtype([(name, "i8") for name in _COUNTS] + [(name, "f8") for name in _SUMS])
"""What is said of some blocks, as the C code lays it out."""
_FLOATS = ("float64", "float32", "float16", "bfloat16")

Values = NDArray[Any]


def compare(first: DType, a: Values, second: DType, b: Values) -> Difference:
    """How far the elements of `b` lie from those of `a`, which are as many. Equal blocks take one look at each byte."""
    if first.is_complex or second.is_complex:
        return over_blocks(_of_complex, a, b)
    found = accelerator.library()
    if found is not None and first.numpy in _FLOATS and second.numpy in _FLOATS:
        record = np.zeros(1, _RECORD)
        codes = accelerator.CODES[first.numpy], accelerator.CODES[second.numpy]
        found.compare(codes[0], _plain(a), codes[1], _plain(b), record.view("u1"))
        return of_figures(record.item())
    return over_blocks(_of_block, a, b)


def over_blocks(kernel: Callable[[Values, Values], Difference], a: Values, b: Values) -> Difference:
    """What a kernel says of each block of both, put together; equal blocks are not shown to it."""
    return reduce(Difference.merge, (_or_same(kernel, *each) for each in blocks(a, b)), NONE)


def blocks(a: Values, b: Values) -> list[tuple[Values, Values]]:
    """Both cut where blocks begin."""
    return [(a[at : at + BLOCK], b[at : at + BLOCK]) for at in range(0, len(a), BLOCK)]


def same_bits(a: Values, b: Values) -> bool:
    """Whether two stretches are of one type and have the same bits."""
    return a.dtype == b.dtype and bool(np.array_equal(_words(a), _words(b)))


def _or_same(kernel: Callable[[Values, Values], Difference], a: Values, b: Values) -> Difference:
    return Difference(count=len(a), same=len(a)) if same_bits(a, b) else kernel(a, b)


def _words(values: Values) -> NDArray[Any]:
    """The bits of elements as the widest whole numbers that they fill."""
    data = values.view("u1")
    return data.view("u8") if len(data) % 8 == 0 and data.ctypes.data % 8 == 0 else data


def _plain(values: Values) -> NDArray[np.uint8]:
    return np.require(values, requirements=["C", "ALIGNED"]).view("u1")


# Real numbers


class _Room(threading.local):
    """Memory that each thread has for a few rows of lanes, which stay in its processor's cache.

    A line before each holds the sums so far, so that a block is summed in one order however many rows there are.
    """

    def __init__(self) -> None:
        self.first, self.second, self.between = (np.empty((_ROWS + 1, _LANES)) for _ in range(3))
        self.patterns = np.empty(_ROWS * _LANES, "u4")
        self.unlike = np.empty(_ROWS * _LANES, bool)


_room = _Room()


def _of_block(a: Values, b: Values) -> Difference:
    sums = np.zeros((4, _LANES))
    counts: dict[str, int] = dict.fromkeys(_COUNTS[2:], 0)
    largest = 0.0
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for at in range(0, len(a), _ROWS * _LANES):
            some = slice(at, at + _ROWS * _LANES)
            largest = max(largest, _add_rows(a[some], b[some], sums, counts))
        absolute, squares, before, after = map(_folded, sums)
    return Difference(len(a), **counts, largest=largest, absolute=absolute, squares=squares, before=before, after=after)


def _add_rows(a: Values, b: Values, sums: NDArray[np.float64], counts: dict[str, int]) -> float:
    """Add what lies between some rows to the sums of each lane and to the counts. The largest difference."""
    rows, numel = -(-len(a) // _LANES) + 1, len(a)
    rooms = [each[:rows] for each in (_room.between, _room.first, _room.second)]
    d, x, y = (each[1:].reshape(-1) for each in rooms)
    x[numel:] = y[numel:] = 0
    widen(a, x[:numel])
    widen(b, y[:numel])
    exact = a.dtype == b.dtype and a.dtype.kind in "biu"  # of 64 bits not all are doubles
    unlike = np.not_equal(a, b) if exact else np.not_equal(x[:numel], y[:numel], out=_room.unlike[:numel])
    counts["changed"] += int(np.count_nonzero(unlike))
    counts["finite"] += numel
    largest = _largest(x, y, d)
    if not np.isfinite(largest):
        _set_aside(x[:numel], y[:numel], counts)
        largest = _largest(x, y, d)
    _add(rooms[0], sums[0])
    for values, room, lanes in zip((d, x, y), rooms, sums[1:], strict=True):
        np.multiply(values, values, out=values)
        _add(room, lanes)
    return largest


def _largest(x: NDArray[np.float64], y: NDArray[np.float64], d: NDArray[np.float64]) -> float:
    """The largest difference of two numbers, of which each is left in `d`; NaN or infinite where a number is."""
    np.abs(np.subtract(y, x, out=d), out=d)
    return float(d.max())


def _add(room: NDArray[np.float64], lanes: NDArray[np.float64]) -> None:
    """Add the rows in a room to the lanes, one after the other."""
    room[0] = lanes
    np.add.reduce(room, axis=0, out=lanes)


def _folded(lanes: NDArray[np.float64]) -> float:
    """The sum of all lanes, by halves."""
    half = _LANES // 2
    while half:
        lanes = lanes[:half] + lanes[half : 2 * half]
        half //= 2
    return float(lanes[0] + 0.0)


def widen(values: Values, out: NDArray[np.float64]) -> None:
    """Write the elements as float64 into `out`."""
    if values.dtype.name == "bfloat16":
        wide = _room.patterns[: len(values)] if len(values) <= len(_room.patterns) else np.empty(len(values), "u4")
        wide[:] = values.view("u2")
        np.left_shift(wide, 16, out=wide)
        values = wide.view("f4")
    elif values.itemsize == 1 and values.dtype.kind not in "biu":
        values = _all_of_a_byte(values.dtype)[values.view("u1")]
    out[:] = values


@cache
def _all_of_a_byte(dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """The value of each pattern of an element of one byte."""
    return np.arange(256, dtype="u1").view(dtype).astype("f8")


def _set_aside(x: NDArray[np.float64], y: NDArray[np.float64], counts: dict[str, int]) -> None:
    """Count the pairs that are not finite in both, and put them to zero."""
    before, after, known, missing = np.isfinite(x), np.isfinite(y), ~np.isnan(x), np.isnan(y)
    both = before & after
    counts["changed"] -= int(np.count_nonzero(~known & missing))
    counts["finite"] -= int(np.count_nonzero(~both))
    counts["nans"] += int(np.count_nonzero(missing & known))
    counts["infinities"] += int(np.count_nonzero(before & ~after & ~missing))
    counts["mended"] += int(np.count_nonzero(after & ~before))
    x[~both] = y[~both] = 0


# Complex numbers


def _of_complex(a: Values, b: Values) -> Difference:
    x, y = a.astype("c16"), b.astype("c16")
    missing, known = np.isnan(y), np.isnan(x)
    before, after = np.isfinite(x), np.isfinite(y)
    both = before & after
    changed = int(np.count_nonzero(x != y)) - int(np.count_nonzero(missing & known))
    with np.errstate(over="ignore", invalid="ignore"):
        x, y = x[both], y[both]
        sizes, old, new = np.abs(y - x), np.abs(x), np.abs(y)
        return Difference(
            count=len(a),
            changed=changed,
            finite=len(x),
            nans=int(np.count_nonzero(missing & ~known)),
            infinities=int(np.count_nonzero(before & ~after & ~missing)),
            mended=int(np.count_nonzero(after & ~before)),
            largest=float(sizes.max(initial=0)),
            absolute=float(sizes.sum()),
            squares=float(sizes @ sizes),
            before=float(old @ old),
            after=float(new @ new),
        )


# What a tolerance allows


def beyond(a: Values, b: Values, atol: float, rtol: float) -> int:
    """How many pairs are farther apart than `atol` + `rtol` times the second; NaN is near NaN alone."""
    total = 0
    for each, other in blocks(a, b):
        if not same_bits(each, other):
            x, y = _wide(each), _wide(other)
            total += int(np.count_nonzero(~_near(x, y, atol, rtol)))
    return total


def _wide(values: Values) -> NDArray[Any]:
    if values.dtype.kind == "c":
        return values.astype("c16")
    out = np.empty(len(values))
    with np.errstate(invalid="ignore"):
        widen(values, out)
    return out


def _near(x: Values, y: Values, atol: float, rtol: float) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(y - x) <= atol + rtol * np.abs(y)
    return (near & np.isfinite(y)) | (x == y) | (np.isnan(x) & np.isnan(y))
