"""`stats`: what the numbers of a model are: extremes, means, norms, zeros, NaN; of tensors, modules, and all."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, reduce
from typing import TYPE_CHECKING, Any

from statedict import engine
from statedict.dtypes import DType, dtype
from statedict.errors import MissingExtraError
from statedict.index import EMPTY, TensorInfo
from statedict.ops.select import NamedTensor, selected
from statedict.summary import EMPTY as NOTHING
from statedict.summary import Summary
from statedict.tree.module import Module
from statedict.tree.roles import Role

if TYPE_CHECKING:
    from statedict.distribution import Spread
    from statedict.kernels import Lost


@dataclass(frozen=True)
class TensorStats:
    """The figures of one tensor."""

    names: tuple[str, ...]
    """All that were chosen of its names, the first one of the tree first."""
    info: TensorInfo
    role: Role
    summary: Summary
    """Extremes, sums and counts, and what follows from them: `mean`, `std`, `l1`, `l2`, `linf`, `sparsity`."""
    spread: "Spread | None" = None
    """Counts of the elements in the order of numbers, for histograms; where they were asked for."""
    lost: "Lost | None" = None
    """What a cast would lose, where that was asked for."""
    quantiles: Mapping[float, float] = field(default_factory=dict[float, float])
    """Of the finite elements, as numpy interpolates them; exact. Only what was asked for."""

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def distinct(self) -> int | None:
        """How many different finite numbers there are; of elements of at most 16 bits, where counts were asked for."""
        return None if self.spread is None else self.spread.distinct

    def histogram(self, bins: int = 16) -> tuple[list[int], list[float]]:
        """Counts in so many stretches of equal width from the least to the greatest number, and their edges.

        Exact for elements of 16 bits and fewer; of wider ones 16 bits count. Empty unless counts were asked for.
        """
        low, high = self.summary.min, self.summary.max
        return (
            ([], []) if self.spread is None or low is None or high is None else self.spread.histogram(bins, low, high)
        )


@dataclass(frozen=True)
class Stats:
    """What `stats` has found. What is said of modules and of all is of the floating-point and complex tensors."""

    tensors: tuple[TensorStats, ...]
    """In the order of the tree, each once, under its first name."""
    skipped: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Tensors that have no plain values, by name, and why: sparse, quantised, meta."""

    @cached_property
    def total(self) -> Summary:
        """The summary of all."""
        return _merged(self.tensors)

    @cached_property
    def modules(self) -> dict[str, Summary]:
        """The summary of each module and all below it, by full name, in the order of the tree; the whole is ""."""
        inside: dict[str, dict[int, TensorStats]] = {"": {}}
        for each in self.tensors:
            for name in each.names:
                parts = name.split(".")[:-1]
                for depth in range(len(parts) + 1):
                    inside.setdefault(".".join(parts[:depth]), {})[id(each)] = each
        return {name: _merged(found.values()) for name, found in inside.items()}


def _merged(tensors: Iterable[TensorStats]) -> Summary:
    numbers = (each.summary for each in tensors if _is_of_numbers(each.info.dtype))
    return reduce(Summary.merge, numbers, NOTHING)


def _is_of_numbers(kind: DType) -> bool:
    return kind.is_floating_point or kind.is_complex or bool(kind.block_bytes)


