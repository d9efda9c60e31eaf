"""Which channels go: the least of each layer or of all, by their weights or a norm's scale, or those that are dead."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from statedict.errors import StatedictError
from statedict.index import TensorInfo
from statedict.ops.prune.amounts import Amount, counted
from statedict.ops.prune.kept import split_largest
from statedict.ops.shrink.chain import NORMS, Segment
from statedict.ops.shrink.constants import Passage, largest, norms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHOICES = ("l1", "l2", "batchnorm")
SCOPES = ("tensor", "global")


def least(
    segments: Sequence[Segment], tensors: Mapping[str, TensorInfo], amount: Amount, norm: str, scope: str
) -> "list[NDArray[np.bool_]]":
    """Of each channel of each segment's first layer whether it stays, as the amount says; of each layer at least one.

    Of equal ones the first stay. Raises StatedictError for an amount, norm or scope that is none.
    """
    if norm not in CHOICES:
        raise StatedictError(f"`{norm}` is no norm to choose channels by; expected one of {', '.join(CHOICES)}")
    if scope not in SCOPES:
        raise StatedictError(f"`scope` is {scope!r}; expected one of {', '.join(SCOPES)}")
    scores = [_scores(segment, tensors, norm) for segment in segments]
    if scope == "tensor":
        return [_kept([row], amount)[0] for row in scores]
    return _kept(scores, amount)


def dead(segments: Sequence[Segment], tensors: Mapping[str, TensorInfo]) -> "list[NDArray[np.bool_]]":
    """The same without the channels that are the same whatever goes in, and those that the next layer does not read."""
    import numpy as np

    found: list[NDArray[np.bool_]] = []
    for segment in segments:
        constant = np.isfinite(Passage(segment, tensors).constant())
        last = segment.last
        read = largest(tensors[f"{last.path}.weight"], 1 - last.outputs).reshape(-1, segment.repeats)
        found.append(_at_least_one(~(constant | (read == 0).all(axis=1))))
    return found


def _kept(scores: "Sequence[NDArray[np.float64]]", amount: Amount) -> "list[NDArray[np.bool_]]":
    import numpy as np

    total = sum(map(len, scores))
    gone = counted(amount, total)
    if amount == 1.0 and isinstance(amount, float):
        raise StatedictError("an `amount` of 1.0 leaves no channel; a layer without outputs is none")
    # The best of each layer stays, whatever it is.
    ranked = [np.where(np.arange(len(row)) == row.argmax(), np.inf, row) for row in scores]
    kept = split_largest(ranked, total - min(gone, total - len(scores)))
    return [np.asarray(row, bool) for row in kept]


def _at_least_one(kept: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
    if not kept.any():
        kept[0] = True
    return kept


def _scores(segment: Segment, tensors: Mapping[str, TensorInfo], norm: str) -> "NDArray[np.float64]":
    first: Any = segment.first
    if norm != "batchnorm":
        return norms(tensors[f"{first.path}.weight"], first.outputs, 1 if norm == "l1" else 2)
    for step in segment.between:
        scale = Passage(segment, tensors).vector(step, "weight") if step.kind in NORMS else None
        if scale is not None:
            return abs(scale)
    raise StatedictError(f"no norm with a scale follows {first.said}; choose its channels by `l1` or `l2`")
