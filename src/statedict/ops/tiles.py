"""Pictures of tensors of any size: what lies under each pixel of a window into a matrix, from few and short reads.

A window of a tensor of 10 GB is drawn from some MiB of it: rows, and where these are long stretches of them, are taken
at even distances. What was looked at is told with the picture.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.engine import axes_as_they_lie, in_any_order, row
from statedict.expressions.nodes import Node, node_of
from statedict.index import TensorInfo, contiguous

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST = 1 << 24
"""Bytes that are read for one picture, about."""
_COARSE = 128
"""Pixels along each side of a picture for which stretches of rows are read."""
_STRETCH = 1 << 22
"""Bytes that are read at once."""
_SPARSE = 4
"""How many times the elements that are wanted are read rather than in one piece each."""


class Plane(NamedTuple):
    """How a tensor is looked at: which of its axes make the rows of a matrix, which the columns, where others stand.

    Of several axes the last one goes fastest: rows (0, 2) and columns (1, 3) of a convolution's kernel show its filters
    side by side.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    fixed: tuple[tuple[int, int], ...] = ()
    """Of each axis that is left the index that is shown."""


class Window(NamedTuple):
    """A stretch of rows and of columns."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What lies under each pixel, as float64 arrays of rows and columns."""

    mean: "NDArray[Any]"
    """Of the finite elements that were looked at; NaN where there is none."""
    low: "NDArray[Any]"
    high: "NDArray[Any]"
    unusual: "NDArray[Any]"
    """1 where a NaN is, 2 where an infinity is, 3 where both are."""
    seen: int
    """How many elements were looked at."""
    total: int
    """How many the window has."""


def size_of(shape: Sequence[int], plane: Plane) -> tuple[int, int]:
    """The rows and columns of a plane. Raises ValueError where it is none of a tensor of that shape."""
    used = [*plane.rows, *plane.columns, *(axis for axis, _ in plane.fixed)]
    if sorted(used) != list(range(len(shape))):
        raise ValueError(
            f"rows {plane.rows}, columns {plane.columns} and {plane.fixed} are not the axes of {tuple(shape)}"
        )
    for axis, index in plane.fixed:
        if not 0 <= index < shape[axis]:
            raise ValueError(f"index {index} is out of bounds for dimension {axis} with size {shape[axis]}")
    return math.prod(shape[axis] for axis in plane.rows), math.prod(shape[axis] for axis in plane.columns)


def picture(info: TensorInfo, plane: Plane, window: Window, height: int, width: int) -> Picture:
    """What lies under each of `height` times `width` pixels of a window, or fewer: no more than it has elements.

    Raises ValueError for a window outside of the tensor, and what `engine.row` raises for one without plain values.
    """
    import numpy as np

    shape = shape_of(info)
    rows, columns = size_of(shape, plane)
    top, bottom, left, right = window
    if not (0 <= top < bottom <= rows and 0 <= left < right <= columns):
        raise ValueError(f"rows {top} to {bottom} and columns {left} to {right} are not in {rows} x {columns}")
    steps = _steps(info, shape)
    start = sum(index * steps[axis] for axis, index in plane.fixed)
    down = _offsets(shape, steps, plane.rows, top, bottom) + start
    across = _offsets(shape, steps, plane.columns, left, right)
    elements = node_of(row(in_any_order(info)))
    if _reach(down) < _reach(across) and len(across) > 1 and across[1] - across[0] > 1:
        found = _Reading(elements, across, down, width, height).picture()
        return Picture(
            np.ascontiguousarray(found.mean.T), found.low.T, found.high.T, found.unusual.T, found.seen, found.total
        )
    return _Reading(elements, down, across, height, width).picture()


def shape_of(info: TensorInfo) -> tuple[int, ...]:
    """The sizes that are looked at: of two small numbers in a byte, each counts."""
    shape = info.shape or ()
    return (*shape[:-1], 2 * shape[-1]) if shape and info.dtype.name == "float4_e2m1fn_x2" else shape


def _steps(info: TensorInfo, shape: Sequence[int]) -> list[int]:
    """Elements from one index to the next along each axis, in the order in which they lie."""
    order = axes_as_they_lie(info)
    lying = contiguous(tuple(shape[axis] for axis in order))
    steps = [0] * len(shape)
    for axis, step in zip(order, lying, strict=True):
        steps[axis] = step
    return steps


def _offsets(
    shape: Sequence[int], steps: Sequence[int], axes: tuple[int, ...], first: int, last: int
) -> "NDArray[Any]":
    """Where the elements begin of some indices along several axes that count as one."""
    import numpy as np

    index = np.arange(first, last, dtype=np.int64)
    found = np.zeros(last - first, np.int64)
    for axis in reversed(axes):
        index, place = np.divmod(index, shape[axis])
        found += place * steps[axis]
    return found


def _reach(offsets: "NDArray[Any]") -> int:
    return int(offsets.max() - offsets.min()) + 1


