"""`cat`, `stack`, `where`, `full`: tensors put together from others under PyTorch's names; nothing is read yet."""

from collections.abc import Iterable, Sequence
from typing import Any

from statedict.dtypes import DType
from statedict.dtypes import dtype as dtype_of
from statedict.expressions import arranging
from statedict.tree.tensor import Tensor, info_of, is_tensor_like


def cat(tensors: Iterable[Any], dim: int = 0) -> Tensor:
    """Tensors of one element type along a dimension. Raises as `torch.cat` does, and TypeError where types differ."""
    return Tensor(arranging.concatenated([info_of(each) for each in tensors], dim))


def stack(tensors: Iterable[Any], dim: int = 0) -> Tensor:
    """Tensors of one shape and type along a new dimension. Raises RuntimeError, TypeError as `torch.stack` does."""
    return Tensor(arranging.stacked([info_of(each) for each in tensors], dim))


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """Elements of `input` where `condition` holds, else of `other`: tensors of its shape and one type, or numbers.

    Raises TypeError where types differ or the condition is not of bool, RuntimeError where shapes differ.
    """
    sides = [info_of(each) if is_tensor_like(each) else each for each in (input, other)]
    return Tensor(arranging.chosen(info_of(condition), *sides))


def full(size: Sequence[int], fill_value: float | complex, dtype: DType | str = "float32") -> Tensor:
    """A tensor whose elements are all one number, and which takes no memory."""
    return Tensor(arranging.filled(tuple(size), fill_value, dtype if isinstance(dtype, DType) else dtype_of(dtype)))
