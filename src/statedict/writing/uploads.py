"""Plans written to a store: each file in parts, from its begin to its end, and there for others once it is complete."""

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from statedict.errors import WriteError
from statedict.executors import Cluster
from statedict.expressions.once import Finding
from statedict.plan import Late, Plan, Summed
from statedict.remote.places import RemotePlace
from statedict.source import FileSource
from statedict.writing.files import announce
from statedict.writing.folders import Plans, named_plans, obsolete
from statedict.writing.output import BLOCK
from statedict.writing.progress import Progress
from statedict.writing.streaming import sources
from statedict.writing.tasks import Sums, Task, tasks

_THREADS = 4
"""Blocks that are read and computed at a time, while others are sent."""


def upload_file(plan: Plan, place: RemotePlace, *, verify: bool = False, progress: Progress | None = None) -> None:
    """Make the file of a plan in a store. Until it is complete there is what was there before, or nothing.

    Raises WriteError where the store refuses it, ReadError or FormatError where a source fails.
    """
    from statedict.interop.uploads import upload

    announce(progress, plan.size, verify=verify)
    plan = _without_sums(plan)
    with upload(place.url, plan.size) as target:
        for block in _blocks(plan):
            target.write(block)
            if progress is not None:
                progress.advance(len(block))
        for source in sources(plan):
            source.require_unchanged()
    if verify:
        _compare(plan, place, progress)


def upload_folder(
    plans: Plans, folder: RemotePlace, *, verify: bool, progress: Progress | None, executor: Executor | None
) -> None:
    """Make a folder of a store hold the files of `plans`, the last of which makes the others a checkpoint.

    An executor's workers write a file each, all but the last. What an old checkpoint had goes when the new one
    is there; after a fault, what was written goes. Raises as `upload_file` does.
    """
    from statedict.interop.uploads import names, remove

    before = names(folder.url)
    named = named_plans(plans, frozenset(before), folder)
    *others, switch = named
    going = obsolete(switch, before, lambda name: _text(folder / name))
    try:
        if executor is None:
            for name in others:
                upload_file(named[name], folder / name, verify=verify, progress=progress)
        else:
            _upload_elsewhere({name: named[name] for name in others}, folder, verify, progress, executor)
        upload_file(named[switch], folder / switch, verify=verify, progress=progress)
    except BaseException:
        remove([(folder / name).url for name in others])
        raise
    remove([(folder / name).url for name in going if name not in named])


def _upload_elsewhere(
    plans: Mapping[str, Plan], folder: RemotePlace, verify: bool, progress: Progress | None, executor: Executor
) -> None:
    announce(progress, sum(plan.size for plan in plans.values()), verify=False)
    Finding().dump(plans)
    futures: dict[Future[None], int] = {}
    try:
        for turn, (name, plan) in enumerate(plans.items()):
            url = (folder / name).url
            if isinstance(executor, Cluster):
                future = executor.submit_at(turn, _upload_there, plan, url, verify)
            else:
                future = executor.submit(_upload_there, plan, url, verify)
            futures[future] = plan.size
        for future, size in futures.items():
            future.result()
            if progress is not None:
                progress.advance(size)
    finally:
        for future in futures:
            future.cancel()


def _upload_there(plan: Plan, url: str, verify: bool) -> None:
    """What a worker does."""
    upload_file(plan, RemotePlace(url), verify=verify)


class _Kept:
    """What a task writes, in memory."""

    verify = False

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.blocks: list[bytes] = []

    def put(self, at: int, block: memoryview) -> None:
        self.blocks.append(bytes(block))

    def copy(self, at: int, source: FileSource, offset: int, size: int) -> int:
        return 0


class _Dropped(_Kept):
    """The same, of which only the checksums are wanted."""

    def put(self, at: int, block: memoryview) -> None: ...


def _carried_out(task: Task, output: Any, sums: Sums) -> Any:
    task.carry_out(output, sums, memoryview(bytearray(BLOCK)))
    return output


def _blocks(plan: Plan) -> Iterator[bytes]:
    """All bytes of a plan without checksums, in their order, a few blocks ahead of who takes them."""
    parts = (part for task in tasks(plan, by_kernel=False) for part in task.parts(BLOCK))
    waiting: deque[Future[_Kept]] = deque()
    with ThreadPoolExecutor(_THREADS, "statedict") as pool:
        try:
            for part in parts:
                waiting.append(pool.submit(_carried_out, part, _Kept(), {}))
                if len(waiting) > _THREADS:
                    yield b"".join(waiting.popleft().result().blocks)
            while waiting:
                yield b"".join(waiting.popleft().result().blocks)
        finally:
            for future in waiting:
                future.cancel()


def _without_sums(plan: Plan) -> Plan:
    """The same plan with what depends on checksums made. Such a file is read twice: the store takes its begin first."""
    if not any(isinstance(piece, Late) for piece in plan.pieces):
        return plan
    sums: Sums = {}
    with ThreadPoolExecutor(_THREADS, "statedict") as pool:
        waiting = [pool.submit(_carried_out, task, _Dropped(), sums) for task in tasks(plan, by_kernel=False)]
        for future in waiting:
            future.result()
    known = [sums[number] for number in range(len(sums))]
    made = (piece.make(known) if isinstance(piece, Late) else piece for piece in plan.pieces)
    return Plan(tuple(piece.extent if isinstance(piece, Summed) else piece for piece in made), plan.notes)


def _compare(plan: Plan, place: RemotePlace, progress: Progress | None) -> None:
    """Read a file back. Raises WriteError where it is something else than the plan."""
    from statedict.remote.opening import remote_source

    source, at = remote_source(place.url), 0
    for block in _blocks(plan):
        there = bytearray(len(block))
        if source.size == plan.size:
            source.readinto_at(at, memoryview(there))
        if source.size != plan.size or bytes(there) != block:
            raise WriteError(f"{place}: reads back otherwise than it was written, from byte {at:,} on; write it again")
        at += len(block)
        if progress is not None:
            progress.advance(len(block))


def _text(place: RemotePlace) -> bytes:
    from statedict.remote.opening import remote_source

    source = remote_source(place.url)
    return source.read_at(0, source.size)
