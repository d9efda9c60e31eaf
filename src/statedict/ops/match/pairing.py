"""Pairs of those that belong to each other more clearly than to any other."""

from collections.abc import Mapping
from typing import NamedTuple


class Pair(NamedTuple):
    """Two that are each the other's best."""

    source: int
    target: int
    score: float
    lead: float
    """How far the next best of either is behind; infinite where there is none."""


def best_pairs(scores: Mapping[tuple[int, int], float]) -> list[Pair]:
    """The pairs of which each is the other's only best, the clearest first."""
    of_source: dict[int, list[float]] = {}
    of_target: dict[int, list[float]] = {}
    for (source, target), score in scores.items():
        of_source.setdefault(source, []).append(score)
        of_target.setdefault(target, []).append(score)
    for held in (*of_source.values(), *of_target.values()):
        held.sort(reverse=True)
    found: list[Pair] = []
    for (source, target), score in scores.items():
        ours, theirs = of_source[source], of_target[target]
        if score == ours[0] == theirs[0]:
            lead = min((score - held[1] for held in (ours, theirs) if len(held) > 1), default=float("inf"))
            if lead > 0:
                found.append(Pair(source, target, score, lead))
    return sorted(found, key=lambda pair: (-pair.lead, -pair.score))
