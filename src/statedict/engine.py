"""Kernels over tensors of any size: bounded blocks, each read once, on an executor; the same result on any.

What a tensor's blocks give is merged in their order, and where blocks begin depends on nothing but the tensor. So the
bits of a result do not depend on how many threads or processes there were.
"""

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from statedict.accelerator import BLOCK
from statedict.dtypes import DTYPES, DType
from statedict.expressions.nodes import is_contiguous, settled
from statedict.index import TensorInfo
from statedict.source import Extent, Source
from statedict.tree.dequantize import dequantized
from statedict.tree.reading import elements, require_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

R = TypeVar("R")

_READ = 1 << 20
"""Bytes that are read at once, into a buffer that each thread keeps, and that stays in its processor's cache."""
_UNIT = 1 << 22
"""Bytes that are worth being passed to another thread."""
_READS = 64
"""Reads of small tensors in one unit of work."""
_WAITING = 2
"""Units for each worker that are under way or wait to be merged."""

_CLUSTER = 32
"""The workers that an executor may have that does not tell."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are done and those that there are, now and then, by the thread that asked for the work."""


class Job(NamedTuple, Generic[R]):
    """A tensor, and what to find out about it. To run in other processes, both functions must pickle."""

    info: TensorInfo
    kernel: "Callable[[DType, NDArray[Any]], R]"
    """From some elements in one row, and their type, to a value. The array is its own only for as long as it runs."""
    merge: Callable[[R, R], R]
    """The value of two stretches of elements, one behind the other."""
    finish: Callable[[R], Any] | None = None
    """From the value of all elements to the result, in this process, as soon as it is known: what takes less memory."""


class Piece(NamedTuple):
    """A stretch of the elements of one job's tensor, and where its bytes begin in what is read."""

    job: int
    dtype: DType
    kernel: "Callable[[DType, NDArray[Any]], Any]"
    begin: int
    numel: int


class Read(NamedTuple):
    """Bytes that are read at once, and the pieces in them."""

    extent: Extent
    pieces: tuple[Piece, ...]


Unit = tuple[Read, ...]


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
    jobs = [job._replace(info=row(job.info)) for job in jobs]
    units = plan([(job.info, job.kernel) for job in jobs])
    total = sum(read.extent.size for unit in units for read in unit)
    results: list[Any] = [None] * len(jobs)
    left = Counter(piece.job for unit in units for read in unit for piece in read.pieces)
    done = 0
    with closing(_values(units, executor, threads)) as found:
        for unit, values in zip(units, found, strict=True):
            pieces = (piece for read in unit for piece in read.pieces)
            for piece, value in zip(pieces, values, strict=True):
                job, before = jobs[piece.job], results[piece.job]
                results[piece.job] = value if before is None else job.merge(before, value)
                left[piece.job] -= 1
                if job.finish is not None and not left[piece.job]:
                    results[piece.job] = job.finish(results[piece.job])
            done += sum(read.extent.size for read in unit)
            if progress is not None:
                progress(done, total)
    return results


def together(jobs: Sequence[Job[Any]]) -> Job[tuple[Any, ...]]:
    """Several jobs on one tensor as one, which reads it once; its result has that of each."""
    kernels, merges, finishes = (tuple(job[at] for job in jobs) for at in (1, 2, 3))
    return Job(
        jobs[0].info,
        partial(_each, kernels=kernels),
        partial(_each_merged, merges=merges),
        partial(_each_finished, finishes=finishes),
    )


def _each(dtype: DType, values: "NDArray[Any]", kernels: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(kernel(dtype, values) for kernel in kernels)


def _each_merged(first: tuple[Any, ...], second: tuple[Any, ...], merges: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(merge(a, b) for merge, a, b in zip(merges, first, second, strict=True))


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
    shape, stride = info.shape, info.stride
    if stride is None or not shape:
        return info
    axes = sorted(range(len(shape)), key=lambda axis: (-stride[axis], -shape[axis]))
    lying = info._replace(shape=tuple(shape[axis] for axis in axes), stride=tuple(stride[axis] for axis in axes))
    return lying if is_contiguous(lying) else info


# The plan


def plan(tensors: "Sequence[tuple[TensorInfo, Callable[[DType, NDArray[Any]], Any]]]") -> list[Unit]:
    """Every element of each tensor once, in units of bounded size that go through each source from begin to end.

    Tensors that lie side by side are read at once.
    """
    sources: dict[int, int] = {}
    reads: list[Read] = []
    for job, (info, kernel) in enumerate(tensors):
        if info.extent is not None and info.numel:
            sources.setdefault(id(info.extent.source), len(sources))
            reads.extend(_reads(job, info, info.extent, kernel))
    reads.sort(key=lambda read: (sources[id(read.extent.source)], read.extent.offset))
    return list(_units(_joined(reads)))


def _reads(job: int, info: TensorInfo, extent: Extent, kernel: Any) -> Iterator[Read]:
    """A tensor cut where blocks begin."""
    dtype, numel = info.dtype, info.numel
    most = max(1, _READ // dtype.nbytes(BLOCK)) * BLOCK
    for start in range(0, numel, most):
        count = min(most, numel - start)
        where = Extent(extent.source, extent.offset + dtype.nbytes(start), dtype.nbytes(count))
        yield Read(where, (Piece(job, dtype, kernel, 0, count),))


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


def _units(reads: Iterable[Read]) -> Iterator[Unit]:
    """Reads in groups that are worth being passed to another thread."""
    unit: list[Read] = []
    size = 0
    for read in reads:
        if unit and (len(unit) == _READS or size + read.extent.size > _UNIT):
            yield tuple(unit)
            unit, size = [], 0
        unit.append(read)
        size += read.extent.size
    if unit:
        yield tuple(unit)


# The work


def _values(units: list[Unit], executor: Executor | None, threads: int | None) -> Generator[list[Any]]:
    """What each unit gives, in their order."""
    if executor is not None:
        yield from _submitted(units, executor, getattr(executor, "_max_workers", None) or _CLUSTER)
        return
    workers = min(threads or _processors(), len(units))
    if workers <= 1:
        yield from map(work, units)
        return
    pool = ThreadPoolExecutor(workers, "statedict")
    try:
        yield from _submitted(units, pool, workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(units: list[Unit], executor: Executor, workers: int) -> Iterator[list[Any]]:
    waiting: deque[Future[list[Any]]] = deque()
    try:
        for unit in units:
            waiting.append(executor.submit(work, unit))
            if len(waiting) > _WAITING * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Buffer(threading.local):
    """A buffer for each thread, as large as it needed so far."""

    room: "NDArray[np.uint8] | None" = None


_buffer = _Buffer()


def work(unit: Unit) -> list[Any]:
    """What the kernels of a unit say of its pieces, in their order."""
    return [value for read in unit for value in _of_read(read)]


def _of_read(read: Read) -> Iterator[Any]:
    source, offset, size = read.extent
    data = _room(size)
    source.readinto_at(offset, data.data)
    for _, dtype, kernel, begin, numel in read.pieces:
        yield kernel(dtype, elements(dtype, data[begin : begin + dtype.nbytes(numel)], numel))


def _room(size: int) -> "NDArray[np.uint8]":
    import numpy as np

    if _buffer.room is None or len(_buffer.room) < size:
        _buffer.room = np.empty(max(size, _READ), "u1")
    return _buffer.room[:size]
