"""Kinds of change that take a second reading: rows in another order, few ranks, few values in each row.

Only tensors are read again of which the first reading left that open, and a small part of them shows it.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.difference import Difference
from statedict.dtypes import DTYPES
from statedict.expressions.arithmetic import Combination
from statedict.expressions.nodes import Leaf
from statedict.index import TensorInfo
from statedict.ops.diff.evidence import distinct, patterns
from statedict.ops.diff.result import Kind
from statedict.ops.row_blocks import Rows, directions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

_SAME_SUMS = 1e-9
"""How near the sums of squares are, at least, of rows in another order."""
_CORNER = 128
"""Rows and columns of the part that is looked at first."""
_MOST_RANK = 48
_LEAST_GAP = 2.0
_LEAST_ENERGY = 0.9
_MORE = 16
_MOST_IN_ONE = 0.25
"""The part of all squares that one element has where it alone stands out, which is of low rank, too."""
_QUANTISED = (15.0, 70.0)
"""Between how many decibels the noise of a quantisation lies."""
_LEAST_COLUMNS = 256
_MOST_LEVELS = 256
_BLOCK = 1 << 20


class Matrices(NamedTuple):
    """Both tensors as rows that can be read again."""

    before: TensorInfo
    after: TensorInfo
    rows: int
    columns: int


def kinds_later(before: TensorInfo, after: TensorInfo, difference: Difference) -> tuple[Kind, ...]:
    """What a second reading proves of two tensors that differ, where there is anything to look for."""
    both = _matrices(before, after)
    if both is None or difference.finite + difference.same < difference.count:
        return ()
    for look in (_permuted, _of_low_rank, _quantised_by_rows):
        found = look(both, difference)
        if found is not None:
            return (found,)
    return ()


def _matrices(before: TensorInfo, after: TensorInfo) -> Matrices | None:
    shape = after.shape or ()
    plain = all(each.dtype.name in ("float64", "float32", "float16", "bfloat16") for each in (before, after))
    if before.shape != after.shape or not plain or len(shape) < 2 or 0 in shape:
        return None
    return Matrices(before, after, shape[0], math.prod(shape[1:]))


def _stretches(both: Matrices) -> "Iterator[tuple[int, NDArray[Any], NDArray[Any]]]":
    """Some rows of both at a time, and the number of the first."""
    old, new = Leaf(both.before), Leaf(both.after)
    step = max(1, _BLOCK // both.columns)
    for first in range(0, both.rows, step):
        ends = first * both.columns, min(first + step, both.rows) * both.columns
        yield first, old.stored(*ends).reshape(-1, both.columns), new.stored(*ends).reshape(-1, both.columns)


# Rows or columns in another order


def _permuted(both: Matrices, difference: Difference) -> Kind | None:
    """Whether the second holds the first's rows in another order, or its columns."""
    if both.before.dtype is not both.after.dtype or not math.isclose(
        difference.before, difference.after, rel_tol=_SAME_SUMS
    ):
        return None
    import numpy as np  # not before there is something to look for

    weights = [_odd_numbers(count, seed) for seed, count in enumerate((both.columns, both.rows))]
    rows: list[list[Any]] = [[], []]
    columns = np.zeros((2, both.columns), "u8")
    with np.errstate(over="ignore"):
        for first, *stretches in _stretches(both):
            for side, values in enumerate(stretches):
                bits = values.view(f"u{values.itemsize}").astype("u8")
                rows[side].append((bits * weights[0]).sum(axis=1, dtype="u8"))
                columns[side] += (bits * weights[1][first : first + len(bits), None]).sum(axis=0, dtype="u8")
    found = (("rows", *map(np.concatenate, rows)), ("columns", *columns))
    for name, old, new in found:
        moved = int(np.count_nonzero(old != new))
        if moved and np.array_equal(np.sort(old), np.sort(new)) and len(np.unique(old)) > 1:
            text = f"permuted: the same {name} in another order, {moved:,} of {len(old):,} moved"
            return Kind("permuted", text, {"axis": name, "moved": moved})
    return None


