"""A plan carried out: its tasks on a few threads, then what depends on the checksums."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from statedict.plan import Late, Plan, Summed
from statedict.remote.files import RemoteSource
from statedict.source import Extent, FileSource
from statedict.writing.output import BLOCK, Output
from statedict.writing.tasks import Compared, Sums, Task, located, tasks

_MOST_THREADS = 8
"""Each holds a block, so that all of them stay below 64 MiB."""


def stream(plan: Plan, output: Output, path: Path, executor: Executor | None = None) -> None:
    """Write all of `plan`, and make it durable. Raises ReadError, FormatError or WriteError at the first fault.

    Threads of this process do so, or an executor's workers, which open the file at `path`.
    """
    sums: Sums = {}
    remaining = tasks(plan, by_kernel=not output.verify)
    if executor is None:
        _share(remaining, output, sums, waits=any(source.waits for source in sources(plan)))
    else:
        from statedict.writing.sharing import share_out  # which few need

        share_out(remaining, output, path, sums, executor)
    _put_late(plan, output, [sums[number] for number in range(len(sums))])
    for source in sources(plan):
        source.require_unchanged()
    output.sync()
    _share((Compared(*block) for block in output.written()), output, sums)


def _share(remaining: Iterator[Task], output: Output, sums: Sums, *, waits: bool = False) -> None:
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

    count = _MOST_THREADS if waits else min(_MOST_THREADS, os.cpu_count() or 1)
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


def sources(plan: Plan) -> set[FileSource | RemoteSource]:
    """The files that bytes are copied from."""
    extents = (piece.extent if isinstance(piece, Summed) else piece for piece in plan.pieces)
    found = (located(extent).source for extent in extents if isinstance(extent, Extent))
    return {source for source in found if isinstance(source, FileSource | RemoteSource)}
