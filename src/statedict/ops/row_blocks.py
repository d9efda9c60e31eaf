"""`Rows`: a matrix of any size, of which some rows are in memory at a time; and random directions to look along."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.expressions.nodes import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_BLOCK = 1 << 20
"""Elements of the rows that are read at once."""


class Rows(NamedTuple):
    """The elements of a node as a matrix of so many columns, in float64. Each method reads it once."""

    elements: Node
    columns: int

    @property
    def rows(self) -> int:
        return self.elements.numel // self.columns if self.columns else 0

    def blocks(self) -> "Iterator[tuple[int, NDArray[Any]]]":
        """Some rows at a time, each with the number of the first."""
        step = max(1, _BLOCK // self.columns)
        for first in range(0, self.rows, step):
            last = min(first + step, self.rows)
            yield first, self.elements.working(first * self.columns, last * self.columns).reshape(-1, self.columns)

    def squares(self) -> float:
        """The sum of the squares of all elements."""
        import numpy as np

        node = self.elements
        with np.errstate(invalid="ignore", over="ignore"):
            pieces = (node.working(at, min(at + _BLOCK, node.numel)) for at in range(0, node.numel, _BLOCK))
            return math.fsum(float(piece @ piece) for piece in pieces)

    def applied(self, vectors: "NDArray[Any]") -> "NDArray[Any]":
        """The matrix times some column vectors."""
        import numpy as np

        return np.concatenate([rows @ vectors for _, rows in self.blocks()])

    def projected(self, vectors: "NDArray[Any]") -> "NDArray[Any]":
        """The transposed matrix times some column vectors."""
        import numpy as np

        total = np.zeros((self.columns, vectors.shape[1]))
        for first, rows in self.blocks():
            total += rows.T @ vectors[first : first + len(rows)]
        return total

    def applied_twice(self, vectors: "NDArray[Any]") -> "NDArray[Any]":
        """The transposed matrix times the matrix times some column vectors.

        Elements of at most 32 bits are multiplied as float32, in half the time, and added up as float64.
        """
        import numpy as np

        node, total = self.elements, np.zeros((self.columns, vectors.shape[1]))
        if node.dtype.bits > 32:
            for _, rows in self.blocks():
                total += rows.T @ (rows @ vectors)
            return total
        narrow, step = vectors.astype(np.float32), max(1, _BLOCK // self.columns) * self.columns
        for first in range(0, node.numel, step):
            rows = node.stored(first, min(first + step, node.numel)).astype(np.float32).reshape(-1, self.columns)
            total += rows.T @ (rows @ narrow)
        return total


def directions(key: str, columns: int, width: int) -> "NDArray[Any]":
    """Random directions that a key tells, as columns: normally distributed numbers."""
    import hashlib

    import numpy as np

    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal((columns, width))