def stats(
    model: Module,
    *patterns: str,
    where: str | None = None,
    quantiles: Iterable[float] = (),
    counts: bool = False,
    if_cast: DType | str | None = None,
    executor: Executor | None = None,
    threads: int | None = None,
    progress: engine.Progress | None = None,
) -> Stats:
    """The figures of the tensors of `model` that fit `patterns` (all, when there is none) and `where`, each read once.

    `counts` are what histograms and `distinct` need; `quantiles` are exact, for which tensors of more than 16 bits are
    read again. `if_cast` tells what another element type would lose. Memory stays at a few MiB a thread. Work is done
    by `threads`, or by an `executor`; the result is the same to the last bit.

    Raises PatternError as `select` does, ValueError for a quantile outside 0 to 1 or a type that is not floating point,
    and what reading raises.
    """
    shares, target = tuple(quantiles), _target(if_cast)
    for share in shares:
        if not 0 <= share <= 1:
            raise ValueError(f"the quantile {share:g} is none: expected a number from 0 to 1")
    chosen, skipped = _chosen(selected(model, patterns, where))
    if not chosen:
        return Stats((), skipped)
    run = partial(engine.run, executor=executor, threads=threads, progress=progress)
    found = run([_job(info, target, counts=counts or bool(shares)) for _, info in chosen])
    tensors = [_found(entries, values) for (entries, _), values in zip(chosen, found, strict=True)]
    if shares:
        tensors = _with_quantiles(tensors, [info for _, info in chosen], shares, run)
    return Stats(tuple(tensors), skipped)


def _target(asked: DType | str | None) -> DType | None:
    target = dtype(asked) if isinstance(asked, str) else asked
    if target is not None and (not target.is_floating_point or target.bits < 8):
        raise ValueError(f"`{target}` is no floating-point type of at least 8 bits; expected one such as `f16`")
    return target


_Chosen = list[tuple[list[NamedTensor], TensorInfo]]


def _chosen(entries: list[NamedTensor]) -> tuple[_Chosen, dict[str, str]]:
    """Each tensor once, with its chosen names and where its elements lie; and those that have none, with the reason."""
    by_tensor: dict[int, list[NamedTensor]] = {}
    for entry in entries:
        by_tensor.setdefault(id(entry.tensor), []).append(entry)
    chosen: _Chosen = []
    skipped: dict[str, str] = {}
    for named in by_tensor.values():
        info = named[0].tensor.info
        try:
            row = engine.row(engine.in_any_order(info))
            if info.dtype.block_bytes and row.extent is not None and row.numel:
                row.extent.source.read_at(row.extent.offset, 4)  # which fails for blocks that no library decodes
            chosen.append((named, row))
        except (TypeError, ValueError, MissingExtraError) as error:
            skipped |= dict.fromkeys((entry.name for entry in named), str(error))
    return chosen, skipped


def _job(info: TensorInfo, target: DType | None, *, counts: bool) -> engine.Job[Any]:
    """All that one reading of a tensor tells: its summary, its counts, what a cast loses."""
    from statedict import distribution, kernels

    jobs: list[engine.Job[Any]] = [engine.Job(info, kernels.summarize, Summary.merge)]
    if not info.dtype.is_complex:
        jobs += [distribution.counting(info)] if counts else []
        jobs += [] if target is None else [engine.Job(info, partial(kernels.lost, target=target), kernels.Lost.merge)]
    return engine.together(jobs)


def _found(entries: list[NamedTensor], values: tuple[Any, ...] | None) -> TensorStats:
    from statedict.distribution import Spread
    from statedict.kernels import Lost

    found: dict[type, Any] = {type(value): value for value in values or (NOTHING,)}
    names = tuple(entry.name for entry in entries)
    info, role = entries[0].tensor.info, entries[0].role
    return TensorStats(names, info, role, found[Summary], found.get(Spread), found.get(Lost))


def _with_quantiles(
    tensors: list[TensorStats], infos: list[TensorInfo], shares: tuple[float, ...], run: Any
) -> list[TensorStats]:
    """The same with quantiles; elements of more than 16 bits are read again until their numbers are known."""
    from statedict.distribution import Quantiles

    asked = [None if each.spread is None else Quantiles(each.spread, shares) for each in tensors]
    both = list(zip(asked, infos, strict=True))
    while jobs := [job for each, info in both if each is not None and (job := each.job(info)) is not None]:
        run(jobs)
    return [
        each if found is None else replace(each, quantiles=found.quantiles())
        for each, found in zip(tensors, asked, strict=True)
    ]
