"""Ctrl-C in the midst of what takes long: one line, the exit code that shells expect, and nothing half written."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.remote.servers import web_server

SIZE = 48 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({f"w{at}": np.ones(SIZE // 16, "f4") for at in range(4)}, tmp_path / "net.safetensors")
    return tmp_path


def interrupted(folder: Path, arguments: list[str], begun: Callable[[], bool]) -> tuple[int, str]:
    """The exit code and what is said of a command that is interrupted once it has begun."""
    command = [sys.executable, "-m", "statedict", *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as started:
        while not begun() and started.poll() is None:
            time.sleep(0.002)
        started.send_signal(signal.SIGINT)
        _, err = started.communicate(timeout=120)
    return started.returncode, err


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_said(code: int, err: str) -> None:
    assert (code, err.splitlines()[-1:]) == (130, ["statedict: interrupted"])
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("target", ["new.safetensors", "new.pt", "new.gguf"])
def test_convert_leaves_no_part_of_a_file(folder: Path, target: str) -> None:
    before = names(folder)
    code, err = interrupted(
        folder, ["convert", "net.safetensors", target, "--dtype", "f16"], lambda: names(folder) != before
    )
    if code:
        assert_said(code, err)
        assert names(folder) == before
    else:  # it was done before
        assert names(folder) == {*before, target}


@pytest.mark.slow
def test_what_was_there_stays_as_it_was(folder: Path) -> None:
    (folder / "new.safetensors").write_bytes(b"old")
    before = names(folder)
    code, err = interrupted(
        folder, ["convert", "net.safetensors", "new.safetensors", "--force"], lambda: names(folder) != before
    )
    if code:
        assert_said(code, err)
        assert (folder / "new.safetensors").read_bytes() == b"old"
    assert names(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", [["stats"], ["hash"], ["check"], ["catalog", "add", "--prints"]], ids=" ".join)
def test_a_remote_file_that_takes_long(folder: Path, command: list[str]) -> None:
    """From a server that takes its time, so that it is always in the midst of it."""
    before = names(folder)
    with web_server(folder) as web:

        def has_begun() -> bool:
            if web.requests:
                web.delay = 0.5
            return len(web.requests) > 1

        code, err = interrupted(folder, [*command, f"{web.url}/net.safetensors"], has_begun)
    assert_said(code, err)
    assert {name for name in names(folder) - before if not name.startswith("zoo.duckdb")} == set()
