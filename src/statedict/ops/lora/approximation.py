"""The best approximation of a matrix of any size by a product of two thin ones, in a few passes over its rows."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.expressions.nodes import Node
from statedict.ops.row_blocks import Rows, directions

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def best_product(elements: Node, columns: int, rank: int, key: str) -> Product:
    """The product of that rank whose difference from the matrix has nearly the smallest sum of squares.

    Both factors get the square roots of the singular values; past the matrix's own rank they are zero. By the
    randomised range finder with power iterations of Halko, Martinsson, Tropp 2011, doi:10.1137/090771806, algorithms
    4.4 and 5.1, in float64. Reads the matrix eight times at most; holds two dozen columns, or twice the rank, and some
    rows.
    """
    import numpy as np

    matrix = Rows(elements, columns)
    total = matrix.squares()
    nothing = Product(np.zeros((matrix.rows, rank)), np.zeros((rank, columns)), 0.0, total)
    if not total or not math.isfinite(total):
        return nothing
    width = min(matrix.rows, columns, rank + max(_MORE, rank))
    basis = np.linalg.qr(matrix.applied(directions(key, columns, width)))[0]
    for _ in range(_POWERS if width < min(matrix.rows, columns) else 0):
        basis = np.linalg.qr(matrix.applied(np.linalg.qr(matrix.projected(basis))[0]))[0]
    left, sizes, right = np.linalg.svd(matrix.projected(basis).T, full_matrices=False)
    few, roots = min(rank, width), np.sqrt(sizes[:rank])
    nothing.left[:, :few] = basis @ left[:, :few] * roots
    nothing.right[:few] = roots[:, None] * right[:few]
    return nothing._replace(kept=float((sizes[:rank] ** 2).sum()))
