"""What a cluster costs beside threads, and what a second worker brings: one file of 1 GiB, `stats` and `hash`.

python -m benchmarks.cluster
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import statedict as sd
from statedict.interop.cluster import DaskCluster
from tests.remote.clusters import dask_cluster

_RUNS = 5
_MIB = 1 << 20


def measured(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The median seconds of each, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_RUNS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def main() -> None:
    """Print the medians, in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        values = {f"layers.{at}.weight": rng.standard_normal((2048, 4096), dtype="f4") for at in range(32)}
        save_file(values, folder / "net.safetensors")
        model = sd.open(folder / "net.safetensors")
        operations: dict[str, Callable[..., Any]] = {
            "stats": partial(sd.stats, model),
            "stats with quantiles": partial(sd.stats, model, quantiles=[0.5]),
            "hash, sha256": partial(sd.fingerprint, model, algorithm="sha256"),
        }
        for workers in (1, 2):
            with dask_cluster(folder, workers) as processes:
                time.sleep(5)
                with DaskCluster(processes.address) as cluster:
                    print(f"{cluster.workers} workers of {workers}")
                    for what, run in operations.items():
                        run(executor=cluster)  # which loads the libraries
                        found = measured({
                            "threads": lambda run=run, workers=workers: run(threads=workers),
                            "cluster": lambda run=run: run(executor=cluster),
                        })  # fmt: skip
                        more = found["cluster"] / found["threads"] - 1
                        print(
                            f"{what}: {found['threads']:.3f} s threads, {found['cluster']:.3f} s cluster, {more:+.0%}"
                        )


if __name__ == "__main__":
    main()
