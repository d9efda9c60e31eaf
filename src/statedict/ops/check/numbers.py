"""The numeric part of `check`: each tensor is read once, and every check is told from its figures."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from statedict.dtypes import DType
from statedict.ops.check import channels, siblings, statistics, ties, values
from statedict.ops.check.figures import Figures, figures
from statedict.ops.check.finding import Finding, Report, worst_first
from statedict.ops.select import NamedTensor
from statedict.tree.module import Module

OF_EACH: dict[str, Callable[[Figures], Iterator[Finding]]] = {
    "nan": values.nan,
    "infinite": values.infinite,
    "zeros": values.zeros,
    "constant": values.constant,
    "denormals": values.denormals,
    "dead": channels.dead,
    "equal-rows": channels.equal,
    "impossible": statistics.impossible,
    "overflow": values.overflow,
}
"""What is looked for in each tensor by itself, by name."""
OF_ALL: dict[str, Callable[[Sequence[Figures]], Iterator[Finding]]] = {
    "untrained": statistics.untrained,
    "outlier": siblings.outliers,
}
"""What is looked for in several together."""
CHECKS = (*OF_EACH, *OF_ALL, "ties")


_OF_COUNTS = ("impossible",)
"""What is looked for in whole numbers, too."""


def check_numbers(
    model: Module, entries: Sequence[NamedTensor], checks: Sequence[str], target: DType | None, **how: Any
) -> Report:
    """What the numbers of these tensors say. `target` is the type that `overflow` asks about."""
    tensors, skipped = figures(entries, target, **how)
    found = [finding for each in tensors for finding in _of(each, checks)]
    for check in checks:
        found += OF_ALL[check](tensors) if check in OF_ALL else ()
    if "ties" in checks:
        found += ties.broken_ties(model, entries)
    places = {each.name: at for at, each in enumerate(tensors)}
    found.sort(key=lambda each: places.get(each.where, len(places)))
    return Report(worst_first(found), tuple(checks), len(tensors), skipped)


def _of(each: Figures, checks: Sequence[str]) -> Iterator[Finding]:
    of_numbers = each.is_of_numbers
    for check in checks:
        if check in OF_EACH and (of_numbers or check in _OF_COUNTS):
            yield from OF_EACH[check](each)