def _odd_numbers(count: int, seed: int) -> "NDArray[np.uint64]":
    """Random numbers by which a row's elements are multiplied: what is added up tells the row."""
    import numpy as np

    return np.random.Generator(np.random.Philox(seed)).integers(0, 1 << 63, count, "u8") << np.uint64(1) | np.uint64(1)


# A low rank


def _of_low_rank(both: Matrices, difference: Difference) -> Kind | None:
    """Whether the difference of both is the product of two thin matrices, but for little."""
    side = min(both.rows, both.columns)
    spike = difference.largest**2 >= _MOST_IN_ONE * difference.squares
    if side < 8 or difference.relative >= 1 or spike:
        return None
    import numpy as np

    corner = _corner(both)
    squares = np.linalg.eigvalsh(corner @ corner.T)[::-1]  # quicker than singular values, and near enough
    rank = _suspected(np.sqrt(np.maximum(squares, 0)), side)
    if rank is None:
        return None
    between = Combination(((1.0, Leaf(both.after)), (-1.0, Leaf(both.before))), 0.0, DTYPES["float64"])
    matrix = Rows(between, both.columns)
    width = min(side, 2 * rank + _MORE)
    basis = np.linalg.qr(matrix.applied(directions(both.after.name, both.columns, width)))[0]
    energies = np.linalg.svd(matrix.projected(basis), compute_uv=False) ** 2
    return _low_rank(energies, difference.squares, side)


def _corner(both: Matrices) -> "NDArray[Any]":
    """The difference of some rows, evenly spaced, in their first columns."""
    import numpy as np

    rows = np.linspace(0, both.rows - 1, min(both.rows, _CORNER)).astype(int).tolist()
    width = min(both.columns, _CORNER)
    starts = [row * both.columns for row in rows]
    old, new = (
        np.stack([leaf.working(start, start + width) for start in starts])
        for leaf in map(Leaf, (both.before, both.after))
    )
    return new - old


def _suspected(sizes: "NDArray[Any]", side: int) -> int | None:
    """The rank behind which singular values fall off, where they do; the highest that can be told from a part."""
    squares = sizes * sizes
    total = float(squares.sum())
    gaps = [
        (float(sizes[at]) / max(float(sizes[at + 1]), 1e-300), at + 1)
        for at in range(min(_MOST_RANK, len(sizes) // 2, side // 2))
        if float(squares[: at + 1].sum()) >= _LEAST_ENERGY * total > 0
    ]
    gap, rank = max(gaps, default=(0.0, 0))
    return rank if gap >= _LEAST_GAP else None


def _low_rank(energies: "NDArray[Any]", total: float, side: int) -> Kind | None:
    rank = _suspected(energies**0.5, side)
    if rank is None:
        return None
    energy = min(1.0, float(energies[:rank].sum()) / total)
    if energy < _LEAST_ENERGY:
        return None
    shown = f"{min(energy, 0.9999):.2%}" if energy < 1 - 1e-9 else "all"
    text = f"low rank: LoRA-like, rank {rank} ({shown} of the change)"
    return Kind("low rank", text, {"rank": rank, "energy": energy})


# Few values in each row


def _quantised_by_rows(both: Matrices, difference: Difference) -> Kind | None:
    """Whether each row of the second has few values, and the first's has many: weights that were quantised by row."""
    if both.columns < _LEAST_COLUMNS or not _QUANTISED[0] < difference.snr < _QUANTISED[1]:
        return None
    first = Leaf(both.after).stored(0, both.columns).reshape(1, -1)
    if int(distinct(patterns(first))[0]) > _MOST_LEVELS:
        return None
    most, mean, before, rows = 0, 0.0, 0.0, 0
    for _, old, new in _stretches(both):
        few = distinct(patterns(new))
        most = max(most, int(few.max()))
        if most > _MOST_LEVELS:
            return None
        many = distinct(patterns(old))
        mean, before, rows = mean + float(few.sum()), before + float(many.sum()), rows + len(few)
    if 2 * mean > before:
        return None
    text = f"quantised: at most {most} different values in each row, {before / rows:.0f} before"
    return Kind("quantised", text, {"levels": most})
