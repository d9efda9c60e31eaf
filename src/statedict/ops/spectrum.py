"""The singular values of a matrix of any size: the largest ones, and what the rest comes to."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from statedict.engine import in_any_order, row
from statedict.expressions.nodes import Leaf
from statedict.index import TensorInfo, contiguous
from statedict.ops.row_blocks import Rows, directions
from statedict.tree.channels import channels
from statedict.tree.indexing import view

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WHOLE = 1024
"""Matrices that are no wider than this, or no higher, are known by all their singular values."""
_BLOCK = 1 << 20
_MORE = 10
"""Directions beyond those that are asked for, at least."""
_MOST_PASSES = 16
_SETTLED = 1e-6
"""The largest change, as part of the value, in the last pass."""
_PROBES = 8
_STEPS = 24


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What is known of the singular values of one tensor as a matrix."""

    values: tuple[float, ...]
    """The largest, in descending order."""
    frobenius: float
    """The square root of the sum of the squares of all."""
    effective_rank: float
    """The exponential of the entropy of all singular values, each as part of their sum (Roy and Vetterli 2007)."""
    exact: bool
    """Whether all were found, up to rounding. Else `values` are close from below, and `effective_rank` is an estimate.
    """

    @property
    def norm(self) -> float:
        """The largest singular value."""
        return self.values[0] if self.values else 0.0

    @property
    def stable_rank(self) -> float:
        """The sum of the squares of all singular values by that of the largest; 0 of a matrix of zeros."""
        return (self.frobenius / self.norm) ** 2 if self.norm else 0.0


def spectrum(info: TensorInfo, frobenius: float, largest: float, count: int, seed: int = 0) -> Spectrum:
    """The `count` largest singular values of a matrix of finite elements, of which two norms are known.

    Where it has 1,024 rows or columns at most, all are found: those of its triangular factor, which is made in one pass
    over blocks of rows. Otherwise the largest, by a randomised subspace iteration with a seeded Gaussian sketch (Halko,
    Martinsson and Tropp 2011, doi:10.1137/090771806, algorithm 4.4): each pass multiplies blocks of rows by the matrix
    and its transpose, and directions are made orthogonal again, until no value changes by more than a millionth, or 16
    times. What the others come to is then estimated by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017,
    doi:10.1137/16M1104974) in 24 passes more. Holds some dozens of columns, or twice `count`, and some rows.
    """
    scale = 1.0 if 1e-12 < largest < 1e12 else largest or 1.0  # so that squares stay within float32
    rows, columns = info.shape or (0, 0)
    if min(rows, columns) <= _WHOLE:
        values = [value * scale for value in _all(info, scale).tolist()]
        rank = _effective_rank((value, 1.0) for value in values)
        return Spectrum(tuple(values[:count]), frobenius, rank, True)
    matrix, key = Rows(Leaf(info), columns), f"{seed}\0{info.name}"
    known, basis = _largest(matrix, scale, count, key)
    every = (frobenius / scale) ** 2
    left = every - math.fsum(value * value for value in known)
    others = _others(matrix, scale, basis, key, left) if left > _SETTLED * every else ()  # no more than rounding leaves
    rank = _effective_rank([*((value, 1.0) for value in known), *others])
    return Spectrum(tuple(value * scale for value in known[:count]), frobenius, rank, False)


