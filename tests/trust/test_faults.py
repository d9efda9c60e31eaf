"""What goes wrong while a file is read: each fault ends in one line, or in the right values, and never otherwise."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import statedict
from statedict.checking import check
from statedict.errors import FormatError, ReadError
from tests.commands import run

VALUES = {"a": torch.arange(100_000.0), "b": torch.arange(50_000.0).reshape(500, 100)}


@pytest.fixture(params=["net.pt", "net.safetensors"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    torch.save(VALUES, path) if path.suffix == ".pt" else save_file(VALUES, path)
    return path


def same(model: Any) -> bool:
    return all(np.array_equal(model.get_parameter(name).numpy(), value.numpy()) for name, value in VALUES.items())


def test_short_reads(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pread, preadv = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, min(size, 1000), at))
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: preadv(fd, [buffers[0][:777]], at))
    assert same(statedict.open(file))
    assert check(str(file), only=["code", "structure", "integrity"]).findings == ()


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """A signal every millisecond, as timers and ended children send them."""
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    yield rung
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_signals_while_reading(file: Path, signals: list[int]) -> None:
    for _ in range(20):
        assert same(statedict.open(file))
    while not signals:
        time.sleep(0.001)


def test_a_file_that_shrinks_while_it_is_open(file: Path) -> None:
    model = statedict.open(file)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises((FormatError, ReadError), match="truncated"):
        same(model)


def test_a_file_that_is_replaced_while_it_is_open_stays_the_one_that_was_opened(file: Path) -> None:
    model = statedict.open(file)
    other = file.with_name("other")
    other.write_bytes(b"x" * 10)
    other.replace(file)
    assert same(model)


def test_a_file_that_is_removed_while_it_is_open(file: Path) -> None:
    model = statedict.open(file)
    file.unlink()
    assert same(model)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOMEM])
def test_an_error_of_the_disk(file: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fails(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    model = statedict.open(file)
    monkeypatch.setattr(os, "pread", fails)
    monkeypatch.setattr(os, "preadv", fails)
    with pytest.raises(
        ReadError, match=rf"{file.name}.*: cannot be read at byte [0-9,]+: {os.strerror(number).lower()}"
    ):
        same(model)
    ran = run("check", str(file))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)


def folder_of(folder: Path, shards: int) -> None:
    weights: dict[str, str] = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        save_file({f"layers.{number}.weight": torch.full((4,), float(number))}, folder / name)
        weights[f"layers.{number}.weight"] = name
    import json

    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


def test_a_shard_that_vanishes(tmp_path: Path) -> None:
    folder_of(tmp_path, 3)
    model = statedict.open(tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    assert float(model.get_parameter("layers.1.weight").numpy()[0]) == 1.0  # it is open, and stays
    with pytest.raises(FormatError, match=r"1 are missing: model-00002-of-00003\.safetensors; fetch them"):
        statedict.open(tmp_path)
    report = check(str(tmp_path), only=["integrity"])
    assert [each.what for each in report.at_least("error")] == [
        "has 2 of 3 shards of `model.safetensors`; missing: 2",
        "lists `model-00002-of-00003.safetensors`, which is not there",
    ]


def limited(kind: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (most, most))


def process(
    folder: Path, *arguments: str, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "statedict", *arguments]
    return subprocess.run(
        command, cwd=folder, preexec_fn=before, timeout=120, check=False, text=True, capture_output=True
    )


def test_no_more_descriptors(tmp_path: Path) -> None:
    folder_of(tmp_path, 80)
    done = process(tmp_path, "ls", ".", before=limited(resource.RLIMIT_NOFILE, 40))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "cannot be opened: too many open files" in done.stderr
    assert process(tmp_path, "ls", ".", before=limited(resource.RLIMIT_NOFILE, 128)).returncode == 0


@pytest.mark.slow
def test_no_more_memory(tmp_path: Path) -> None:
    """A pickle that lists and lists, in a process that may not have much: one line, and no traceback."""
    body = b"\x80\x02" + b"]" + b"(" + b"]" * 30_000_000 + b"e."
    (tmp_path / "lists.pkl").write_bytes(body)
    done = process(tmp_path, "ls", "lists.pkl", before=limited(resource.RLIMIT_AS, 600 << 20))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_many_at_once(file: Path) -> None:
    model = statedict.open(file)
    before = threading.active_count()
    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(lambda _: same(model), range(200)))
    assert threading.active_count() < before + 8


@pytest.mark.slow
def test_interrupted(tmp_path: Path) -> None:
    torch.save({f"w{at}": torch.ones(1 << 20) for at in range(64)}, tmp_path / "large.pt")
    codes: set[int] = set()
    for wait in (0.05, 0.1, 0.2, 0.3, 0.6):
        command = [sys.executable, "-m", "statedict", "check", "large.pt"]
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as started:
            time.sleep(wait)
            started.send_signal(signal.SIGINT)
            _, err = started.communicate(timeout=60)
        codes.add(started.returncode)
        if started.returncode == 130:
            assert err.strip().endswith("interrupted")
    assert codes <= {0, 130, 1, -signal.SIGINT}  # 0: it had ended before; 1 and the signal's: it had not yet begun
    assert codes != {0}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.pt"]
