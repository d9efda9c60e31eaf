"""The published definitions of the merge methods, in memory and in one go: what mergekit's documentation says of each.

They compute in float64 and sort whole tensors, so that they share nothing with what they are compared to.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def linear(models: Sequence[Array], weights: Sequence[float], *, normalize: bool = True) -> Array:
    total = np.tensordot(np.array(weights), np.stack(models), 1)
    return total / np.sum(weights) if normalize else total


def slerp(first: Array, second: Array, t: float) -> Array:
    def direction(vector: Array) -> Array:
        length = np.linalg.norm(vector)
        return vector / length if length > 1e-8 else vector

    dot = np.sum(direction(first) * direction(second))
    if abs(dot) > 0.9995:
        return (1 - t) * first + t * second
    theta = np.arccos(dot)
    return np.sin(theta * (1 - t)) / np.sin(theta) * first + np.sin(theta * t) / np.sin(theta) * second


def task_vectors(
    base: Array,
    deltas: Sequence[Array],
    weights: Sequence[float],
    *,
    elect: bool,
    normalize: bool,
    scale: float = 1.0,
) -> Array:
    weighted = np.stack([delta * weight for delta, weight in zip(deltas, weights, strict=True)])
    column = np.array(weights).reshape(-1, *([1] * base.ndim))
    if elect:
        majority = np.where(weighted.sum(axis=0) >= 0, 1, -1)
        mask = np.sign(weighted) == majority
        mixed, divisor = (weighted * mask).sum(axis=0), (column * mask).sum(axis=0)
        divisor[divisor == 0] = 1
    else:
        mixed, divisor = weighted.sum(axis=0), np.sum(weights)
        divisor = 1 if abs(divisor) < 1e-8 else divisor
    return base + scale * (mixed / divisor if normalize else mixed)


def by_magnitude(delta: Array) -> NDArray[np.intp]:
    """Positions, the largest magnitude first; of equal ones the first first."""
    return np.argsort(-np.abs(delta.reshape(-1)), kind="stable")


def only(delta: Array, positions: NDArray[np.intp]) -> Array:
    kept = np.zeros_like(delta)
    kept.reshape(-1)[positions] = delta.reshape(-1)[positions]
    return kept


def trimmed(delta: Array, density: float) -> Array:
    return only(delta, by_magnitude(delta)[: max(1, int(density * delta.size))])


def middling(delta: Array, density: float, gamma: float) -> Array:
    keep = max(1, int(density * delta.size))
    top = min(int(gamma * delta.size), delta.size - keep)
    return only(delta, by_magnitude(delta)[top : top + keep])


def model_stock(base: Array, models: Sequence[Array]) -> Array:
    offsets = [model.reshape(-1) - base.reshape(-1) for model in models]
    cosines: list[Any] = []
    for at, one in enumerate(offsets):
        for other in offsets[at + 1 :]:
            lengths = max(np.linalg.norm(one) * np.linalg.norm(other), 1e-6)
            cosines.append(np.clip(one @ other / lengths, -1, 1))
    cosine, count = np.mean(cosines), len(models)
    t = count * cosine / (1 + (count - 1) * cosine)
    return t * np.mean(models, axis=0) + (1 - t) * base
