"""Merging by weighted averages of the models themselves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from statedict.dtypes import DTYPES, DType
from statedict.errors import StatedictError
from statedict.expressions.arithmetic import Combination
from statedict.expressions.nodes import Arithmetic, Node
from statedict.expressions.once import Once
from statedict.expressions.selecting import stretches

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLLINEAR = 0.9995
"""The cosine beyond which two tensors have nearly one direction."""
_SMALL = 1e-8
_SMALL_PRODUCT = 1e-6
_SINGULAR = 1e-6
_PLAIN = DTYPES["float64"]


def linear(models: Sequence[Node], weights: Sequence[float], *, normalize: bool, dtype: DType) -> Node:
    """The weighted sum of the models, divided by the sum of the weights if `normalize`.

    Wortsman et al. 2022, "Model soups", arXiv:2203.05482. Raises StatedictError where the weights' sum is zero.
    """
    total = sum(weights) if normalize else 1.0
    if abs(total) < _SMALL:
        raise StatedictError("the weights' sum is zero, by which nothing can be divided; pass `normalize=False`")
    return Combination(tuple((weight / total, node) for weight, node in zip(weights, models, strict=True)), 0, dtype)


class Blend(Arithmetic):
    """A linear combination whose weights follow from the nodes, by one pass over them before the first element."""

    __slots__ = ("_nodes", "_weights")

    def __init__(self, nodes: tuple[Node, ...], weights: Once[tuple[float, ...]], dtype: DType) -> None:
        self._nodes = nodes
        self._weights = weights
        self.dtype = dtype
        self.numel = nodes[0].numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return self._nodes

    @property
    def combination(self) -> Combination:
        """What it is, now that the weights are known; nodes of no weight are not read."""
        terms = tuple((weight, node) for weight, node in zip(self._weights(), self._nodes, strict=True) if weight)
        return Combination(terms or ((0.0, self._nodes[0]),), 0, self.dtype)

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        return self.combination.stored(start, stop)

    def working(self, start: int, stop: int) -> "NDArray[Any]":
        return self.combination.working(start, stop)


def slerp(first: Node, second: Node, t: float, dtype: DType) -> Node:
    """Spherical interpolation from the first model, at `t` 0, to the second at 1: along the arc between directions.

    Shoemake 1985, "Animating rotation with quaternion curves", doi:10.1145/325165.325242. Each tensor is one vector.
    Straight where the cosine of the angle is beyond 0.9995 or below -0.9995.
    """
    return Blend((first, second), Once(_arc, first, second, t), dtype)


def _arc(first: Node, second: Node, t: float) -> tuple[float, ...]:
    """The weights of slerp."""
    import math

    products = _products([first, second])
    lengths = [math.sqrt(products[at][at]) for at in range(2)]
    cosine = float(products[0][1])
    for length in lengths:
        cosine /= length if length > _SMALL else 1
    if not abs(cosine) <= _COLLINEAR:  # or NaN
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin(angle * (1 - t)) / math.sin(angle), math.sin(angle * t) / math.sin(angle)


def model_stock(base: Node, models: Sequence[Node], dtype: DType) -> Node:
    """The point between the base and the models' average that their mean angle, seen from the base, tells.

    Jang, Yun, Han 2024, "Model Stock", arXiv:2403.19522: with the mean cosine c over pairs of N models, the average
    has the weight N·c / (1 + (N - 1)·c). Each tensor is one vector.
    """
    return Blend((base, *models), Once(_stock, base, *models), dtype)


def _stock(base: Node, *models: Node) -> tuple[float, ...]:
    """The weights of model stock: that of the base, then those of the models."""
    import math

    count = len(models)
    offsets = [Combination(((1, model), (-1, base)), 0, _PLAIN) for model in models]
    products = _products(offsets)
    cosines: list[float] = []
    for first in range(count):
        for second in range(first + 1, count):
            lengths = math.sqrt(products[first][first]) * math.sqrt(products[second][second])
            cosines.append(min(1.0, max(-1.0, products[first][second] / max(lengths, _SMALL_PRODUCT))))
    cosine = sum(cosines) / len(cosines)
    below = 1 + (count - 1) * cosine
    share = count * cosine / below if below > _SINGULAR else 0.0  # opposite models: their average is the base
    return (1 - share, *(share / count for _ in models))


def _products(nodes: Sequence[Node]) -> "NDArray[Any]":
    """The scalar product of each pair of nodes."""
    import numpy as np

    sums = np.zeros((len(nodes), len(nodes)))
    for starts in zip(*map(stretches, nodes), strict=True):
        block = np.stack([values for _, values in starts])
        with np.errstate(invalid="ignore", over="ignore"):
            sums += block @ block.T
    return sums
