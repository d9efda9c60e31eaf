"""What a cluster costs beside threads, for each GiB and once, and what a second worker brings.

python -m benchmarks.cluster [stats] [sha256]

Times are of threads and of workers in turn, the median and the best; processor time is that of client, scheduler and
workers. The difference between 4 GiB and 1 GiB tells what a GiB takes, without what each command takes once. What is
read is in the page cache.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save_file

import statedict as sd
from statedict.interop.cluster import DaskCluster
from tests.remote.clusters import DaskProcesses, dask_cluster

_SMALL, _LARGE = 1, 4
"""GiB."""
_IN_ONE_GIB = 32
_SHAPE = (2048, 4096)
_JOINED = 60
"""Seconds until all workers are there."""


OPERATIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "stats": (sd.stats, 9),
    "sha256": (partial(sd.fingerprint, algorithm="sha256"), 3),
}
"""What is measured, and how often."""


class Spent(NamedTuple):
    """Seconds, on the clock and of processors."""

    wall: float
    processors: float


def processor_seconds(others: Iterable[int]) -> float:
    """What this process and others have used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    ticks = os.sysconf("SC_CLK_TCK")
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in others)
    return used.ru_utime + used.ru_stime + sum((int(each[11]) + int(each[12])) / ticks for each in fields)


def spent(run: Callable[[], Any], others: Iterable[int]) -> Spent:
    """What a call takes."""
    wall, processors = time.perf_counter(), processor_seconds(others)
    run()
    return Spent(time.perf_counter() - wall, processor_seconds(others) - processors)


def in_turn(runs: dict[str, Callable[[], Any]], others: Iterable[int], times: int) -> dict[str, list[Spent]]:
    """What each takes, so many times."""
    found: dict[str, list[Spent]] = {name: [] for name in runs}
    for _ in range(times):
        for name, run in runs.items():
            found[name].append(spent(run, others))
    return found


def models(folder: Path) -> dict[int, sd.Module]:
    """A small and a large model, by their GiB."""
    first = np.random.default_rng(0).standard_normal(_SHAPE, dtype="f4")
    made: dict[int, sd.Module] = {}
    for gib in (_SMALL, _LARGE):
        path = folder / f"{gib}.safetensors"
        save_file({f"layers.{at}.weight": first + np.float32(at) for at in range(gib * _IN_ONE_GIB)}, path)
        made[gib] = sd.open(path)
    return made


def measure(made: dict[int, sd.Module], processes: DaskProcesses, cluster: DaskCluster, chosen: list[str]) -> None:
    """Print what each operation takes by threads, and by as many workers."""
    others = [processes.scheduler.pid, *(worker.pid for worker in processes.workers)]
    for what in chosen:
        run, times = OPERATIONS[what]
        once = spent(partial(run, made[_SMALL], executor=cluster), others)
        print(f"{what}: the first time {once.wall:.2f} s, libraries loaded on the workers included")
        runs = {
            f"{gib} GiB {who}": partial(run, model, **how)
            for gib, model in made.items()
            for who, how in (("threads", {"threads": cluster.workers}), ("cluster", {"executor": cluster}))
        }
        found = in_turn(runs, others, times)
        for kind, pick in (("median", statistics.median), ("best", min)):
            told({name: Spent(*map(pick, zip(*each, strict=True))) for name, each in found.items()}, kind)


def told(found: dict[str, Spent], kind: str) -> None:
    """Print what each took, and what a GiB more takes."""
    for name, each in found.items():
        print(f"    {kind}, {name}: {each.wall:.3f} s, {each.processors:.3f} s of processors")
    for what in Spent._fields:
        thread, there = (
            (getattr(found[f"{_LARGE} GiB {who}"], what) - getattr(found[f"{_SMALL} GiB {who}"], what))
            / (_LARGE - _SMALL)
            for who in ("threads", "cluster")
        )
        more = f"{there / thread - 1:+.0%}"
        print(f"    {kind}, a GiB more, {what}: {thread:.3f} s threads, {there:.3f} s cluster, {more}", flush=True)


def main() -> None:
    """Measure one worker and two, in a temporary folder."""
    chosen = sys.argv[1:] or list(OPERATIONS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = models(folder)
        for workers in (1, 2):
            with dask_cluster(folder, workers) as processes:
                start = time.perf_counter()
                while True:
                    with DaskCluster(processes.address) as cluster:
                        if cluster.workers == workers or time.perf_counter() - start > _JOINED:
                            print(f"{cluster.workers} workers of {workers}, load {os.getloadavg()[0]:.1f}", flush=True)
                            measure(made, processes, cluster, chosen)
                            break
                    time.sleep(0.5)


if __name__ == "__main__":
    main()
