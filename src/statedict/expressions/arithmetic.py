"""Sums, products and quotients of tensors, element by element, in a precision that loses nothing."""

from typing import TYPE_CHECKING, Any, Literal, cast

from statedict.dtypes import DTYPES, DType
from statedict.expressions import accelerated
from statedict.expressions.nodes import Arithmetic, Leaf, Node, computed, node_of, working_dtype
from statedict.expressions.promotion import Number, result_type
from statedict.index import TensorInfo, contiguous

if TYPE_CHECKING:
    from numpy.typing import NDArray

Operation = Literal["+", "-", "*", "/"]


class Combination(Arithmetic):
    """A linear combination: the sum of nodes, each times its weight, and of a constant.

    Combinations of combinations become one, so that `a + 0.3 * (b - a)` reads `a` and `b` once.
    """

    __slots__ = ("constant", "terms")

    def __init__(self, terms: tuple[tuple[Number, Node], ...], constant: Number, dtype: DType) -> None:
        self.terms = terms
        self.constant = constant
        self.dtype = dtype
        self.numel = terms[0][1].numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return tuple(node for _, node in self.terms)

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        if accelerated.adds(self.dtype, len(self.terms)):
            terms = [(cast("float", weight), _exact(node, start, stop)) for weight, node in self.terms]
            return accelerated.weighted_sum(terms, cast("float", self.constant), self.dtype)
        return super().stored(start, stop)

    def working(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        kind = _kind(self.dtype)
        (weight, node), *others = self.terms
        with np.errstate(invalid="ignore", over="ignore"):
            total = _values(node, start, stop, kind)
            if weight != 1:
                total *= weight
            for weight, node in others:
                more = _values(node, start, stop, kind)
                if weight != 1:
                    more *= weight
                total += more
            if self.constant:
                total += self.constant
        return total

    def __reduce__(self) -> tuple[Any, ...]:
        return Combination, (self.terms, self.constant, self.dtype)


class Elementwise(Arithmetic):
    """The product or quotient of two nodes, or of a node and a number."""

    __slots__ = ("left", "right", "symbol")

    def __init__(self, symbol: Literal["*", "/"], left: Node | Number, right: Node | Number, dtype: DType) -> None:
        self.symbol: Literal["*", "/"] = symbol
        self.left = left
        self.right = right
        self.dtype = dtype
        self.numel = self.operands[0].numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return tuple(each for each in (self.left, self.right) if isinstance(each, Node))

    def working(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        kind = _kind(self.dtype)
        left, right = (
            _values(each, start, stop, kind) if isinstance(each, Node) else np.array(each, kind)
            for each in (self.left, self.right)
        )
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            return left * right if self.symbol == "*" else np.true_divide(left, right)

    def __reduce__(self) -> tuple[Any, ...]:
        return Elementwise, (self.symbol, self.left, self.right, self.dtype)


def _exact(node: Node, start: int, stop: int) -> "NDArray[Any]":
    """Elements of a node that are not rounded again, in a type that the C code takes."""
    if isinstance(node, Arithmetic) or node.dtype.name not in accelerated.FLOATS:
        return _values(node, start, stop, "float64")
    return node.stored(start, stop)


def _kind(dtype: DType) -> str:
    """The numpy dtype to compute in: whole numbers wrap around, as PyTorch's do, so that int64 serves uint64, too."""
    return "int64" if working_dtype(dtype) == "uint64" else working_dtype(dtype)


def _is_whole(dtype: DType) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex)


def _values(node: Node, start: int, stop: int, kind: str) -> "NDArray[Any]":
    """What is computed with: of whole numbers and truth values those of their type, as rounding loses nothing there."""
    values = node.stored(start, stop) if _is_whole(node.dtype) else node.working(start, stop)
    return values.astype(kind, copy=False)


def combined(symbol: Operation, left: TensorInfo | Number, right: TensorInfo | Number) -> TensorInfo:
    """`left + right`, and so on, of which at least one is a tensor: of the shape and type that PyTorch gives it.

    Raises RuntimeError, in PyTorch's words, where shapes do not fit; TypeError for tensors without plain values.
    """
    like = left if isinstance(left, TensorInfo) else right
    assert isinstance(like, TensorInfo)  # noqa: S101 - the caller's tensor
    shape = _broadcast(left, right)
    dtype = result_type(left, right)
    if symbol == "/" and _is_whole(dtype):
        dtype = DTYPES["float32"]
    sides = [node_of(_expanded(each, shape)) if isinstance(each, TensorInfo) else each for each in (left, right)]
    return computed(_node(symbol, sides[0], sides[1], dtype), shape, like)


def _node(symbol: Operation, left: Node | Number, right: Node | Number, dtype: DType) -> Node:
    if symbol == "+":
        return _sum(left, right, 1, dtype)
    if symbol == "-":
        return _sum(left, right, -1, dtype)
    if symbol == "*" and isinstance(left, Node) != isinstance(right, Node):
        node, weight = (left, right) if isinstance(left, Node) else (right, left)
        terms, constant = _terms(node, dtype)
        return Combination(tuple((each * weight, of) for each, of in terms), constant * weight, dtype)  # type: ignore[operator]
    return Elementwise(symbol, left, right, dtype)


def _sum(left: Node | Number, right: Node | Number, sign: int, dtype: DType) -> Combination:
    weights: dict[Any, Number] = {}
    nodes: dict[Any, Node] = {}
    constant: Number = 0
    for side, factor in ((left, 1), (right, sign)):
        terms, more = _terms(side, dtype)
        constant += factor * more
        for weight, node in terms:
            key = node.info if isinstance(node, Leaf) else id(node)  # so that a tensor is read once
            nodes.setdefault(key, node)
            weights[key] = weights.get(key, 0) + factor * weight
    return Combination(tuple((weights[key], node) for key, node in nodes.items()), constant, dtype)


def _terms(side: Node | Number, dtype: DType) -> tuple[tuple[tuple[Number, Node], ...], Number]:
    """A side as a combination; one that is computed in another precision is a term of its own."""
    if not isinstance(side, Node):
        return (), side
    alike = side.dtype is dtype or not _is_whole(side.dtype)
    if isinstance(side, Combination) and alike and _kind(side.dtype) == _kind(dtype):
        return side.terms, side.constant
    return ((1, side),), 0


def _broadcast(left: TensorInfo | Number, right: TensorInfo | Number) -> tuple[int, ...]:
    """The shape of the result, by the rules of numpy and PyTorch."""
    shapes = [each.shape or () for each in (left, right) if isinstance(each, TensorInfo)]
    if len(shapes) == 1 or shapes[0] == shapes[1]:
        return shapes[0]
    width = max(map(len, shapes))
    first, second = ((1,) * (width - len(shape)) + shape for shape in shapes)
    for at, (a, b) in enumerate(zip(first, second, strict=True)):
        if a != b and 1 not in (a, b):
            raise RuntimeError(
                f"The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension {at}"
            )
    return tuple(b if a == 1 else a for a, b in zip(first, second, strict=True))


def _expanded(info: TensorInfo, shape: tuple[int, ...]) -> TensorInfo:
    """A tensor repeated along the dimensions that it has not, without copies: by strides of 0."""
    own = info.shape or ()
    if own == shape:
        return info
    new = len(shape) - len(own)
    steps = info.stride or contiguous(own)
    stride = (0,) * new + tuple(0 if size == 1 else step for size, step in zip(own, steps, strict=True))
    return info._replace(shape=shape, stride=stride)