class _Reading:
    """One picture in the making: rows whose elements lie close together, so that stretches of them are read."""

    def __init__(self, elements: Node, down: "NDArray[Any]", across: "NDArray[Any]", height: int, width: int) -> None:
        self._elements = elements
        self._size = max(1, elements.dtype.itemsize)
        self._total = len(down) * len(across)
        height, width = min(height, len(down)), min(width, len(across))
        per_row = self._size * min(_reach(across), _SPARSE * len(across))
        rows = max(1, _MOST // (per_row * height))
        self._runs = per_row * height > _MOST
        if self._runs:
            height, width = min(height, _COARSE), min(width, _COARSE)
        self._down, self._row_of = _thinned(down, height, 1 if self._runs else rows, together=False)
        run = max(1, _MOST // (self._size * height * width)) if self._runs else len(across)
        self._across, self._column_of = _thinned(across, width, run, together=True)
        self._height, self._width = height, width

    def picture(self) -> Picture:
        import numpy as np

        size = (self._height, self._width)
        sums, counts = np.zeros(size), np.zeros(size)
        low, high = np.full(size, np.inf), np.full(size, -np.inf)
        unusual = np.zeros(size, np.uint8)
        for pixels, values in self._blocks():
            _add(pixels, self._column_of, values, (sums, counts, low, high), unusual)
        empty = counts == 0
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(empty, np.nan, sums / counts)
        low[empty] = high[empty] = np.nan
        return Picture(mean, low, high, unusual, len(self._down) * len(self._across), self._total)

    def _blocks(self) -> "Iterator[tuple[NDArray[Any], NDArray[Any]]]":
        """Some rows of elements at a time, each with the rows of pixels that they belong to."""
        import numpy as np

        reach = self._down[:, None] + np.array([self._across.min(), self._across.max() + 1])
        wanted, at = len(self._across), 0
        while at < len(self._down):
            end = at + 1
            start, stop = int(reach[at, 0]), int(reach[at, 1])
            while end < len(self._down):
                first, last = min(start, int(reach[end, 0])), max(stop, int(reach[end, 1]))
                if (last - first) * self._size > _STRETCH or last - first > _SPARSE * (end + 1 - at) * wanted:
                    break
                start, stop, end = first, last, end + 1
            places = self._down[at:end, None] + self._across[None, :]
            if self._runs or (end == at + 1 and stop - start > _SPARSE * wanted and wanted > 1):
                values = self._in_runs(places[0])[None, :]
                end = at + 1
            else:
                values = self._values(start, stop)[places - start]
            yield self._row_of[at:end], values
            at = end

    def _in_runs(self, places: "NDArray[Any]") -> "NDArray[Any]":
        """The elements of one row of which only some stretches are wanted."""
        import numpy as np

        cuts = np.flatnonzero(np.diff(places) > 1 << 12) + 1
        pieces = np.split(places, cuts)
        return np.concatenate([self._values(int(p.min()), int(p.max()) + 1)[p - p.min()] for p in pieces])

    def _values(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        skipped = start % 8 if self._elements.dtype.bits < 8 else 0  # so that it begins with a byte
        values = self._elements.stored(start - skipped, stop)[skipped:]
        return np.abs(values) if values.dtype.kind == "c" else values


def _thinned(offsets: "NDArray[Any]", pixels: int, most: int, *, together: bool) -> "tuple[NDArray[Any], NDArray[Any]]":
    """Of each pixel's offsets at most so many, at even distances or side by side; and the pixel of each."""
    import numpy as np

    edges = np.arange(pixels + 1, dtype=np.int64) * len(offsets) // pixels
    sizes = np.diff(edges)
    if int(sizes.max()) <= most:
        return offsets, np.repeat(np.arange(pixels), sizes)
    kept = np.minimum(sizes, most)
    pixel = np.repeat(np.arange(pixels), kept)
    nth = np.arange(len(pixel)) - np.repeat(np.cumsum(kept) - kept, kept)
    if together:
        places = edges[:-1][pixel] + (sizes - kept)[pixel] // 2 + nth
    else:
        places = edges[:-1][pixel] + (2 * nth + 1) * sizes[pixel] // (2 * kept[pixel])
    return offsets[places], pixel


def _add(
    rows: "NDArray[Any]",
    columns: "NDArray[Any]",
    values: "NDArray[Any]",
    sums: "tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]",
    unusual: "NDArray[Any]",
) -> None:
    """Add elements to the pixels that they lie under: both lists of pixels ascend, and no column is left out."""
    import numpy as np

    total, counts, low, high = sums
    with np.errstate(invalid="ignore", over="ignore"):
        values = values.astype(np.float64)
    first_column = np.flatnonzero(np.diff(columns, prepend=-1))
    first_row = np.flatnonzero(np.diff(rows, prepend=-1))
    pixels = rows[first_row]

    def gathered(how: Any, what: "NDArray[Any]") -> "NDArray[Any]":
        if len(first_column) < what.shape[1]:
            what = how.reduceat(what, first_column, axis=1)
        return how.reduceat(what, first_row, axis=0) if len(first_row) < len(what) else what

    finite = np.isfinite(values)
    if finite.all():
        total[pixels] += gathered(np.add, values)
        counts[pixels] += np.bincount(rows)[pixels, None] * np.bincount(columns)[None, :]
        low[pixels] = np.minimum(low[pixels], gathered(np.minimum, values))
        high[pixels] = np.maximum(high[pixels], gathered(np.maximum, values))
        return
    total[pixels] += gathered(np.add, np.where(finite, values, 0.0))
    counts[pixels] += gathered(np.add, finite.astype(np.float64))
    low[pixels] = np.minimum(low[pixels], gathered(np.minimum, np.where(finite, values, np.inf)))
    high[pixels] = np.maximum(high[pixels], gathered(np.maximum, np.where(finite, values, -np.inf)))
    odd = np.where(np.isnan(values), 1, np.where(finite, 0, 2)).astype(np.uint8)
    unusual[pixels] |= gathered(np.bitwise_or, odd)
