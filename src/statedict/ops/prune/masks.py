"""Masks of tensors that are in memory: which elements stay, where some are pruned already or none is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from statedict.expressions.nodes import Node, node_of
from statedict.expressions.selecting import stretches
from statedict.ops.prune import kept
from statedict.ops.prune.kept import Checked, Kept
from statedict.ops.prune.methods import WHOLE, Method
from statedict.ops.select import NamedTensor
from statedict.tree.tensor import info_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def masks(
    entries: Sequence[NamedTensor],
    method: Method,
    pruned: int,
    seed: int = 0,
    before: "Sequence[NDArray[np.bool_]] | None" = None,
) -> "list[NDArray[np.bool_]]":
    """For each tensor whether each of its elements stays: in all of them together, `pruned` units do not.

    Where `before` has pruned some, those are among them. Of N:M the number is what it is. Raises StatedictError for a
    tensor that holds NaN.
    """
    nodes: list[Node] = [Checked(node_of(entry.tensor.info), entry.name) for entry in entries]
    shapes = [entry.tensor.shape or () for entry in entries]
    if method.name == "n:m":
        dims = [method.dimension(entry.owner.kind, len(shape)) for entry, shape in zip(entries, shapes, strict=True)]
        rows = zip(nodes, shapes, dims, strict=True)
        made = [kept.NofM(node, shape, dim, method.n, method.m) for node, shape, dim in rows]
        found = _all(made, nodes)
    elif method.name in WHOLE:
        found = _slices(entries, nodes, method, pruned, before)
    elif method.name == "random":
        found = _all(kept.random(nodes, [entry.name for entry in entries], pruned, seed), nodes)
    else:
        found = _smallest(nodes, pruned, before)
    return [mask.reshape(shape) for mask, shape in zip(found, shapes, strict=True)]


def _all(says: Sequence[Kept], nodes: Sequence[Node]) -> "list[NDArray[np.bool_]]":
    """What each says of all elements of its tensor."""
    import numpy as np

    return [
        np.concatenate([np.empty(0, bool), *(each.keeps(values, start) for start, values in stretches(node))])
        for each, node in zip(says, nodes, strict=True)
    ]


def _smallest(
    nodes: Sequence[Node], pruned: int, before: "Sequence[NDArray[np.bool_]] | None"
) -> "list[NDArray[np.bool_]]":
    """The magnitudes that are left are ranked among each other: what was pruned is zero, and others may be, too."""
    if before is None:
        return _all(kept.magnitude(nodes, pruned), nodes)
    found = [mask.reshape(-1).copy() for mask in before]
    left: list[Node] = [node_of(info_of(_left(*each))) for each in zip(nodes, found, strict=True)]
    more = pruned - sum(len(mask) for mask in found) + sum(node.numel for node in left)
    for mask, stay in zip(found, _all(kept.magnitude(left, more), left), strict=True):
        mask[mask] = stay
    return found


def _left(node: Node, mask: "NDArray[np.bool_]") -> "NDArray[Any]":
    return node.stored(0, node.numel)[mask]


def _slices(
    entries: Sequence[NamedTensor],
    nodes: Sequence[Node],
    method: Method,
    pruned: int,
    before: "Sequence[NDArray[np.bool_]] | None",
) -> "list[NDArray[np.bool_]]":
    import numpy as np

    shapes = [entry.tensor.shape or () for entry in entries]
    dims = [method.dimension(entry.owner.kind, len(shape)) for entry, shape in zip(entries, shapes, strict=True)]
    scores = [kept.slice_scores(*each) for each in zip(nodes, shapes, dims, strict=True)]
    for row, mask, dim in zip(scores, before or (), dims, strict=before is not None):
        row[~np.moveaxis(mask, dim, 0).reshape(len(row), -1).any(axis=1)] = -1.0
    chosen = kept.split_largest(scores, sum(map(len, scores)) - pruned)
    return [
        np.broadcast_to(stay.reshape(-1, *(1,) * (len(shape) - dim - 1)), shape).reshape(-1)
        for stay, shape, dim in zip(chosen, shapes, dims, strict=True)
    ]
