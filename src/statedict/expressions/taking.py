"""Some slices of a tensor along one dimension, in their order, read when they are asked for."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from statedict.expressions.nodes import Node, computed, node_of
from statedict.index import TensorInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Taken(Node):
    """Of rows of `size` slices of `inner` elements each: the slices of these positions, which ascend."""

    __slots__ = ("_inner", "_of", "_positions", "_size")

    def __init__(self, of: Node, size: int, inner: int, positions: Sequence[int]) -> None:
        self._of, self._size, self._inner, self._positions = of, size, inner, tuple(positions)
        self.dtype = of.dtype
        self.numel = of.numel // max(1, size) * len(self._positions)

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self._of,)

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        width, pieces = len(self._positions) * self._inner, list["NDArray[Any]"]()
        while start < stop:
            row, skip = divmod(start, width)
            if skip or stop - start < width:
                end = min(stop, (row + 1) * width)
                pieces.append(self._part(row, skip, skip + end - start))
            else:
                end = stop - stop % width
                pieces.append(self._whole(row, end // width))
            start = end
        return np.concatenate(pieces) if pieces else np.empty(0, self.dtype.to_numpy())

    def _part(self, row: int, start: int, stop: int) -> "NDArray[Any]":
        """Elements `start` to `stop` of what one row gives, read from their first slice to their last."""
        first = start // self._inner
        positions = self._positions[first : -(-stop // self._inner)]
        base = row * self._size
        read = self._of.stored((base + positions[0]) * self._inner, (base + positions[-1] + 1) * self._inner)
        slices = read.reshape(-1, self._inner)[_array(positions) - positions[0]].reshape(-1)
        return slices[start - first * self._inner : stop - first * self._inner]

    def _whole(self, first: int, last: int) -> "NDArray[Any]":
        """What rows `first` to `last` give."""
        width = self._size * self._inner
        read = self._of.stored(first * width, last * width).reshape(-1, self._size, self._inner)
        return read[:, _array(self._positions)].reshape(-1)

    def __reduce__(self) -> tuple[Any, ...]:
        return Taken, (self._of, self._size, self._inner, self._positions)


def taken(info: TensorInfo, dim: int, positions: Sequence[int]) -> TensorInfo:
    """The slices at these ascending positions along a dimension, as `torch.index_select` gives them."""
    shape = info.shape or ()
    node = Taken(node_of(info), shape[dim], math.prod(shape[dim + 1 :]), positions)
    return computed(node, (*shape[:dim], len(positions), *shape[dim + 1 :]), info)


def _array(positions: Sequence[int]) -> "NDArray[np.intp]":
    import numpy as np

    return np.array(positions, np.intp)
