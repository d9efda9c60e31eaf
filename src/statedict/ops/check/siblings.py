"""Tensors whose size is far from that of the same tensor in the other blocks: exploded, or vanished."""

import math
import re
from collections.abc import Iterable, Iterator
from statistics import median

from statedict.ops.check.figures import Figures
from statedict.ops.check.finding import Finding

_NUMBER = re.compile(r"(?<![^.])[0-9]+(?![^.])")
_FEWEST = 5
"""Blocks from which on one can be said to be unlike the others."""
_TIMES = {True: 10.0, False: 100.0}
"""By what factor a root mean square must differ from the median, at least: of weights, and of biases and scales."""
_DEVIATIONS = 8.0
"""And by how many robust standard deviations of the logarithms: 1.4826 times the median absolute deviation."""


def outliers(tensors: Iterable[Figures]) -> Iterator[Finding]:
    """Parameters whose root mean square is far from the median over the blocks: `layers.{i}` of one name."""
    groups: dict[tuple[str, object], list[tuple[Figures, float]]] = {}
    for each in tensors:
        if each.entry.role == "parameter" and each.is_of_numbers and each.summary.squares > 0 and each.summary.finite:
            size = math.sqrt(each.summary.squares / each.summary.finite)
            if math.isfinite(size):
                groups.setdefault((_NUMBER.sub("*", each.name), each.info.shape), []).append((each, size))
    for (pattern, _), members in groups.items():
        if "*" in pattern and len(members) >= _FEWEST:
            yield from _outliers(pattern, members)


def _outliers(pattern: str, members: list[tuple[Figures, float]]) -> Iterator[Finding]:
    logs = [math.log(size) for _, size in members]
    middle = median(logs)
    spread = 1.4826 * median(abs(each - middle) for each in logs)
    for (each, size), log in zip(members, logs, strict=True):
        away = abs(log - middle)
        if away > math.log(_TIMES[each.is_weight]) and away > _DEVIATIONS * spread:
            times, larger = math.exp(away), log > middle
            yield Finding(
                "outlier",
                each.name,
                "warning" if larger else "note",
                f"its root mean square is {size:.3g}, {times:,.3g} times {'more' if larger else 'less'} than the "
                f"median of `{pattern}` ({math.exp(middle):.3g})",
                "see where it grew, in earlier checkpoints: `statedict stats`"
                if larger
                else "it may have been left out of training, or have decayed: compare with earlier checkpoints",
                {"rms": size, "median": math.exp(middle), "blocks": len(members), "pattern": pattern},
            )
