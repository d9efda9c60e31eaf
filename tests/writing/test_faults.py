"""What a machine does to a save: kills, signals, full disks, missing rights, another save at the same time."""

import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from statedict.plan import Plan
from statedict.source import Extent, FileSource
from statedict.writing import write_file, write_folder
from tests.writing.sources import MIB, Computed, noise, temporaries
from tests.writing.test_folders import sharded, version

SAVE = """
import os, resource, sys, time
from pathlib import Path
from statedict.errors import StatedictError
from statedict.plan import Plan
from statedict.source import Extent, FileSource
from statedict.writing import write_file, write_folder
from tests.writing.sources import MIB, Computed, noise, of_file, slow
from tests.writing.test_folders import INDEX, sharded

what, target = sys.argv[1], Path(sys.argv[2])
"""
"""What each program of these tests begins with."""
OLD, NEW = noise(2 * MIB, 1), noise(24 * MIB, 2)
SLOW = (
    SAVE
    + """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
print("begun", flush=True)
write_file(Plan((b"head", slow(noise(1 << 26), 0.1))), target)
"""
)
"""One that takes its time. It handles signals as usual, which `nohup` and shells' `&` may have it ignore."""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what was printed."""
    out, error = process.communicate(timeout=60)
    return process.returncode, out + error


def when_writing(folder: Path, process: subprocess.Popen[str]) -> None:
    """Return when its temporary is there."""
    deadline = time.monotonic() + 30
    while not temporaries(folder):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(0.05)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept"
    path.write_bytes(OLD)
    return path


# Killed

KILLED = (
    SAVE
    + """
if what == "plain":
    plan = Plan((Extent(Computed(noise(24 * MIB, 2)), 0, 24 * MIB),))
elif what == "over itself":
    plan = Plan((noise(22 * MIB, 3), of_file(target)))
if what == "shards":
    plans = sharded(2, *(f"model-{number}-of-9.safetensors" for number in range(9)))
print("ready", flush=True)
sys.stdin.read()
if what == "shards":
    write_folder(plans, target)
else:
    write_file(plan, target)
os._exit(0)
"""
)


def killed_after(seconds: float, what: str, target: Path) -> bool:
    """Run a save that is killed at that moment. Whether it had ended before."""
    command = [sys.executable, "-c", KILLED, what, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.close()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        return process.wait() == 0


def until_done(what: str, target: Path) -> float:
    """Seconds that the save takes from its begin to its end."""
    command = [sys.executable, "-c", KILLED, what, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        begin = time.perf_counter()
        process.stdin.close()
        assert process.wait() == 0
        return time.perf_counter() - begin


def following(reach: float, *, done: bool) -> float:
    """The latest moment of the next kill: so that a third of the saves end before it, however busy the machine is."""
    return reach * (0.8 if done else 1.12)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["plain", "over itself"])
def test_killed_at_50_moments(kept: Path, what: str) -> None:
    new = NEW if what == "plain" else noise(22 * MIB, 3) + OLD
    reach = until_done(what, kept)
    assert kept.read_bytes() == new
    moments, torn = random.Random(4), 0
    for _ in range(50):
        kept.write_bytes(OLD)
        done = killed_after(moments.uniform(0, reach), what, kept)
        reach = following(reach, done=done)
        found = kept.read_bytes()
        assert found == new if done else found in (OLD, new)
        torn += bool(temporaries(kept.parent))
    assert torn > 5  # it was killed in the middle, and not only before and after
    write_file(Plan((b"next",)), kept)
    assert [path.name for path in kept.parent.iterdir()] == ["kept"]


@pytest.mark.slow
def test_a_folder_killed_at_50_moments(tmp_path: Path) -> None:
    def old(taken: frozenset[str]) -> dict[str, Plan]:
        """Under other names than the last time."""
        return sharded(1, *(f"model-{'b' if 'model-a1.safetensors' in taken else 'a'}{n}.safetensors" for n in (1, 2)))

    folder = tmp_path / "net"
    write_folder(old, folder)
    reach = until_done("shards", folder)
    moments, found = random.Random(5), set[int]()
    for _ in range(50):
        write_folder(old, folder)
        assert len(list(folder.iterdir())) == 3  # nothing of a killed save is left
        done = killed_after(moments.uniform(0, reach), "shards", folder)
        reach = following(reach, done=done)
        (state,) = version(folder)
        assert state == 2 or (state == 1 and not done)
        found.add(state)
    assert found == {1, 2}


# Signals


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_signal_ends_it_at_once_and_leaves_nothing(kept: Path, number: signal.Signals, code: int) -> None:
    process = start(SLOW, "", kept)
    when_writing(kept.parent, process)
    process.send_signal(number)
    assert ended(process)[0] == code
    assert kept.read_bytes() == OLD
    assert os.listdir(kept.parent) == ["kept"]  # noqa: PTH208


def test_a_programs_own_handling_of_signals_is_left_alone(kept: Path) -> None:
    seen: list[object] = []

    def own(number: int, _frame: object) -> None:
        seen.append(number)

    before = signal.signal(signal.SIGTERM, own)
    try:

        def ask(_: int) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        write_file(Plan((Extent(Computed(b"new", ask), 0, 3),)), kept)
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
    assert kept.read_bytes() == b"new"


def test_signals_are_as_before_afterwards(kept: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    write_file(Plan((b"new",)), kept)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before


# Full disks

LIMITED = (
    SAVE
    + """
resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
if what == "noticed late":
    del os.posix_fallocate
    os.ftruncate = lambda *_: None
try:
    write_file(Plan((noise(3 * MIB),)), target)
except StatedictError as error:
    print(error)
"""
)


@pytest.mark.parametrize("what", ["noticed before", "noticed late"])
def test_a_limit_on_the_size_of_files(kept: Path, what: str) -> None:
    code, text = ended(start(LIMITED, what, kept))
    assert code == 0
    assert text == (
        f"{kept}: cannot be written: file too large; the file system, or a limit on this process (`ulimit -f`), "
        "allows no file of that size\n"
    )
    assert kept.read_bytes() == OLD
    assert os.listdir(kept.parent) == ["kept"]  # noqa: PTH208


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    gc.collect()  # what was opened there
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


FULL = (
    SAVE
    + """
if what != "noticed first":
    statvfs = os.statvfs
    free = statvfs("/")
    os.statvfs = lambda _: free
if what == "noticed late":
    del os.posix_fallocate
plan = Plan((noise(3 * MIB),))
try:
    if target.name == "net":
        write_folder({"model-3.safetensors": plan, INDEX: plan}, target)
    else:
        write_file(plan, target)
except StatedictError as error:
    print(error)
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["noticed first", "noticed before", "noticed late"])
@pytest.mark.parametrize("name", ["kept", "net", "new/net"])
def test_a_full_disk(small_disk: Path, what: str, name: str) -> None:
    (small_disk / "kept").write_bytes(OLD)
    (small_disk / "new").mkdir()
    write_folder(sharded(1, "model-1.safetensors", "model-2.safetensors"), small_disk / "net")
    before = sorted(small_disk.rglob("*"))
    code, text = ended(start(FULL, what, small_disk / name))
    assert code == 0
    assert text.endswith("make room, or choose another disk\n")
    assert text.count("\n") == 1
    assert ("are free on its disk" in text) == (what == "noticed first")
    assert sorted(small_disk.rglob("*")) == before
    assert (small_disk / "kept").read_bytes() == OLD
    assert version(small_disk / "net") == {1}


# Two at once

TWICE = (
    SAVE
    + """
version = int(what)
if target.name == "net":
    names = lambda taken: [name for name in (f"model-{version}{n}.safetensors" for n in range(9))]
    write_folder(lambda taken: sharded(version, *names(taken)), target)
else:
    write_file(Plan((Extent(Computed(noise(8 * MIB, version)), 0, 8 * MIB),)), target)
print("done")
"""
)


@pytest.mark.slow
def test_two_saves_of_one_file_at_once(kept: Path) -> None:
    for _ in range(5):
        processes = [start(TWICE, number, kept) for number in (1, 2)]
        assert [ended(process) for process in processes] == [(0, "done\n")] * 2
        assert kept.read_bytes() in (noise(8 * MIB, 1), noise(8 * MIB, 2))
        assert temporaries(kept.parent) == []


@pytest.mark.slow
def test_two_saves_of_one_folder_at_once(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    for _ in range(5):
        processes = [start(TWICE, number, tmp_path / "net") for number in (1, 2)]
        codes = [ended(process) for process in processes]
        assert (0, "done\n") in codes
        assert version(tmp_path / "net") in ({1}, {2})
        assert temporaries(tmp_path) == []
        for path in (tmp_path / "net").iterdir():
            path.unlink()


def test_a_save_in_the_background_leaves_signals_alone(kept: Path) -> None:
    """Only the main thread may say what a signal does."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(write_file, Plan((b"new",)), kept).result()
    assert kept.read_bytes() == b"new"


def test_the_file_that_is_opened_stays_what_it_was(kept: Path) -> None:
    source = FileSource(kept)
    write_file(Plan((b"new",)), kept)
    assert source.read_at(0, len(OLD)) == OLD
    write_file(Plan((Extent(source, 5, 10),)), kept)
    assert kept.read_bytes() == OLD[5:15]
