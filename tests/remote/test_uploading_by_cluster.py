"""Shards that a cluster's workers send to an object store: the same bytes as from here, whoever dies meanwhile."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs
from safetensors.numpy import save_file

import statedict as sd
from statedict.interop.cluster import ClusterError, DaskCluster
from tests.commands import run
from tests.remote.clusters import DaskProcesses, dask_cluster
from tests.remote.objects import ENVIRONMENT, s3_server

pytestmark = pytest.mark.slow
MIB = 1 << 20


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint, "STATEDICT_CACHE": "0"}.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("models")
        yield "s3://models"


@pytest.fixture(scope="module")
def cluster(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[DaskProcesses]:
    """Workers that know the store."""
    with dask_cluster(tmp_path_factory.mktemp("dask")) as processes:
        yield processes


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "net.safetensors"
    rng = np.random.default_rng(0)
    save_file({f"layers.{at}.weight": rng.standard_normal((512, 1024), dtype="f4") for at in range(12)}, path)
    return path


def stored(place: str) -> dict[str, bytes]:
    """The files of a folder of the store."""
    fs: Any = s3fs.S3FileSystem()
    fs.invalidate_cache()
    return {path.rpartition("/")[2]: fs.cat_file(path) for path in fs.find(place)}


def saved(net: Path, place: str | Path, **how: Any) -> None:
    sd.save(sd.cast(sd.open(net), "bfloat16"), place, max_shard_size="2MB", **how)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Telling:
    """Progress that calls a function when the first shard is there."""

    total = 0

    def __init__(self, told: Callable[[], None]) -> None:
        self._told: Callable[[], None] | None = told

    def advance(self, size: int) -> None:
        if (told := self._told) is not None:
            self._told = None
            told()


def test_shards_are_those_of_this_machine(bucket: str, cluster: DaskProcesses, net: Path, tmp_path: Path) -> None:
    saved(net, tmp_path / "here")

    with DaskCluster(cluster.address) as executor:
        saved(net, f"{bucket}/there", executor=executor, verify=True)

    assert stored(f"{bucket}/there") == files(tmp_path / "here")
    assert len(files(tmp_path / "here")) == 12 + 1


def test_from_the_store_to_the_store(bucket: str, cluster: DaskProcesses, net: Path, tmp_path: Path) -> None:
    sd.save(sd.open(net), f"{bucket}/source", max_shard_size="9MB")

    ran = run(
        *("convert", f"{bucket}/source", f"{bucket}/target", "--dtype", "bf16", "--shard-size", "2MB"),
        *("--dask", cluster.address),
    )

    assert ran.code == 0, ran.err
    saved(net, tmp_path / "here")
    assert stored(f"{bucket}/target") == files(tmp_path / "here")


def test_a_worker_may_die_in_the_middle(bucket: str, cluster: DaskProcesses, net: Path, tmp_path: Path) -> None:
    saved(net, tmp_path / "here")
    killed: list[int] = []

    def kill() -> None:
        killed.append(cluster.workers[0].pid)
        cluster.kill_worker()
        cluster.add_worker()

    with DaskCluster(cluster.address) as executor:
        saved(net, f"{bucket}/killed", executor=executor, progress=Telling(kill))

    assert killed
    assert stored(f"{bucket}/killed") == files(tmp_path / "here")


def test_a_dead_scheduler_leaves_no_checkpoint(bucket: str, net: Path, tmp_path: Path) -> None:
    """What was there is removed; the one shard that the worker is sending at that moment may still arrive."""
    saved(net, tmp_path / "here")

    with (
        dask_cluster(tmp_path, workers=1) as processes,
        DaskCluster(processes.address) as executor,
        pytest.raises(ClusterError, match="the cluster's scheduler is gone"),
    ):
        saved(net, f"{bucket}/half", executor=executor, progress=Telling(processes.kill_scheduler))

    left = stored(f"{bucket}/half")
    assert len(left) <= 1
    assert "model.safetensors.index.json" not in left
    assert left.items() <= files(tmp_path / "here").items()
