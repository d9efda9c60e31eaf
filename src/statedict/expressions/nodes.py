"""What an expression is: `Node`, whose elements are computed a stretch at a time, and the source that reads them.

A tensor that is computed is a `TensorInfo` like any other: its extent lies in a `Computed` source, so that whatever
reads, views, casts or saves tensors need not know. No node holds more than a stretch of elements in memory.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from statedict.dtypes import DTYPES, DType
from statedict.errors import StatedictError
from statedict.expressions.rounding import Overflow, convert, round_once
from statedict.index import PLAIN, TensorInfo, contiguous, span
from statedict.source import Extent, Source
from statedict.tree import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STRETCH = 1 << 17
"""Elements that are computed at once: in a processor's cache, with those that they are computed from."""


class Node(ABC):
    """`numel` elements in a row, each computed when it is read. Nodes do not change, and pickle."""

    __slots__ = ("dtype", "numel")

    dtype: DType
    """The type of its elements, once they are rounded."""
    numel: int

    @property
    def operands(self) -> "tuple[Node, ...]":
        """The nodes that it is computed from."""
        return ()

    @property
    def stretch(self) -> int:
        """How many elements are computed at once."""
        return max((each.stretch for each in self.operands), default=_STRETCH)

    @abstractmethod
    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        """The elements from `start` to `stop` as those of `dtype`, in one row: a new array."""

    def working(self, start: int, stop: int) -> "NDArray[Any]":
        """The same in `working_dtype`, before they are rounded: a new array, which may be changed."""
        return self.stored(start, stop).astype(working_dtype(self.dtype))


class Arithmetic(Node):
    """A node whose elements are computed in working precision, and rounded once."""

    __slots__ = ()

    @abstractmethod
    def working(self, start: int, stop: int) -> "NDArray[Any]": ...

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        return round_once(self.working(start, stop), self.dtype)


class Leaf(Node):
    """The elements of a tensor that lies somewhere, row by row, whatever its strides."""

    __slots__ = ("_strided", "info")

    def __init__(self, info: TensorInfo) -> None:
        """Raises TypeError or ValueError, which say what to do, for a tensor without plain values."""
        if info.dtype.block_bytes:
            info = reading.dequantized(info)
        reading.require_values(info)
        if info.dtype.quantized:
            raise TypeError(f"tensor `{info.name}` is quantised ({info.dtype}); `.dequantize()` gives its values")
        self.info = info
        self.dtype = info.dtype
        self.numel = info.numel
        self._strided = None if info.stride is None or is_contiguous(info) else info.stride

    @property
    def stretch(self) -> int:
        """More of a strided view, since each of its stretches may come from all of its file."""
        return _STRETCH if self._strided is None else 1 << 62

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        if self._strided is None:
            return reading.read(run(self.info, start, stop))
        return _strided_run(self.info, self.info.shape or (), self._strided, start, stop)

    def __reduce__(self) -> tuple[Any, ...]:
        return Leaf, (self.info,)


class Cast(Node):
    """The elements of another node, converted as PyTorch's `to` does."""

    __slots__ = ("_of", "_overflow")

    def __init__(self, of: Node, dtype: DType, overflow: Overflow = "torch") -> None:
        self._of = of
        self._overflow: Overflow = overflow
        self.dtype = dtype
        self.numel = of.numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self._of,)

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        return convert(self._of.stored(start, stop), self.dtype, self._overflow)

    def __reduce__(self) -> tuple[Any, ...]:
        return Cast, (self._of, self.dtype, self._overflow)


