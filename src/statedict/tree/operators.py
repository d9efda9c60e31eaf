"""What computes with tensors as PyTorch does, but lazily: nothing is read before the result's elements are."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

from statedict.dtypes import DTYPES, DType
from statedict.dtypes import dtype as dtype_of
from statedict.expressions import arithmetic, arranging, nodes
from statedict.expressions.rounding import Overflow
from statedict.narrow import is_container

if TYPE_CHECKING:
    from statedict.index import TensorInfo
    from statedict.tree.tensor import Tensor


class TensorOperators:
    """The operators and methods of `Tensor` that make another one of it.

    Sums, products and quotients are computed in float64 (whole numbers in int64, complex ones in complex128) and
    rounded once, to the type that PyTorch gives the result; what is combined further is not rounded between.
    """

    __slots__ = ()
    __array_priority__ = 1000
    """So that numpy's numbers and arrays leave `+` and the like to this class."""

    info: "TensorInfo"

    @abstractmethod
    def _made(self, info: "TensorInfo") -> "Tensor":
        """The tensor of a description, without a role."""

    @abstractmethod
    def _operand(self, other: Any) -> Any:
        """The other side as a `TensorInfo` or a number; NotImplemented for anything else."""

    def _combined(self, symbol: arithmetic.Operation, other: Any, *, reflected: bool = False) -> "Tensor":
        side = self._operand(other)
        if side is NotImplemented:
            return side
        left, right = (side, self.info) if reflected else (self.info, side)
        return self._made(arithmetic.combined(symbol, left, right))

    def __add__(self, other: Any) -> "Tensor":
        return self._combined("+", other)

    def __radd__(self, other: Any) -> "Tensor":
        return self._combined("+", other, reflected=True)

    def __sub__(self, other: Any) -> "Tensor":
        return self._combined("-", other)

    def __rsub__(self, other: Any) -> "Tensor":
        return self._combined("-", other, reflected=True)

    def __mul__(self, other: Any) -> "Tensor":
        return self._combined("*", other)

    def __rmul__(self, other: Any) -> "Tensor":
        return self._combined("*", other, reflected=True)

    def __truediv__(self, other: Any) -> "Tensor":
        return self._combined("/", other)

    def __rtruediv__(self, other: Any) -> "Tensor":
        return self._combined("/", other, reflected=True)

    def __neg__(self) -> "Tensor":
        return self._combined("*", -1)

    def to(self, dtype: DType | str, overflow: Overflow = "torch") -> "Tensor":
        """The same values as elements of another type, rounded to nearest, ties to even; itself if it has that type.

        A number beyond the largest becomes what PyTorch makes of it, with `overflow="saturate"` the largest; with
        "error" reading it raises StatedictError. Raises TypeError where elements cannot be converted one by one.
        """
        target = dtype if isinstance(dtype, DType) else dtype_of(str(dtype))
        if target is self.info.dtype:
            return self  # type: ignore[return-value]
        return self._made(nodes.recast(self.info, target, overflow))

    def half(self) -> "Tensor":
        return self.to(DTYPES["float16"])

    def bfloat16(self) -> "Tensor":
        return self.to(DTYPES["bfloat16"])

    def float(self) -> "Tensor":
        return self.to(DTYPES["float32"])

    def double(self) -> "Tensor":
        return self.to(DTYPES["float64"])

    def reshape(self, *shape: Any) -> "Tensor":
        """The same elements in another shape, of which one size may be -1. Raises RuntimeError as PyTorch does."""
        return self._made(arranging.reshaped(self.info, _sizes(shape)))

    def flatten(self) -> "Tensor":
        """The same elements in one dimension."""
        return self.reshape(-1)

    def permute(self, *dims: Any) -> "Tensor":
        """The dimensions in another order. Raises RuntimeError, IndexError as PyTorch does."""
        return self._made(arranging.permuted(self.info, _sizes(dims)))

    def transpose(self, dim0: int, dim1: int) -> "Tensor":
        """Two dimensions exchanged. Raises IndexError for one that it has not."""
        ndim = len(self.info.shape or ())
        order = list(range(ndim))
        try:
            order[dim0], order[dim1] = order[dim1], order[dim0]
        except IndexError:
            return self.permute(dim0, dim1)  # which says what is wrong
        return self.permute(order)

    def t(self) -> "Tensor":
        """A matrix with rows and columns exchanged. Raises RuntimeError where it has more than two dimensions."""
        ndim = len(self.info.shape or ())
        if ndim > 2:
            raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
        return self.permute(list(reversed(range(ndim))))

    @property
    def T(self) -> "Tensor":  # noqa: N802 - PyTorch's name
        return self.t()

    def contiguous(self) -> "Tensor":
        """The same elements row by row; itself where they lie so."""
        settled = nodes.settled(self.info)
        return self if settled is self.info else self._made(settled)  # type: ignore[return-value]

    def masked_fill(self, mask: Any, value: Any) -> "Tensor":
        """Its elements where `mask` does not hold, and `value` where it does. Raises as `arranging.chosen` does."""
        return self._made(arranging.chosen(self._operand(mask), value, self.info))

    def clone(self) -> Self:
        """A tensor of its own over the same elements, which never change."""
        return self._made(self.info)  # type: ignore[return-value]


def _sizes(given: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes as PyTorch takes them: one after the other, or as one list."""
    return tuple(given[0]) if len(given) == 1 and is_container(given[0]) else given
