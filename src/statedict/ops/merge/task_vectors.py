"""Merging by task vectors: by how each model differs from the base that it was trained from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.dtypes import DTYPES, DType
from statedict.expressions.arithmetic import Combination
from statedict.expressions.nodes import Arithmetic, Node
from statedict.expressions.once import Once
from statedict.ops.merge.sparsity import Sparsifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMALL = 1e-8
_PLAIN = DTYPES["float64"]


def task_arithmetic(
    base: Node, models: Sequence[Node], weights: Sequence[float], *, normalize: bool, scale: float, dtype: DType
) -> Node:
    """The base and the weighted task vectors, times `scale`: base + scale · Σ weight · (model - base).

    Ilharco et al. 2023, "Editing models with task arithmetic", arXiv:2212.04089.
    """
    total = sum(weights) if normalize else 1.0
    factor = scale / (total if abs(total) >= _SMALL else 1)
    terms = [(factor * weight, model) for weight, model in zip(weights, models, strict=True) if weight]
    of_base = 1 - sum(weight for weight, _ in terms)
    return Combination(((of_base, base), *terms) if of_base or not terms else tuple(terms), 0, dtype)


class TaskVector(NamedTuple):
    """One model's part in a merge."""

    model: Node
    weight: float
    sparsifier: Sparsifier | None = None
    factor: float | Once[float] = 1.0
    """What the elements that the sparsifier leaves are multiplied by."""

    def changes(self, base: "NDArray[Any]", start: int) -> "NDArray[Any]":
        """Its weighted change of the base from a position on, zero where it is not merged."""
        values = self.model.working(start, start + len(base))
        values -= base
        keeps = None if self.sparsifier is None else self.sparsifier.keeps(values, start)
        values *= self.weight * (self.factor() if isinstance(self.factor, Once) else self.factor)
        if keeps is not None:
            values[~keeps] = 0
        return values


def difference(model: Node, base: Node) -> Node:
    """A task vector: how a model differs from its base."""
    return Combination(((1, model), (-1, base)), 0, _PLAIN)


class Merged(Arithmetic):
    """The base and its task vectors, made sparse, where `elect` only those of the sign that outweighs the other.

    Of a position the sign of the sum of the weighted task vectors is elected, + where it is zero. What has the other
    sign, or is zero, is left out; if `normalize` the rest is divided by the sum of its own weights.

    Yadav et al. 2023, "TIES-Merging", arXiv:2306.01708 (the largest elements, elected, normalized); Yu et al. 2024,
    "Language models are super Mario" (DARE), arXiv:2311.03099 (random elements, rescaled); Davari and Belilovsky 2024,
    "Model Breadcrumbs", arXiv:2312.06795 (neither the largest nor the smallest).
    """

    __slots__ = ("_base", "_elect", "_normalize", "_scale", "_vectors")

    def __init__(
        self,
        base: Node,
        vectors: Sequence[TaskVector],
        dtype: DType,
        *,
        elect: bool,
        normalize: bool,
        scale: float,
    ) -> None:
        self._base = base
        self._vectors = tuple(vectors)
        self._elect = elect
        self._normalize = normalize
        self._scale = scale
        self.dtype = dtype
        self.numel = base.numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self._base, *(vector.model for vector in self._vectors))

    def working(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        with np.errstate(invalid="ignore", over="ignore"):
            base = self._base.working(start, stop)
            changes = [vector.changes(base, start) for vector in self._vectors]
            total = self._elected(changes) if self._elect else self._summed(changes)
            total *= self._scale
            base += total
        return base

    def _summed(self, changes: "list[NDArray[Any]]") -> "NDArray[Any]":
        total = sum(changes[1:], changes[0])
        weight = sum(vector.weight for vector in self._vectors)
        return total / weight if self._normalize and abs(weight) >= _SMALL else total

    def _elected(self, changes: "list[NDArray[Any]]") -> "NDArray[Any]":
        import numpy as np

        positive = sum(changes[1:], changes[0]) >= 0
        total, weights = np.zeros(len(positive)), np.zeros(len(positive))
        for change, vector in zip(changes, self._vectors, strict=True):
            agrees = np.where(positive, change > 0, change < 0)
            total += change * agrees  # which NaN is not lost in
            weights += vector.weight * agrees
        if self._normalize:
            weights[weights == 0] = 1
            total /= weights
        return total