def as_matrix(info: TensorInfo, kind: str | None) -> TensorInfo | None:
    """A tensor in a module of that kind as a matrix, row by row; None of one that has fewer than two dimensions.

    The kernels of convolutions become (out, in x kernel); of others, all but the last dimension become rows. A matrix
    whose elements lie the other way round comes transposed. Raises as `engine.row` does.
    """
    shape, stride = info.shape or (), info.stride
    if len(shape) < 2 or info.dtype.is_complex:
        return None
    found = channels(kind, len(shape))
    if found and found[0]:
        axes = (found[0], *(axis for axis in range(len(shape)) if axis != found[0]))
        steps = stride or contiguous(shape)
        info = info._replace(shape=tuple(shape[axis] for axis in axes), stride=tuple(steps[axis] for axis in axes))
    elif len(shape) == 2:
        info = in_any_order(info)
    plain = row(info)
    if info.shape is None or not plain.numel:
        return None
    rows = info.shape[0] if found else math.prod(info.shape[:-1])
    return plain._replace(shape=(rows, plain.numel // rows))


def _effective_rank(values: Iterable[tuple[float, float]]) -> float:
    """The exponential of the entropy of values, each with how often there is one; 0 where all are zero."""
    known = [(value, times) for value, times in values if value > 0 and times > 0]
    total = math.fsum(value * times for value, times in known)
    shares = ((value / total, times) for value, times in known)
    return math.exp(-math.fsum(times * share * math.log(share) for share, times in shares)) if known else 0.0


# All of them


def _all(info: TensorInfo, scale: float) -> "NDArray[Any]":
    """All singular values of a matrix with few rows or few columns: those of its triangular factor."""
    import numpy as np

    factor = None
    for block in _narrow_blocks(info):
        both = block / scale if factor is None else np.concatenate([factor, block / scale])
        factor = np.linalg.qr(both, mode="r")
    return np.zeros(0) if factor is None else np.linalg.svd(factor, compute_uv=False)


def _narrow_blocks(info: TensorInfo) -> "Iterator[NDArray[Any]]":
    """The matrix, transposed if it is wider than high, some rows at a time."""
    rows, columns = info.shape or (0, 0)
    if columns <= rows:
        for _, block in Rows(Leaf(info), columns).blocks():
            yield block
        return
    step = max(rows, _BLOCK // max(1, rows))
    for first in range(0, columns if rows else 0, step):
        part = view(info, (slice(None), slice(first, min(first + step, columns))))
        yield Leaf(part).working(0, part.numel).reshape(rows, -1).T


# The largest


def _largest(matrix: Rows, scale: float, count: int, key: str) -> "tuple[list[float], NDArray[Any]]":
    """The largest singular values and some more, which converge from below, and the directions of all of these."""
    import numpy as np

    width = min(matrix.rows, matrix.columns, count + max(_MORE, count))
    basis = np.linalg.qr(directions(key, matrix.columns, width))[0]
    image, found = matrix.applied_twice(basis / scale) / scale, np.zeros(width)
    for at in range(_MOST_PASSES):
        if at:
            basis = np.linalg.qr(image)[0]
            image = matrix.applied_twice(basis / scale) / scale
        before, found = found, np.sqrt(np.maximum(np.linalg.eigvalsh(basis.T @ image)[::-1], 0))
        if np.all(np.abs(found - before)[:count] <= _SETTLED * found[:count]):
            break
    return found.tolist(), basis


# The others


def _others(
    matrix: Rows, scale: float, basis: "NDArray[Any]", key: str, squares: float
) -> Iterator[tuple[float, float]]:
    """Values that stand for all singular values across the directions of `basis`, each with how many it stands for.

    Their squares add up to what is known of all.
    """
    import numpy as np

    across = _across(basis, directions(key + "\0others", matrix.columns, _PROBES))
    values, weights = np.linalg.eigh(_tridiagonal(matrix, scale, basis, across))
    sizes, shares = np.sqrt(np.maximum(values, 0)).reshape(-1), (weights[:, 0] ** 2).reshape(-1)
    total = float(sizes**2 @ shares)
    if total > 0:
        times = shares * (matrix.columns - basis.shape[1]) / _PROBES
        fitted = sizes * math.sqrt(squares / float(sizes**2 @ times))
        yield from zip(fitted.tolist(), times.tolist(), strict=True)


def _tridiagonal(matrix: Rows, scale: float, basis: "NDArray[Any]", across: "NDArray[Any]") -> "NDArray[Any]":
    """What Lanczos' method makes of the transposed matrix times the matrix, across `basis`: one for each direction."""
    import numpy as np

    made = np.zeros((across.shape[1], _STEPS, _STEPS))
    now, before, beside = _normal(across)[0], np.zeros_like(across), np.zeros(across.shape[1])
    for at in range(_STEPS):
        image = _across(basis, matrix.applied_twice(now / scale) / scale) - beside * before
        made[:, at, at] = (now * image).sum(axis=0)
        image -= made[:, at, at] * now
        before, (now, beside) = now, _normal(image)
        if at + 1 < _STEPS:
            made[:, at, at + 1] = made[:, at + 1, at] = beside
    return made


def _across(basis: "NDArray[Any]", vectors: "NDArray[Any]") -> "NDArray[Any]":
    """What of some vectors is at a right angle to all of a basis."""
    return vectors - basis @ (basis.T @ vectors)


def _normal(vectors: "NDArray[Any]") -> "tuple[NDArray[Any], NDArray[Any]]":
    """Vectors of length 1, or 0, and the lengths that they had."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=0)
    return vectors / np.where(lengths > 0, lengths, 1), lengths
