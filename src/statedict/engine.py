"""Kernels over tensors of any size: bounded blocks, each read once, on an executor; the same result on any.

What a tensor's blocks give is merged in their order, and where blocks begin depends on nothing but the tensor. So the
bits of a result do not depend on how many threads or processes there were.
"""

import os
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from statedict.accelerator import BLOCK
from statedict.dtypes import DTYPES, DType
from statedict.executors import Cluster, Rehearsal, Rehearsed
from statedict.expressions.nodes import Computed, is_contiguous, settled
from statedict.expressions.once import Finding
from statedict.index import TensorInfo
from statedict.source import Extent, Source
from statedict.tree.dequantize import dequantized
from statedict.tree.reading import require_values
from statedict.units import Beside, Direct, Fold, Piece, Read, Unit, work

if TYPE_CHECKING:
    from numpy.typing import NDArray

R = TypeVar("R")

_READ = 1 << 22
"""Bytes that are read at once, into a buffer that each thread keeps; more of them cost memory and save no time."""
_UNIT = 1 << 24
"""Bytes that are worth being passed to another thread."""
MOST_OF_A_UNIT = 2 * _READ
"""Bytes of the buffers that a thread keeps."""
_READS = 64
"""Reads of small tensors in one unit of work."""
_REQUEST = 1 << 23
"""Bytes of a unit whose source waits: what one request brings."""
_REQUESTS = 8
"""Threads at least that read sources which wait."""
_WAITING = 2
"""Units for each worker that are under way or wait to be merged."""

_CLUSTER = 32
"""The workers that an executor may have that does not tell."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are done and those that there are, now and then, by the thread that asked for the work."""


class Job(NamedTuple, Generic[R]):
    """A tensor, and what to find out about it. To run in other processes, both functions must pickle."""

    info: TensorInfo
    kernel: Callable[..., R]
    """From the type of some elements, and these in one row, to a value. The array is its own while it runs."""
    merge: Callable[[R, R], R]
    """The value of two stretches of elements, one behind the other."""
    finish: Callable[[R], Any] | None = None
    """From the value of all elements to the result, in this process, as soon as it is known: what takes less memory."""
    other: TensorInfo | None = None
    """Another tensor of as many elements: the kernel gets its type and the same stretch of its elements as well."""
    fold: Fold | None = None
    """What whoever reads a unit may merge before it sends the rest. It must pickle, too."""


class Placed(ABC):
    """A kernel to which it matters where in their tensor the elements stand."""

    @abstractmethod
    def at(self, start: int) -> Callable[..., Any]:
        """The kernel of the elements from `start` on. It must pickle."""

    def __call__(self, dtype: DType, values: "NDArray[Any]", *others: Any) -> Any:
        return self.at(0)(dtype, values, *others)


