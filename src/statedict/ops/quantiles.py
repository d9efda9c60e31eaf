"""Quantiles of tensors, and of all tensors of a module together: exact, in as few passes as their types need."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import add
from typing import TYPE_CHECKING, Any

from statedict.distribution import Quantiles, Spread, merged
from statedict.engine import Job, together
from statedict.index import TensorInfo
from statedict.units import into_first

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOLD = partial(into_first, merge=add)
Run = Callable[[list[Job[Any]]], list[Any]]


def quantiles(
    spreads: Sequence[Spread | None],
    infos: Sequence[TensorInfo],
    rows: Iterable[Sequence[int]],
    shares: Iterable[float],
    run: Run,
) -> list[dict[float, float]]:
    """The quantiles of the finite elements of each row of tensors, taken as one; `rows` has their places.

    Empty where there are no elements, or those of several types. In each pass every tensor is read once, for all rows
    that it is in; elements of at most 16 bits are known already, 32 take one pass and 64 three.
    """
    known = [each is not None and len(each.counts) > 0 for each in spreads]
    every, shares = [tuple(at for at in row if known[at]) for row in rows], tuple(shares)
    wanted = [_begun([spreads[at] for at in row], shares) for row in every]
    while True:
        learnt: dict[int, NDArray[Any]] = {}
        jobs: dict[int, list[Job[Any]]] = {}
        for at, each in enumerate(wanted):
            if each is not None and (kernel := each.kernel()) is not None:
                for place in every[at]:
                    learn = partial(_add, learnt, at)
                    jobs.setdefault(place, []).append(Job(infos[place], kernel, add, learn, fold=_FOLD))
        if not jobs:
            return [{} if each is None else each.quantiles() for each in wanted]
        run([together(each) for each in jobs.values()])
        for at, counts in learnt.items():
            if (each := wanted[at]) is not None:
                each.learn(counts)


def _begun(spreads: Sequence[Spread | None], shares: tuple[float, ...]) -> Quantiles | None:
    every = merged([each for each in spreads if each is not None])
    return None if every is None else Quantiles(every, shares)


def _add(learnt: "dict[int, NDArray[Any]]", at: int, counts: "NDArray[Any]") -> None:
    """Add the counts of one tensor to those of its row, so that none is kept."""
    learnt[at] = counts if at not in learnt else learnt[at] + counts
