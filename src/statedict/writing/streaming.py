"""A plan carried out: its tasks on a few threads, then what depends on the checksums."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from statedict.plan import Late, Plan, Summed
from statedict.source import Extent, FileSource
from statedict.writing.output import BLOCK, Output
from statedict.writing.tasks import Compared, Sums, Task, located, tasks

_MOST_THREADS = 8
"""Each holds a block, so that all of them stay below 64 MiB."""


def stream(plan: Plan, output: Output) -> None:
    """Write all of `plan`, and make it durable. Raises ReadError, FormatError or WriteError at the first fault."""
    sums: Sums = {}
    _share(tasks(plan, by_kernel=not output.verify), output, sums)
    _put_late(plan, output, [sums[number] for number in range(len(sums))])
    for source in _files(plan):
        source.require_unchanged()
    output.sync()
    _share((Compared(*block) for block in output.written()), output, sums)


def _share(remaining: Iterator[Task], output: Output, sums: Sums) -> None:
    """Have threads carry out what remains, each the next one, until all is done or something fails."""
    turn = threading.Lock()
    output.stopped.clear()

    def work() -> None:
        buffer = memoryview(bytearray(BLOCK))
        try:
            while not output.stopped.is_set():
                with turn:
                    task = next(remaining, None)
                if task is None:
                    return
                task.carry_out(output, sums, buffer)
        except BaseException:
            output.stopped.set()
            raise

    count = min(_MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(count) as pool:
        try:
            for worker in [pool.submit(work) for _ in range(count)]:
                worker.result()
        finally:
            output.stopped.set()  # also at an interruption, which comes while we wait


def _put_late(plan: Plan, output: Output, sums: list[int]) -> None:
    for at, piece in plan.placed():
        if isinstance(piece, Late):
            made = piece.make(sums)
            if len(made) != piece.size:
                raise ValueError(f"{output.path}: {len(made):,} bytes came late at byte {at:,}, not {piece.size:,}")
            output.put(at, memoryview(made))


def _files(plan: Plan) -> set[FileSource]:
    """The files that bytes are copied from."""
    extents = (piece.extent if isinstance(piece, Summed) else piece for piece in plan.pieces)
    sources = (located(extent).source for extent in extents if isinstance(extent, Extent))
    return {source for source in sources if isinstance(source, FileSource)}
