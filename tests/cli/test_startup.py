"""Start-up is part of speed: what a command loads before it has to."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import statedict as sd
from statedict import accelerator

HEAVY = frozenset(
    {
        *("numpy", "rich", "fsspec", "duckdb", "torch", "asyncio", "ssl", "socket", "subprocess", "tempfile", "shutil"),
        *("hashlib", "random", "urllib.request", "http.client", "multiprocessing", "unittest", "pydoc", "email"),
    }
)
"""What costs a millisecond or more, and is of use to few."""

needs_c = pytest.mark.skipif(accelerator.library() is None, reason="numpy does what the accelerator would")


@pytest.mark.parametrize(
    "command",
    [
        ("tree", "a.safetensors"),
        ("ls", "a.safetensors"),
        pytest.param(("stats", "a.safetensors"), marks=needs_c),
        pytest.param(("diff", "a.safetensors", "b.safetensors", "--json"), marks=needs_c),
    ],
    ids=" ".join,
)
def test_no_more_is_loaded_than_is_used(command: tuple[str, ...], tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        values = np.random.default_rng(seed).normal(size=(64, 64)).astype("f4")
        sd.save({"layer.weight": values}, tmp_path / f"{name}.safetensors")
    ran = [sys.executable, "-X", "importtime", "-m", "statedict", *command]
    done = subprocess.run(ran, cwd=tmp_path, capture_output=True, text=True, check=False)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "statedict" in loaded
    assert done.returncode == (command[0] == "diff")
    assert HEAVY & loaded == set()
