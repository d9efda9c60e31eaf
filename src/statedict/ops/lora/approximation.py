"""The best approximation of a matrix of any size by a product of two thin ones, in a few passes over its rows."""

import hashlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.expressions.nodes import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_BLOCK = 1 << 20
"""Elements of the rows that are read at once."""
_MORE = 10
"""Columns beyond the rank that are carried along, at least."""
_POWERS = 3


class Product(NamedTuple):
    """`left` @ `right` comes closest to a matrix."""

    left: "NDArray[Any]"
    right: "NDArray[Any]"
    kept: float
    """The sum of the squares of the product."""
    total: float
    """That of the matrix."""

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.total)


def best_product(matrix: Node, columns: int, rank: int, key: str) -> Product:
    """The product of that rank whose difference from the matrix has nearly the smallest sum of squares.

    Both factors get the square roots of the singular values; past the matrix's own rank they are zero. By the
    randomised range finder with power iterations of Halko, Martinsson, Tropp 2011, doi:10.1137/090771806, algorithms
    4.4 and 5.1, in float64. Reads the matrix eight times at most; holds two dozen columns, or twice the rank, and some
    rows.
    """
    import numpy as np

    rows = matrix.numel // columns if columns else 0
    total = _squares(matrix)
    nothing = Product(np.zeros((rows, rank)), np.zeros((rank, columns)), 0.0, total)
    if not total or not math.isfinite(total):
        return nothing
    width = min(rows, columns, rank + max(_MORE, rank))
    basis = np.linalg.qr(_applied(matrix, columns, _directions(key, columns, width)))[0]
    for _ in range(_POWERS if width < min(rows, columns) else 0):
        basis = np.linalg.qr(_applied(matrix, columns, np.linalg.qr(_projected(matrix, columns, basis))[0]))[0]
    left, sizes, right = np.linalg.svd(_projected(matrix, columns, basis).T, full_matrices=False)
    few, roots = min(rank, width), np.sqrt(sizes[:rank])
    nothing.left[:, :few] = basis @ left[:, :few] * roots
    nothing.right[:few] = roots[:, None] * right[:few]
    return nothing._replace(kept=float((sizes[:rank] ** 2).sum()))


def _blocks(matrix: Node, columns: int) -> "Iterator[tuple[int, NDArray[Any]]]":
    """The rows, some at a time, each with the number of the first."""
    step = max(1, _BLOCK // columns)
    for first in range(0, matrix.numel // columns, step):
        last = min(first + step, matrix.numel // columns)
        yield first, matrix.working(first * columns, last * columns).reshape(-1, columns)


def _squares(matrix: Node) -> float:
    """The sum of the squares of all elements."""
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        pieces = (matrix.working(at, min(at + _BLOCK, matrix.numel)) for at in range(0, matrix.numel, _BLOCK))
        return math.fsum(float(piece @ piece) for piece in pieces)


def _directions(key: str, columns: int, width: int) -> "NDArray[Any]":
    """Random directions that a key tells."""
    import numpy as np

    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal((columns, width))


def _applied(matrix: Node, columns: int, vectors: "NDArray[Any]") -> "NDArray[Any]":
    """The matrix times some column vectors."""
    import numpy as np

    return np.concatenate([rows @ vectors for _, rows in _blocks(matrix, columns)])


def _projected(matrix: Node, columns: int, vectors: "NDArray[Any]") -> "NDArray[Any]":
    """The transposed matrix times some column vectors."""
    import numpy as np

    total = np.zeros((columns, vectors.shape[1]))
    for first, rows in _blocks(matrix, columns):
        total += rows.T @ vectors[first : first + len(rows)]
    return total
