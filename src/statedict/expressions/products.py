"""Products of matrices, of which rows are computed as they are read, and rows and columns scaled to given lengths."""

from typing import TYPE_CHECKING, Any

from statedict.dtypes import DTYPES
from statedict.expressions.nodes import Arithmetic, Node
from statedict.expressions.once import Held, matrix
from statedict.expressions.selecting import stretches

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STRETCH = 1 << 18
_WORKING = DTYPES["float64"]


class MatrixProduct(Arithmetic):
    """The product of two matrices, as float64: the left one is read by rows, the right one is small and held whole."""

    __slots__ = ("_columns", "_inner", "_left", "_right")

    def __init__(self, left: Node, right: Node, columns: int) -> None:
        """`columns` are those of `right`; where it has none, nor has the product."""
        self._left = left
        self._right = Held(matrix, right, columns)
        self._columns = columns
        self._inner = right.numel // columns if columns else 0
        self.dtype = _WORKING
        self.numel = left.numel // self._inner * columns if self._inner else 0

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self._left,)

    @property
    def stretch(self) -> int:
        """Whole rows, about as many as stay in a processor's cache."""
        return max(1, _STRETCH // max(1, self._columns)) * self._columns or 1

    def working(self, start: int, stop: int) -> "NDArray[Any]":
        first, last = start // self._columns, -(-stop // self._columns)
        rows = self._left.working(first * self._inner, last * self._inner).reshape(-1, self._inner)
        product = (rows @ self._right()).reshape(-1)
        return product[start - first * self._columns : stop - first * self._columns]


class RowsScaled(Arithmetic):
    """The rows of a matrix, each scaled to the length (Euclidean norm) that another node holds for it."""

    __slots__ = ("_columns", "_lengths", "_of")

    def __init__(self, of: Node, columns: int, lengths: Node) -> None:
        self._of = of
        self._columns = columns
        self._lengths = lengths
        self.dtype = of.dtype
        self.numel = of.numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self._of,)

    def working(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        first, last = start // self._columns, -(-stop // self._columns)
        rows = self._of.working(first * self._columns, last * self._columns).reshape(-1, self._columns)
        with np.errstate(invalid="ignore", divide="ignore"):
            rows *= (self._lengths.working(first, last) / np.linalg.norm(rows, axis=1))[:, None]
        return rows.reshape(-1)[start - first * self._columns : stop - first * self._columns]


class ColumnsScaled(Arithmetic):
    """The columns of a matrix, each scaled to the length that another node holds for it."""

    __slots__ = ("_columns", "_factors", "_of")

    def __init__(self, of: Node, columns: int, lengths: Node) -> None:
        self._of = of
        self._columns = columns
        self._factors = Held(_factors, of, columns, lengths)
        self.dtype = of.dtype
        self.numel = of.numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self._of,)

    def working(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        values = self._of.working(start, stop)
        values *= np.take(self._factors(), np.arange(start, stop), mode="wrap")
        return values


def _factors(of: Node, columns: int, lengths: Node) -> "NDArray[Any]":
    """What each column is multiplied by: from the sums of its squares, found in one pass."""
    import numpy as np

    squares = np.zeros(columns)
    for start, values in stretches(of):
        squares += np.bincount(np.arange(start, start + len(values)) % columns, values * values, columns)
    with np.errstate(invalid="ignore", divide="ignore"):
        return lengths.working(0, columns) / np.sqrt(squares)
