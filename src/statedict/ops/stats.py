"""`stats`: what the numbers of a model are: extremes, means, norms, zeros, NaN; of tensors, modules, and all."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, reduce
from typing import TYPE_CHECKING, Any

from statedict import engine
from statedict.columns import Columns
from statedict.displaying import Displayed
from statedict.dtypes import DType, dtype
from statedict.errors import MissingExtraError
from statedict.index import EMPTY, TensorInfo
from statedict.moments import EMPTY as NOTHING
from statedict.moments import Summary
from statedict.narrow import is_tuple
from statedict.ops.select import NamedTensor, selected
from statedict.summarizing import SUMMARIZE
from statedict.tree.module import Module
from statedict.tree.roles import Role

if TYPE_CHECKING:
    from statedict.distribution import Magnitudes, Spread
    from statedict.kernels import Lost
    from statedict.ops.spectrum import Spectrum
    from statedict.structure import Layout, Structure


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
    magnitudes: "Magnitudes | None" = None
    """How many elements there are of each magnitude; where that was asked for."""
    structure: "Structure | None" = None
    """How the zeros of a matrix or kernel are arranged, where that was asked for."""
    spectrum: "Spectrum | None" = None
    """The singular values of a matrix or kernel of finite numbers, where they were asked for."""

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
        return histogram([self], bins)


def histogram(tensors: Iterable[TensorStats], bins: int = 16) -> tuple[list[int], list[float]]:
    """The same of several tensors together, those left out of which no counts were asked for."""
    known = [each for each in tensors if each.spread is not None and each.summary.min is not None]
    if not known:
        return [], []
    low, high = (choose(getattr(each.summary, choose.__name__) for each in known) for choose in (min, max))
    found = [each.spread.histogram(bins, low, high) for each in known if each.spread is not None]
    return [sum(counts) for counts in zip(*(counts for counts, _ in found), strict=True)], found[0][1]


@dataclass(frozen=True)
class Stats(Displayed):
    """What `stats` has found. What is said of modules and of all is of the floating-point and complex tensors."""

    tensors: tuple[TensorStats, ...]
    """In the order of the tree, each once, under its first name."""
    skipped: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Tensors that have no plain values, by name, and why: sparse, quantised, meta."""
    quantiles: Mapping[str, Mapping[float, float]] = field(default_factory=dict[str, Mapping[float, float]])
    """Of the finite elements of each module and all below it, where `module_quantiles` asked for them; exact. Of
    modules whose tensors have several element types there are none."""

    @cached_property
    def total(self) -> Summary:
        """The summary of all."""
        return _merged(self.tensors)

    @cached_property
    def modules(self) -> dict[str, Summary]:
        """The summary of each module and all below it, by full name, in the order of the tree; the whole is ""."""
        return {name: _merged(found) for name, found in self.within.items()}

    @cached_property
    def within(self) -> dict[str, tuple[TensorStats, ...]]:
        """The tensors of each module and of all below it, each once."""
        inside: dict[str, dict[int, TensorStats]] = {"": {}}
        for each in self.tensors:
            for name in each.names:
                parts = name.split(".")[:-1]
                for depth in range(len(parts) + 1):
                    inside.setdefault(".".join(parts[:depth]), {})[id(each)] = each
        return {name: tuple(found.values()) for name, found in inside.items()}


def _merged(tensors: Iterable[TensorStats]) -> Summary:
    numbers = (each.summary for each in tensors if is_of_numbers(each.info.dtype))
    return reduce(Summary.merge, numbers, NOTHING)


def is_of_numbers(kind: DType) -> bool:
    """Whether tensors of that type count in what is said of modules and of all."""
    return kind.is_floating_point or kind.is_complex or bool(kind.block_bytes)


@dataclass(frozen=True)
class _Asked:
    """What one reading of each tensor is to tell, beside its summary."""

    counts: bool
    magnitudes: bool
    quantiles: tuple[float, ...]
    target: DType | None
    structure: bool
    module_quantiles: bool


def stats(
    model: Module,
    *patterns: str,
    where: str | None = None,
    quantiles: Iterable[float] = (),
    module_quantiles: bool = False,
    counts: bool = False,
    magnitudes: bool = False,
    if_cast: DType | str | None = None,
    structure: bool = False,
    spectrum: int = 0,
    executor: Executor | None = None,
    threads: int | None = None,
    progress: engine.Progress | None = None,
) -> Stats:
    """The figures of the tensors of `model` that fit `patterns` (all, when there is none) and `where`, each read once.

    `counts` are what histograms and `distinct` need, `magnitudes` what plots do; `quantiles` are exact, for which
    tensors of more than 16 bits are read again, and with `module_quantiles` those of modules, too. `if_cast` tells what
    another element type would lose, `structure` how zeros are arranged, and `spectrum` so many of the largest singular
    values, for which matrices are read up to 40 times. Memory stays at a few MiB a thread. Work is done by `threads`,
    or by an `executor` (all but spectra); the result is the same to the last bit, but for the last digits of spectra.

    Raises PatternError as `select` does, ValueError for a quantile outside 0 to 1 or a type that is not floating point,
    and what reading raises.
    """
    asked = _Asked(counts, magnitudes, _shares(quantiles), _target(if_cast), structure, module_quantiles)
    chosen, skipped = _chosen(selected(model, patterns, where))
    if not chosen:
        return Stats((), skipped)
    run = partial(engine.run, executor=executor, threads=threads, progress=progress)
    found = run([_job(entries[0], info, asked) for entries, info in chosen])
    tensors = [_found(entries, values, asked) for (entries, _), values in zip(chosen, found, strict=True)]
    of_modules: dict[str, dict[float, float]] = {}
    if asked.quantiles:
        tensors, of_modules = _with_quantiles(tensors, [info for _, info in chosen], asked, run)
    if spectrum:
        tensors = list(_with_spectra(tensors, [entries[0] for entries, _ in chosen], spectrum, progress))
    return Stats(tuple(tensors), skipped, of_modules)


