"""A file filled by others: an executor's workers, which see the same file system, write stretches of it themselves.

A stretch that is written twice, as it is when a worker dies and another takes over, is the same twice.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import NamedTuple

from statedict.errors import WriteError
from statedict.executors import Cluster
from statedict.expressions.once import Finding
from statedict.writing.output import BLOCK, Output
from statedict.writing.tasks import Sums, Task

_BATCH = 1 << 26
"""Bytes that are worth being passed to another process, where it does not say."""
_WAITING = 2
_WORKERS = 32
"""Of an executor that does not tell."""


class Done(NamedTuple):
    """What a worker has written."""

    size: int
    sums: Sums
    digests: list[tuple[int, int, bytes]]


def share_out(remaining: Iterable[Task], output: Output, path: Path, sums: Sums, executor: Executor) -> None:
    """Have an executor's workers carry out what remains on the file at `path`, which has its size already."""
    tasks = list(remaining)
    most = executor.unit_bytes(sum(task.size for task in tasks)) if isinstance(executor, Cluster) else _BATCH
    workers = executor.workers if isinstance(executor, Cluster) else getattr(executor, "_max_workers", None) or _WORKERS
    batches = list(_batches(tasks, most))
    Finding().dump(batches)
    waiting: deque[Future[Done]] = deque()
    place = os.fspath(path.absolute())
    try:
        for turn, batch in enumerate(batches):
            given = batch, place, output.path, output.verify, output.durable
            if isinstance(executor, Cluster):
                waiting.append(executor.submit_at(turn, carry_out, *given))
            else:
                waiting.append(executor.submit(carry_out, *given))
            if len(waiting) > _WAITING * workers:
                _take(waiting.popleft().result(), output, sums)
        while waiting:
            _take(waiting.popleft().result(), output, sums)
    finally:
        for future in waiting:
            future.cancel()


def carry_out(batch: list[Task], path: str, final: Path, verify: bool, durable: bool) -> Done:
    """Write some tasks into the file at `path`, which is to be `final`. Runs in the worker."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise WriteError(
            f"{final}: a worker does not see the folder that it is written in: {error}; choose one that all share"
        ) from None
    sums: Sums = {}
    try:
        output = Output(descriptor, final, None, verify=verify, durable=durable)
        buffer = memoryview(bytearray(BLOCK))
        for task in batch:
            task.carry_out(output, sums, buffer)
        output.sync()
        return Done(sum(task.size for task in batch), sums, output.digests)
    finally:
        os.close(descriptor)


def _batches(remaining: Iterable[Task], most: int) -> Iterator[list[Task]]:
    """The tasks, large ones cut where that can be, in groups that are worth a message."""
    batch: list[Task] = []
    size = 0
    for task in (part for each in remaining for part in each.parts(most)):
        if batch and size + task.size > most:
            yield batch
            batch, size = [], 0
        batch.append(task)
        size += task.size
    if batch:
        yield batch


def _take(done: Done, output: Output, sums: Sums) -> None:
    sums |= done.sums
    output.took(done.size, done.digests)