def run(
    jobs: Iterable[Job[R]],
    *,
    executor: Executor | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[Any]:
    """The result of each job, in their order; None for a tensor without elements.

    Runs on `threads` of this process (as many as it has processors), or on any `concurrent.futures.Executor`, to which
    units of work are passed that pickle. Every byte is read once for each job. On an error, and on KeyboardInterrupt,
    what has not begun is dropped, and what has is waited for.
    Raises TypeError or ValueError for a tensor without plain values, and what a kernel or reading raises.
    """
    jobs = [job._replace(info=row(job.info), other=None if job.other is None else row(job.other)) for job in jobs]
    units = plan(jobs, executor.unit_bytes if isinstance(executor, Cluster) else None)
    if isinstance(executor, Rehearsal):
        raise Rehearsed(units)
    total = sum(read.size for unit in units for read in unit)
    results: list[Any] = [None] * len(jobs)
    left = Counter(piece.job for unit in units for read in unit for piece in read.pieces)
    done = 0
    with closing(_values(units, executor, threads)) as found:
        for unit, values in zip(units, found, strict=True):
            pieces = (piece for read in unit for piece in read.pieces)
            for piece, value in zip(pieces, values, strict=True):
                job, before = jobs[piece.job], results[piece.job]
                if value is not None:
                    results[piece.job] = value if before is None else job.merge(before, value)
                left[piece.job] -= 1
                if job.finish is not None and not left[piece.job]:
                    results[piece.job] = job.finish(results[piece.job])
            done += sum(read.size for read in unit)
            if progress is not None:
                progress(done, total)
    return results


def together(jobs: Sequence[Job[Any]]) -> Job[tuple[Any, ...]]:
    """Several jobs on one tensor as one, which reads it once; its result has that of each."""
    kernels, merges, finishes = (tuple(job[at] for job in jobs) for at in (1, 2, 3))
    folds = tuple(job.fold for job in jobs)
    return Job(
        jobs[0].info,
        _Together(kernels),
        partial(_each_merged, merges=merges),
        partial(_each_finished, finishes=finishes),
        fold=partial(_each_folded, folds=folds) if any(folds) else None,
    )


class _Together(Placed):
    def __init__(self, kernels: tuple[Any, ...]) -> None:
        self._kernels = kernels

    def at(self, start: int) -> Any:
        return partial(_each, kernels=tuple(_at(kernel, start) for kernel in self._kernels))


def _at(kernel: Any, start: int) -> Any:
    return kernel.at(start) if isinstance(kernel, Placed) else kernel


def _each(dtype: DType, values: "NDArray[Any]", kernels: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(kernel(dtype, values) for kernel in kernels)


def _each_merged(first: tuple[Any, ...], second: tuple[Any, ...], merges: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a if b is None else merge(a, b) for merge, a, b in zip(merges, first, second, strict=True))


def _each_folded(first: tuple[Any, ...], second: tuple[Any, ...], folds: tuple[Fold | None, ...]) -> tuple[Any, Any]:
    pairs = [
        (a, b) if fold is None or b is None else fold(a, b) for fold, a, b in zip(folds, first, second, strict=True)
    ]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def _each_finished(values: tuple[Any, ...], finishes: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value if finish is None else finish(value) for value, finish in zip(values, finishes, strict=True))


def row(info: TensorInfo) -> TensorInfo:
    """The same elements side by side, little end first, decoded if they come in blocks, pairs in a byte taken apart.

    Raises TypeError or ValueError for a tensor without plain values, MissingExtraError where a library must decode it.
    """
    require_values(info)
    if info.dtype.block_bytes:
        info = dequantized(info)
    if info.dtype.quantized:
        raise TypeError(f"tensor `{info.name}` is quantised ({info.dtype}); `.dequantize()` gives its values")
    info = settled(info)
    if info.dtype.name == "float4_e2m1fn_x2":
        return info._replace(dtype=DTYPES["f4"], shape=(2 * info.numel,))
    return info


def in_any_order(info: TensorInfo) -> TensorInfo:
    """The same elements, in the order in which they lie where that reads them in one go: transposed weights, say."""
    return _permuted(info, axes_as_they_lie(info))


def axes_as_they_lie(info: TensorInfo) -> tuple[int, ...]:
    """The axes, the outermost first, as `in_any_order` has them."""
    shape, stride = info.shape or (), info.stride
    axes = tuple(range(len(shape)))
    if stride is None:
        return axes
    lying = tuple(sorted(axes, key=lambda axis: (-stride[axis], -shape[axis])))
    return lying if is_contiguous(_permuted(info, lying)) else axes


def _permuted(info: TensorInfo, axes: tuple[int, ...]) -> TensorInfo:
    shape, stride = info.shape, info.stride
    if shape is None or stride is None or axes == tuple(range(len(shape))):
        return info
    return info._replace(shape=tuple(shape[axis] for axis in axes), stride=tuple(stride[axis] for axis in axes))


# The plan


def plan(jobs: Sequence[Job[Any]], unit_bytes: Callable[[int], int] | None = None) -> list[Unit]:
    """Every element of each job's tensor once, in units of bounded size that go through each source from begin to end.

    Tensors that lie side by side are read at once. Where blocks begin does not depend on the size of units.
    """
    sources: dict[int, int] = {}
    reads: list[Read] = []
    for at, job in enumerate(jobs):
        extent = job.info.extent
        if extent is not None and job.info.numel:
            reads.extend(_reads(at, job, extent))

    def place(read: Read) -> tuple[int, int]:
        source, start, _ = read.extent.source.needs(read.extent.offset, read.extent.size)
        return sources.setdefault(id(source), len(sources)), start

    reads.sort(key=place)
    most = None if unit_bytes is None else unit_bytes(sum(read.size for read in reads))
    return list(_units(_joined(reads), most))


def plan_in_order(jobs: Iterable[Job[Any]]) -> Iterator[Unit]:
    """What `plan` makes of jobs whose tensors come in the order of their bytes, one unit at a time: none is kept."""
    named = ((at, job, job.info.extent) for at, job in enumerate(jobs))
    reads = (read for at, job, extent in named if extent and job.info.numel for read in _reads(at, job, extent))
    return _units(_joined(reads), None)


def _reads(at: int, job: Job[Any], extent: Extent) -> Iterator[Read]:
    """A tensor cut where blocks begin."""
    dtype, other, numel = job.info.dtype, job.other, job.info.numel
    size = dtype.nbytes(BLOCK) + (0 if other is None else other.dtype.nbytes(BLOCK))
    most = max(1, _READ // size) * BLOCK
    first = job.kernel.glance if isinstance(job.kernel, Direct) and job.kernel.glance else most
    for start, end in pairwise((0, *range(first, numel, most), numel)):
        count = end - start
        beside = None if other is None else _beside(other, start, count)
        piece = Piece(at, dtype, _at(job.kernel, start), 0, count, beside, job.fold)
        yield Read(_stretch(dtype, extent, start, count), (piece,))


def _stretch(dtype: DType, extent: Extent, start: int, count: int) -> Extent:
    return Extent(extent.source, extent.offset + dtype.nbytes(start), dtype.nbytes(count))


def _beside(info: TensorInfo, start: int, count: int) -> Beside | None:
    return None if info.extent is None else Beside(info.dtype, _stretch(info.dtype, info.extent, start, count))


def _joined(reads: Iterable[Read]) -> Iterator[Read]:
    """Reads that adjoin as one."""
    source: Source | None = None
    offset = end = 0
    pieces: list[Piece] = []
    for (new, start, size), (piece,) in reads:
        if source is new and start == end and end + size - offset <= _READ:
            pieces.append(piece._replace(begin=start - offset))
        else:
            if source is not None:
                yield Read(Extent(source, offset, end - offset), tuple(pieces))
            source, offset, pieces = new, start, [piece]
        end = start + size
    if source is not None:
        yield Read(Extent(source, offset, end - offset), tuple(pieces))


def _units(reads: Iterable[Read], most: int | None) -> Iterator[Unit]:
    """Reads in groups that are worth being passed to another thread, or of `most` bytes."""
    unit: list[Read] = []
    size = 0
    for read in reads:
        waits = most is not None or _outermost(read.extent).waits
        full = len(unit) >= _READS * (_READS if waits else 1)
        taken = read.size
        if unit and (full or size + taken > (most or (_REQUEST if waits else _UNIT))):
            yield tuple(unit)
            unit, size = [], 0
        unit.append(read)
        size += taken
    if unit:
        yield tuple(unit)


# The work


def _values(units: list[Unit], executor: Executor | None, threads: int | None) -> Generator[list[Any]]:
    """What each unit gives, in their order."""
    if executor is not None and any(isinstance(read.extent.source, Computed) for unit in units for read in unit):
        Finding().dump(units)
    if isinstance(executor, Cluster):
        turns = count()
        yield from _submitted(units, lambda unit: executor.submit_at(next(turns), work, unit), executor.workers)
        return
    if executor is not None:
        workers = getattr(executor, "_max_workers", None) or _CLUSTER
        yield from _submitted(units, partial(executor.submit, work), workers)
        return
    waits = any(_outermost(unit[0].extent).waits for unit in units)
    workers = min(threads or max(processors(), _REQUESTS if waits else 1), len(units))
    if workers <= 1:
        yield from map(work, units)
        return
    pool = ThreadPoolExecutor(workers, "statedict")
    try:
        yield from _submitted(units, partial(pool.submit, work), workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _outermost(extent: Extent) -> Source:
    return extent.source.needs(extent.offset, extent.size)[0]


def _submitted(units: list[Unit], submit: Callable[[Unit], "Future[list[Any]]"], workers: int) -> Iterator[list[Any]]:
    waiting: deque[Future[list[Any]]] = deque()
    try:
        for unit in units:
            waiting.append(submit(unit))
            if len(waiting) > _WAITING * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
