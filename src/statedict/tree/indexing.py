"""Indexing without reading: from the description of a tensor and an index to the description of what it picks."""

import operator
from types import EllipsisType
from typing import Any, cast

from statedict.dtypes import DType
from statedict.index import TensorInfo, contiguous, span
from statedict.source import Extent
from statedict.tree import reading

Index = int | slice | EllipsisType | None


def dimension(dim: int, ndim: int) -> int:
    """A dimension counted from the front. Raises IndexError in PyTorch's words."""
    bound = max(ndim, 1)
    if not -bound <= dim < bound or ndim == 0:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], but got {dim})")
    return dim % bound


def view(info: TensorInfo, index: Any) -> TensorInfo:
    """The description of what `index` picks out. Errors as `Tensor.__getitem__` says.

    Its extent is just the bytes from the first to the last element picked.
    """
    if info.shape is None or info.encoding.parts:
        reading.require_values(info)
        raise TypeError(
            f"tensor `{info.name}` is made of parts ({', '.join(info.encoding.parts)}); use `.numpy()[...]`"
        )
    if not info.shape and _is_integer(index):
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert "
            "a 0-dim tensor to a number"
        )
    places = cast("tuple[Any, ...]", index) if isinstance(index, tuple) else (index,)
    shape, stride, first = _picked(info, _expanded(places, len(info.shape)))
    dtype = info.dtype
    kept = None if stride == contiguous(shape) else stride
    if dtype.block_bytes and not _is_whole_blocks(dtype, shape, stride, first):
        raise TypeError(
            f"tensor `{info.name}` of {dtype}: the view is no run of whole blocks of {dtype.block_numel}; "
            "use `.dequantize()[...]`"
        )
    if not dtype.block_bytes and first * dtype.bits % 8:
        raise TypeError(f"tensor `{info.name}` of {dtype}: the view begins inside a byte; use `.numpy()[...]`")
    if info.extent is None:
        return info._replace(shape=shape, stride=kept)
    reach = dtype.nbytes(span(shape, stride))
    extent = Extent(info.extent.source, info.extent.offset + (dtype.nbytes(first) if reach else 0), reach)
    return info._replace(shape=shape, stride=kept, extent=extent, storage=info.storage or info.extent)


def _is_whole_blocks(dtype: DType, shape: tuple[int, ...], stride: tuple[int, ...], first: int) -> bool:
    """Whether elements lie side by side and are all those of some blocks."""
    side_by_side = all(size == 1 or a == b for size, a, b in zip(shape, stride, contiguous(shape), strict=True))
    return side_by_side and first % dtype.block_numel == span(shape, stride) % dtype.block_numel == 0


def _expanded(index: "tuple[Any, ...]", ndim: int) -> list[tuple[int, Any]]:
    """An index with `...` written out as slices and missing ones added, each with its place in what was asked."""
    for each in index:
        if isinstance(each, float):
            raise IndexError(
                "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
                "(got float)"
            )
        if isinstance(each, bool) or not (each is None or each is ... or isinstance(each, slice) or _is_integer(each)):
            raise TypeError(
                f"a Tensor that is not read yet cannot be indexed by {type(each).__name__}; use `.numpy()[...]`"
            )
    used = sum(each is not None and each is not ... for each in index)
    if used > ndim:
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    if sum(each is ... for each in index) > 1:
        raise IndexError("an index can only have a single ellipsis (`...`)")
    placed = list(enumerate(index))
    at = next((place for place, each in placed if each is ...), len(index))
    return [*placed[:at], *[(at, slice(None))] * (ndim - used), *placed[at + 1 :]]


def _picked(info: TensorInfo, index: list[tuple[int, Any]]) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Shape, stride and first element of what an expanded index picks."""
    sizes = info.shape or ()
    steps = info.stride or contiguous(sizes)
    shape: list[int] = []
    stride: list[int] = []
    first = axis = 0
    for place, each in index:
        if each is None:
            shape.append(1)
            stride.append(_stride_of_new(sizes, steps, axis))
            continue
        size, step = sizes[axis], steps[axis]
        if isinstance(each, slice):
            begin, end, stepped = _bounds(cast("slice[Any, Any, Any]", each), size)
            shape.append(max(0, -(-(end - begin) // stepped)))
            stride.append(step * stepped)
            first += begin * step
        else:
            at = operator.index(each)
            if not -size <= at < size:
                raise IndexError(f"index {at} is out of bounds for dimension {place} with size {size}")
            first += at % size * step
        axis += 1
    return tuple(shape), tuple(stride), first


def _stride_of_new(sizes: tuple[int, ...], steps: tuple[int, ...], axis: int) -> int:
    """The stride that PyTorch gives to a new dimension of size 1 before `axis`."""
    return sizes[axis] * steps[axis] if axis < len(sizes) else 1


def _bounds(each: "slice[Any, Any, Any]", size: int) -> tuple[int, int, int]:
    if each.step is not None and operator.index(each.step) < 0:
        raise ValueError("step must be greater than zero")
    return each.indices(size)


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not hasattr(value, "__len__")
