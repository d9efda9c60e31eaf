"""Work on a real Dask cluster, of processes of its own: the same bits as here, whoever dies meanwhile."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import statedict as sd
from statedict.catalog.adding import add
from statedict.catalog.asking import duplicates
from statedict.catalog.database import Catalog
from statedict.interop.cluster import ClusterError, DaskCluster
from tests.catalog.zoo import plant
from tests.commands import run
from tests.remote.clusters import DaskProcesses, dask_cluster

pytestmark = pytest.mark.slow
_UNIT = 1 << 20
"""Bytes of a unit here, so that small models make many."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        values = {f"layers.{at}.weight": rng.standard_normal((512, 1024), dtype="f4") for at in range(12)}
        save_file(values, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[DaskProcesses]:
    with dask_cluster(tmp_path_factory.mktemp("dask")) as processes:
        yield processes


def opened(folder: Path, name: str) -> sd.Module:
    return sd.open(folder / f"{name}.safetensors")


Told = dict[str, Any]


def _stats(folder: Path, to: Path, **how: Any) -> Any:
    found = sd.stats(opened(folder, "a"), quantiles=[0.1, 0.5], counts=True, structure=True, **how)
    return [(each.name, each.summary, each.quantiles, each.histogram(), each.structure) for each in found.tensors]


def _hash(folder: Path, to: Path, **how: Any) -> Any:
    return sd.fingerprint(opened(folder, "a"), **how).prints


def _check(folder: Path, to: Path, **how: Any) -> Any:
    return sd.check(opened(folder, "a"), if_cast="f8_e4m3fn", **how).findings


def _diff(folder: Path, to: Path, **how: Any) -> Any:
    return [row.fields() for row in sd.diff(opened(folder, "a"), opened(folder, "b"), **how).changes]


def _saved(model: sd.Module, to: Path, executor: Any = None, progress: Any = None) -> Any:
    sd.save(
        model, to, max_shard_size="5MB", executor=executor, progress=None if progress is None else _Telling(progress)
    )
    return {path.name: path.read_bytes() for path in sorted(to.iterdir())}


def _convert(folder: Path, to: Path, **how: Any) -> Any:
    return _saved(sd.cast(opened(folder, "a"), "bfloat16"), to, **how)


def _edit(folder: Path, to: Path, **how: Any) -> Any:
    return _saved(sd.rename(opened(folder, "a"), "layers.{i}.**=blocks.{i}.**"), to, **how)


def _prune(folder: Path, to: Path, **how: Any) -> Any:
    return _saved(sd.prune(opened(folder, "a"), amount=0.5, protect=()), to, **how)


def _merge(folder: Path, to: Path, **how: Any) -> Any:
    return _saved(sd.merge([opened(folder, "a"), opened(folder, "b")], "slerp", t=0.3), to, **how)


class _Telling:
    """A function told of progress, as who writes tells it."""

    total = 0

    def __init__(self, told: Callable[[int, int], None]) -> None:
        self._told, self._done = told, 0

    def advance(self, size: int) -> None:
        self._done += size
        self._told(self._done, self.total)


COMMANDS = [_stats, _hash, _check, _diff, _convert, _edit, _prune, _merge]
NAMES = [command.__name__.strip("_") for command in COMMANDS]


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_results_are_those_of_this_machine(
    command: Callable[..., Any], folder: Path, cluster: DaskProcesses, tmp_path: Path
) -> None:
    with DaskCluster(cluster.address, _UNIT) as executor:
        assert command(folder, tmp_path / "there", executor=executor) == command(folder, tmp_path / "here")


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_a_worker_may_die_in_the_middle(
    command: Callable[..., Any], folder: Path, cluster: DaskProcesses, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if not killed and done < total:
            killed.append(done)
            cluster.kill_worker()
            cluster.add_worker()

    with DaskCluster(cluster.address, _UNIT) as executor:
        found = command(folder, tmp_path / "there", executor=executor, progress=kill)

    assert killed
    assert found == command(folder, tmp_path / "here")


def test_one_file_is_filled_by_all_workers(folder: Path, cluster: DaskProcesses, tmp_path: Path) -> None:
    with DaskCluster(cluster.address, _UNIT) as executor:
        sd.save(opened(folder, "a"), tmp_path / "there.pt", executor=executor, verify=True)

    sd.save(opened(folder, "a"), tmp_path / "here.pt")
    assert (tmp_path / "there.pt").read_bytes() == (tmp_path / "here.pt").read_bytes()


def test_the_command_line_takes_an_address(folder: Path, cluster: DaskProcesses) -> None:
    file = str(folder / "a.safetensors")

    assert run("stats", file, "--dask", cluster.address) == run("stats", file)


def test_a_catalogue_is_filled_by_a_cluster(cluster: DaskProcesses, tmp_path: Path) -> None:
    zoo = plant(tmp_path / "models", 100)
    with DaskCluster(cluster.address) as executor, Catalog(tmp_path / "zoo.duckdb", create=True) as catalog:
        found = add(catalog, [str(tmp_path / "models")], prints=True, executor=executor)

        assert (found.added, found.unreadable) == (100, 0)
        assert duplicates(catalog).saved == zoo.saved


def test_an_error_of_a_worker_is_told_as_here(folder: Path, cluster: DaskProcesses, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes((folder / "a.safetensors").read_bytes())
    model = sd.open(path)
    path.write_bytes((folder / "b.safetensors").read_bytes())

    with (
        DaskCluster(cluster.address, _UNIT) as executor,
        pytest.raises(sd.ReadError, match="changed since it was opened"),
    ):
        sd.stats(model, executor=executor)


def test_a_dead_scheduler_is_told(folder: Path, tmp_path: Path) -> None:
    with dask_cluster(tmp_path, workers=1) as processes, DaskCluster(processes.address, _UNIT) as executor:

        def kill(done: int, total: int) -> None:
            processes.kill_scheduler()

        with pytest.raises(ClusterError, match="scheduler is gone"):
            sd.stats(opened(folder, "a"), executor=executor, progress=kill)


def test_no_scheduler_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statedict.interop.cluster._SECONDS", 1)

    ran = run("stats", str(folder / "a.safetensors"), "--dask", "tcp://127.0.0.1:9")

    assert ran.code == 2
    assert "no Dask scheduler answers there; start one with `dask scheduler`" in ran.err
