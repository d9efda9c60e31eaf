"""Filling a catalogue: what is new under some roots is opened, a batch at a time, by processes or a cluster."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice

from statedict.catalog.database import Catalog
from statedict.catalog.describing import Described, describe
from statedict.catalog.finding import Place, places
from statedict.catalog.relating import relate
from statedict.engine import processors
from statedict.executors import Cluster
from statedict.remote.urls import is_url, shown_url

_BATCH = 500
"""Checkpoints that are opened by one task, and put in at once: what an interruption loses at most, a worker."""
_FEW = 64
"""Checkpoints that are not worth other processes."""
_WAITING = 2
_WORKERS = 32
"""Of an executor that does not tell."""

_TOLD = 5
"""Errors of which `Added` has the text."""

Progress = Callable[[int, int], None]
"""Told how many checkpoints have been put in, of how many."""


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` did."""

    added: int
    """Checkpoints that were opened and put in, anew or again."""
    unchanged: int
    removed: int
    """Checkpoints that were in and are not there any more."""
    unreadable: int
    errors: tuple[str, ...] = ()
    """What is wrong with the first few of these, a line each."""


def add(
    catalog: Catalog,
    roots: Sequence[str],
    *,
    prints: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Added:
    """Put in every checkpoint under the roots that is new or has changed, take out those that are gone.

    With `prints`, tensors are read, for their digests and what tells that they are close. This process does so, or
    an `executor`, such as `processes` makes. Interrupted, what was put in
    stays, and the next call goes on. Raises ReadError for a root that is not there.
    """
    known = catalog.known(prints=prints)
    found = [place for root in roots for place in places(root)]
    names = {_name(place) for place in found}
    new = [place for place in found if not place.version or known.get(_name(place)) != place.version]
    gone = [path for path in known if path not in names and any(_is_under(path, root) for root in roots)]
    removed = catalog.forget(gone)
    unreadable = done = 0
    errors: list[str] = []
    for batch, described in _described(new, prints, executor):
        catalog.add(batch, described)
        failed = [row[-1] for row in described.checkpoints if row[-1] is not None]
        unreadable += len(failed)
        errors += failed[: _TOLD - len(errors)]
        done += len(batch)
        if progress is not None:
            progress(done, len(new))
    if prints and (new or removed):
        relate(catalog)
    return Added(len(new), len(found) - len(new), removed, unreadable, tuple(errors))


def _name(place: Place) -> str:
    return shown_url(place.path) if is_url(place.path) else place.path


def _is_under(path: str, root: str) -> bool:
    whole = shown_url(root).rstrip("/") if is_url(root) else os.path.abspath(root)  # noqa: PTH100 - many, as texts
    return path == whole or path.startswith(whole + "/")


def processes(count: int | None) -> ProcessPoolExecutor:
    """So many processes of this machine, as many as it has processors unless told."""
    return ProcessPoolExecutor(count or processors(), multiprocessing.get_context("forkserver"))


def _described(
    new: list[Place], prints: bool, executor: Executor | None
) -> Iterator[tuple[Sequence[Place], Described]]:
    if executor is None or len(new) <= _FEW:
        yield from ((batch, describe(batch, prints=prints)) for batch in _batches(new))
    elif isinstance(executor, Cluster):
        yield from _by(executor, new, prints, executor.workers)
    else:
        yield from _by(executor, new, prints, getattr(executor, "_max_workers", None) or _WORKERS)


def _by(
    executor: Executor, new: list[Place], prints: bool, workers: int
) -> Iterator[tuple[Sequence[Place], Described]]:
    waiting: deque[tuple[Sequence[Place], Future[Described]]] = deque()
    for batch in _batches(new):
        waiting.append((batch, executor.submit(describe, batch, prints=prints)))
        if len(waiting) > _WAITING * workers:
            first, future = waiting.popleft()
            yield first, future.result()
    for batch, future in waiting:
        yield batch, future.result()


def _batches(new: Iterable[Place]) -> Iterator[Sequence[Place]]:
    left = iter(new)
    while batch := list(islice(left, _BATCH)):
        yield batch
