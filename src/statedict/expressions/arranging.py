"""Tensors put together from others, bit for bit: joined, stacked, chosen by a mask, filled, reshaped, transposed."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from statedict.dtypes import DTYPES, DType
from statedict.expressions.nodes import Node, computed, is_contiguous, node_of, settled
from statedict.expressions.rounding import convert
from statedict.index import TensorInfo, contiguous
from statedict.tree.reading import require_values

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Filled(Node):
    """The same number again and again."""

    __slots__ = ("value",)

    def __init__(self, value: float | complex, dtype: DType, numel: int) -> None:
        self.value = value
        self.dtype = dtype
        self.numel = numel

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        return np.repeat(convert(np.array([self.value]), self.dtype), stop - start)

    def __reduce__(self) -> tuple[Any, ...]:
        return Filled, (self.value, self.dtype, self.numel)


class Chosen(Node):
    """Elements of one node where a mask holds, and of another of the same type where it does not."""

    __slots__ = ("_mask", "_no", "_yes")

    def __init__(self, mask: Node, yes: Node, no: Node) -> None:
        self._mask = mask
        self._yes = yes
        self._no = no
        self.dtype = yes.dtype
        self.numel = mask.numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return self._mask, self._yes, self._no

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        holds = self._mask.stored(start, stop).astype(bool, copy=False)
        return np.where(holds, self._yes.stored(start, stop), self._no.stored(start, stop))

    def __reduce__(self) -> tuple[Any, ...]:
        return Chosen, (self._mask, self._yes, self._no)


class Rows(Node):
    """Nodes side by side: a row of the first, one of the second, and so on, then the next row of each."""

    __slots__ = ("_begins", "_nodes", "_widths")

    def __init__(self, nodes: tuple[Node, ...], widths: tuple[int, ...]) -> None:
        """`widths` says how many elements of each are in a row."""
        self._nodes = nodes
        self._widths = widths
        self._begins = (0, *itertools.accumulate(widths))
        self.dtype = nodes[0].dtype
        self.numel = sum(node.numel for node in nodes)

    @property
    def operands(self) -> tuple[Node, ...]:
        return self._nodes

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        width, pieces = self._begins[-1], list["NDArray[Any]"]()
        while start < stop:
            row, skip = divmod(start, width)
            if skip or stop - start < width:
                end = min(stop, (row + 1) * width)
                pieces += self._part(row, skip, skip + end - start)
            else:
                end = stop - stop % width
                pieces.append(self._whole(row, end // width))
            start = end
        return np.concatenate(pieces) if pieces else np.empty(0, self.dtype.to_numpy())

    def _part(self, row: int, start: int, stop: int) -> "list[NDArray[Any]]":
        """Columns `start` to `stop` of one row."""
        parts: list[NDArray[Any]] = []
        for node, width, begin in zip(self._nodes, self._widths, self._begins, strict=False):
            first, last = max(start, begin), min(stop, begin + width)
            if first < last:
                base = row * width - begin
                parts.append(node.stored(base + first, base + last))
        return parts

    def _whole(self, first: int, last: int) -> "NDArray[Any]":
        """Rows `first` to `last`, one behind the other."""
        import numpy as np

        blocks = [
            node.stored(first * width, last * width).reshape(-1, width)
            for node, width in zip(self._nodes, self._widths, strict=True)
            if width
        ]
        return np.concatenate(blocks, axis=1).reshape(-1)

    def __reduce__(self) -> tuple[Any, ...]:
        return Rows, (self._nodes, self._widths)


def concatenated(infos: Sequence[TensorInfo], dim: int) -> TensorInfo:
    """Tensors of one type joined along a dimension. Raises as `torch.cat` does, and TypeError where types differ."""
    if not infos:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for info in infos:
        require_values(info)
    first, *others = infos
    shape = first.shape or ()
    dim = _dimension(dim, len(shape))
    for at, info in enumerate(others, 1):
        other = info.shape or ()
        if info.dtype is not first.dtype:
            raise TypeError(
                f"tensors `{first.name}` of {first.dtype} and `{info.name}` of {info.dtype} cannot be one; "
                "cast them first"
            )
        if len(other) != len(shape) or other[:dim] != shape[:dim] or other[dim + 1 :] != shape[dim + 1 :]:
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {dim}. Expected {shape} but got {other} for tensor "
                f"number {at} in the list (`{info.name}`)."
            )
    inner = math.prod(shape[dim + 1 :])
    sizes = [(info.shape or ())[dim] for info in infos]
    node = Rows(tuple(map(node_of, infos)), tuple(size * inner for size in sizes))
    return computed(node, (*shape[:dim], sum(sizes), *shape[dim + 1 :]), first)


def stacked(infos: Sequence[TensorInfo], dim: int) -> TensorInfo:
    """Tensors of one shape and type along a new dimension. Raises RuntimeError, TypeError as `torch.stack` does."""
    if not infos:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = infos[0].shape or ()
    for at, info in enumerate(infos):
        if (info.shape or ()) != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                f"{list(info.shape or ())} at entry {at}"
            )
    dim = _dimension(dim, len(shape) + 1)
    return concatenated([reshaped(info, (*shape[:dim], 1, *shape[dim:])) for info in infos], dim)


def chosen(mask: TensorInfo, yes: TensorInfo | float, no: TensorInfo | float) -> TensorInfo:
    """Elements of `yes` where `mask` holds, else of `no`: tensors of the mask's shape and one type, or numbers.

    Raises TypeError where types differ or the mask is not of bool, RuntimeError where shapes do.
    """
    tensors = [each for each in (yes, no) if isinstance(each, TensorInfo)]
    dtype = tensors[0].dtype if tensors else DTYPES["float32"]
    if mask.dtype.name != "bool":
        raise TypeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {mask.dtype}")
    for each in tensors:
        if each.dtype is not dtype:
            raise TypeError(f"tensor `{each.name}` is of {each.dtype}, the other of {dtype}; cast one of them first")
        if each.shape != mask.shape:
            raise RuntimeError(f"tensor `{each.name}` has the shape {each.shape}, its mask {mask.shape}")
    sides = [node_of(each) if isinstance(each, TensorInfo) else Filled(each, dtype, mask.numel) for each in (yes, no)]
    return computed(Chosen(node_of(mask), *sides), mask.shape or (), tensors[0] if tensors else mask)


def filled(shape: tuple[int, ...], value: float | complex, dtype: DType, name: str = "") -> TensorInfo:
    """A tensor whose elements are all one number."""
    node = Filled(value, dtype, math.prod(shape))
    return computed(node, shape, TensorInfo(name, dtype, shape, None))


def reshaped(info: TensorInfo, shape: tuple[int, ...]) -> TensorInfo:
    """The same elements in another shape, of which one size may be -1. Raises RuntimeError as `torch.reshape` does."""
    require_values(info)
    known = math.prod(size for size in shape if size != -1)
    if shape.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if -1 in shape and (not known or info.numel % known):
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {info.numel}")
    sizes = tuple(info.numel // known if size == -1 else size for size in shape)
    if math.prod(sizes) != info.numel or min(sizes, default=0) < 0:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {info.numel}")
    row = info._replace(stride=None) if is_contiguous(info) else settled(info)
    return row._replace(shape=sizes)


def permuted(info: TensorInfo, order: Sequence[int]) -> TensorInfo:
    """The same elements with the dimensions in another order. Raises RuntimeError, IndexError as `torch.permute`."""
    require_values(info)
    shape = info.shape or ()
    axes = [_dimension(each, len(shape)) for each in order]
    if sorted(axes) != list(range(len(shape))):
        raise RuntimeError(
            f"permute(): {len(axes)} dimensions given for a tensor of {len(shape)}"
            if len(axes) != len(shape)
            else "permute(): duplicate dims are not allowed."
        )
    if info.dtype.bits < 8 or info.dtype.block_bytes:
        raise TypeError(f"tensor `{info.name}` of {info.dtype} cannot be transposed before it is decoded")
    stride = info.stride or contiguous(shape)
    return info._replace(shape=tuple(shape[axis] for axis in axes), stride=tuple(stride[axis] for axis in axes))


def _dimension(dim: int, ndim: int) -> int:
    if not -ndim <= dim < ndim:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but got {dim})")
    return dim % ndim