class Computed(Source):
    """The bytes of a node's elements, side by side, little end first: computed each time that they are read."""

    __slots__ = ("node",)

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.name = name
        self.size = node.dtype.nbytes(node.numel)

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        dtype, stretch, done = self.node.dtype, self.node.stretch, 0
        per_byte = max(1, 8 // dtype.bits)
        while done < len(buffer):
            first, skip = divmod(offset + done, dtype.itemsize)
            left = -(-(skip + len(buffer) - done) // dtype.itemsize)
            start = first * per_byte
            stop = min(start + min(left * per_byte, stretch), self.node.numel)
            elements = self._elements(start, stop)[skip : skip + len(buffer) - done]
            buffer[done : done + len(elements)] = elements
            done += len(elements)

    def _elements(self, start: int, stop: int) -> memoryview:
        try:
            return reading.encode(self.node.stored(start, stop), self.node.dtype).data
        except OverflowError as error:
            raise StatedictError(
                f"tensor `{self.name}` {error}; choose another element type, or let it saturate"
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Computed, (self.node, self.name)


def computed(node: Node, shape: tuple[int, ...], like: TensorInfo) -> TensorInfo:
    """The tensor of that shape that a node computes, under the name of another and on its device."""
    source = Computed(node, like.name)
    return TensorInfo(
        like.name,
        node.dtype,
        shape,
        Extent(source, 0, source.size),
        requires_grad=like.requires_grad,
        device=like.device,
    )


def node_of(info: TensorInfo) -> Node:
    """The node that computes a tensor's elements: its own, so that nothing is rounded between, or a `Leaf`."""
    if info.extent is not None and info.encoding is PLAIN and (info.stride is None or is_contiguous(info)):
        source, offset, size = info.extent
        if isinstance(source, Computed) and (offset, size, info.dtype) == (0, source.size, source.node.dtype):
            return source.node
    return Leaf(info)


def recast(info: TensorInfo, dtype: DType, overflow: Overflow = "torch") -> TensorInfo:
    """The same tensor with elements of another type, converted when they are read, as `rounding.convert` says.

    GGUF's quantised types are decoded. Raises TypeError where elements cannot be converted one by one: sparse and other
    quantised ones, or to fewer than 8 bits.
    """
    if info.dtype == dtype:
        return info
    if (
        info.encoding.parts
        or (info.dtype.quantized and not info.dtype.block_bytes)
        or dtype.quantized
        or dtype.bits < 8
    ):
        raise TypeError(f"tensor `{info.name}` of {info.dtype} ({info.encoding.layout}) cannot become {dtype}")
    if info.extent is None:
        return info._replace(dtype=dtype)
    return computed(Cast(node_of(info), dtype, overflow), info.shape or (), info)


def settled(info: TensorInfo) -> TensorInfo:
    """The same tensor with its elements row by row, little end first, nothing conjugated: as files hold them.

    What has no strided elements, and what is so already, comes as it is.
    """
    if info.extent is None or info.encoding.parts or info.encoding.layout != "strided" or info.dtype.block_bytes:
        return info
    plain = info.encoding.byteorder == "little" and not (info.encoding.conj or info.encoding.neg)
    if plain and (info.stride is None or is_contiguous(info)):
        return info if info.stride is None else info._replace(stride=None)
    return computed(Leaf(info), info.shape or (), info)


def working_dtype(dtype: DType) -> str:
    """The numpy dtype that arithmetic is done in: one that holds all values of `dtype`."""
    if dtype.is_complex:
        return "complex128"
    if dtype.is_floating_point:
        return "float64"
    return "uint64" if dtype is DTYPES["uint64"] else "int64"


def is_contiguous(info: TensorInfo) -> bool:
    """Whether the elements lie row by row, without gaps."""
    shape = info.shape or ()
    if info.stride is None or 0 in shape:
        return True
    return all(size == 1 or a == b for size, a, b in zip(shape, info.stride, contiguous(shape), strict=True))


def run(info: TensorInfo, start: int, stop: int) -> TensorInfo:
    """Some elements of a tensor that lies row by row, counted through, as a tensor of one dimension."""
    dtype, extent = info.dtype, info.extent
    assert extent is not None  # noqa: S101 - `require_values` says so
    first = extent.offset + dtype.nbytes(start)
    return info._replace(
        shape=(stop - start,), stride=None, extent=Extent(extent.source, first, dtype.nbytes(stop - start))
    )


def _strided_run(
    info: TensorInfo, shape: tuple[int, ...], stride: tuple[int, ...], start: int, stop: int
) -> "NDArray[Any]":
    """Elements `start` to `stop` of a view, counted row by row: a first row's end, whole rows, a last row's begin."""
    import numpy as np

    if not shape:
        return reading.read(_view(info, (), (), 0)).reshape(1)[start:stop]
    inner = _product(shape[1:])
    pieces: list[Any] = []
    while start < stop:
        row, skip = divmod(start, inner)
        if len(shape) > 1 and (skip or stop - start < inner):
            end = min(stop, (row + 1) * inner)
            below = _view(info, shape[1:], stride[1:], row * stride[0])
            pieces.append(_strided_run(below, shape[1:], stride[1:], skip, skip + end - start))
        else:
            rows = (stop - start) // inner
            whole = _view(info, (rows, *shape[1:]), stride, row * stride[0])
            pieces.append(reading.read(whole).reshape(-1))
            end = start + rows * inner
        start = end
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else np.empty(0, info.dtype.to_numpy())


def _view(info: TensorInfo, shape: tuple[int, ...], stride: tuple[int, ...], first: int) -> TensorInfo:
    extent = info.extent
    assert extent is not None  # noqa: S101 - `require_values` says so
    reach = info.dtype.nbytes(span(shape, stride))
    moved = Extent(extent.source, extent.offset + info.dtype.nbytes(first), reach)
    return info._replace(shape=shape, stride=stride, extent=moved)


def _product(sizes: tuple[int, ...]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