def rehearsed(columns: Columns) -> Iterator[engine.Unit]:
    """The units in which `stats` reads all of a model that nothing was done to, of which none is kept."""
    return engine.plan_in_order(engine.Job(engine.row(info), SUMMARIZE, Summary.merge) for info in columns.each())


def _shares(asked: Iterable[float]) -> tuple[float, ...]:
    shares = tuple(asked)
    for share in shares:
        if not 0 <= share <= 1:
            raise ValueError(f"the quantile {share:g} is none: expected a number from 0 to 1")
    return shares


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


def _job(entry: NamedTensor, info: TensorInfo, asked: _Asked) -> engine.Job[Any]:
    """All that one reading of a tensor tells: its summary, its counts, what a cast loses, where zeros are."""
    where = _layout(entry) if asked.structure else None
    jobs: list[engine.Job[Any]] = [_structure(info, where) if where else engine.Job(info, SUMMARIZE, Summary.merge)]
    if not info.dtype.is_complex and (asked.counts or asked.quantiles or asked.magnitudes or asked.target):
        from statedict import distribution, kernels

        if asked.counts or asked.quantiles:
            jobs.append(distribution.counting(info))
        elif asked.magnitudes:
            jobs.append(distribution.weighing(info))
        if asked.target is not None:
            jobs.append(engine.Job(info, partial(kernels.lost, target=asked.target), kernels.Lost.merge))
    return jobs[0] if len(jobs) == 1 else engine.together(jobs)


def _layout(entry: NamedTensor) -> "Layout | None":
    from statedict.structure import layout

    return layout(entry.info, entry.owner.kind)


def _structure(info: TensorInfo, where: "Layout") -> engine.Job[Any]:
    from statedict.structure import finding

    return finding(info, where)


def _found(entries: list[NamedTensor], value: Any, asked: _Asked) -> TensorStats:
    # By the names of their types, whose import would load numpy, which stats of files in C does without.
    found = {type(each).__name__: each for each in _apart(NOTHING if value is None else value)}
    spread = found.get("Spread")
    return TensorStats(
        tuple(entry.name for entry in entries),
        entries[0].tensor.info,
        entries[0].role,
        found["Summary"],
        spread if asked.counts or asked.quantiles else None,
        found.get("Lost"),
        magnitudes=spread.magnitudes() if asked.magnitudes and spread is not None else found.get("Magnitudes"),
        structure=found.get("Structure"),
    )


def _apart(value: Any) -> Iterator[Any]:
    """The values that several kernels found of one tensor, one by one."""
    if is_tuple(value):
        for each in value:
            yield from _apart(each)
    else:
        yield value


def _with_quantiles(
    tensors: list[TensorStats], infos: list[TensorInfo], asked: _Asked, run: Any
) -> tuple[list[TensorStats], dict[str, dict[float, float]]]:
    """The same with quantiles, and those of modules by name where they are asked for."""
    from statedict.ops.quantiles import quantiles

    within = Stats(tuple(tensors)).within if asked.module_quantiles else {}
    places = {id(each): at for at, each in enumerate(tensors)}
    rows = [(at,) for at in range(len(tensors))]
    rows += [tuple(places[id(each)] for each in held if is_of_numbers(each.info.dtype)) for held in within.values()]
    found = quantiles([each.spread for each in tensors], infos, rows, asked.quantiles, run)
    of_each = [
        replace(each, quantiles=mine, spread=each.spread if asked.counts else None)
        for each, mine in zip(tensors, found, strict=False)
    ]
    return of_each, dict(zip(within, found[len(tensors) :], strict=True))


def _with_spectra(
    tensors: list[TensorStats], entries: list[NamedTensor], count: int, progress: engine.Progress | None
) -> Iterator[TensorStats]:
    """The same with the spectra of those that have one."""
    from statedict.ops.spectrum import as_matrix, spectrum

    total, done = sum(each.info.nbytes for each in tensors), 0
    for each, entry in zip(tensors, entries, strict=True):
        summary = each.summary
        if is_of_numbers(each.info.dtype) and summary.count and summary.finite == summary.count:
            matrix = as_matrix(each.info, entry.owner.kind)
            if matrix is not None:
                each = replace(each, spectrum=spectrum(matrix, summary.l2, summary.largest, count))
        done += each.info.nbytes
        if progress is not None:
            progress(done, total)
        yield each
