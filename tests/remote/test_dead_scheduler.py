"""A scheduler that dies in the middle of each command: one line, exit code 2, and what was there is what is there."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.commands import python
from tests.remote.clusters import dask_cluster

pytestmark = pytest.mark.slow
PROGRAM = """
import os, signal, sys
from statedict.cli import main
from statedict.interop import cluster

scheduler, results, result = int(sys.argv.pop(1)), [], cluster._Awaited.result

def counted(self, timeout=None):
    found = result(self, timeout)
    results.append(found)
    if len(results) == 2:
        os.kill(scheduler, signal.SIGKILL)
    return found

cluster._Awaited.result = counted
cluster.DaskCluster.unit_bytes = lambda self, total: 1 << 20
main()
"""
"""The command line, with units that are small, whose scheduler is killed when two of them are done."""

COMMANDS = {
    "stats": ["stats", "a.safetensors"],
    "check": ["check", "a.safetensors"],
    "hash": ["hash", "a.safetensors", "--manifest", "new.json"],
    "diff": ["diff", "a.safetensors", "b.safetensors"],
    "convert": ["convert", "a.safetensors", "new.safetensors", "--dtype", "bf16"],
    "convert, over what is there": ["convert", "a.safetensors", "b.safetensors", "--dtype", "bf16", "--force"],
    "convert, into shards": ["convert", "a.safetensors", "new", "--dtype", "bf16", "--shard-size", "5MB"],
    "convert, over shards": ["convert", "a.safetensors", "shards", "--dtype", "bf16", "--shard-size", "5MB", "--force"],
    "edit": ["edit", "a.safetensors", "new.safetensors", "--rename", "layers.{i}.**=blocks.{i}.**"],
    "edit, in place": ["edit", "a.safetensors", "--in-place", "--cast", "bf16"],
    "prune": ["prune", "a.safetensors", "new.safetensors", "--amount", "0.5", "--protect", "none"],
    "merge": ["merge", "a.safetensors", "b.safetensors", "new.safetensors", "--method", "slerp", "--t", "0.3"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    rng = np.random.default_rng(0)
    values = {f"layers.{at}.weight": rng.standard_normal((512, 1024), dtype="f4") for at in range(12)}
    save_file(values, folder / "a.safetensors")
    save_file({name: value + 1 for name, value in values.items()}, folder / "b.safetensors")
    (folder / "shards").mkdir()
    save_file(values, folder / "shards" / "model.safetensors")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dead_scheduler_ends_a_command(command: str, folder: Path, tmp_path: Path) -> None:
    before = contents(folder)
    with dask_cluster(tmp_path, workers=1) as processes:
        address = processes.address
        ran = python("-c", PROGRAM, str(processes.scheduler.pid), *COMMANDS[command], "--dask", address, folder=folder)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"statedict: {address}: the cluster's scheduler is gone, or has no workers; start anew\n"
    assert contents(folder) == before
    assert not [path for path in folder.rglob("*") if "tmp" in path.name]
