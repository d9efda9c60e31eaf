"""Files: exact bytes, and a name that stands for the old file or for the new one."""

import fcntl
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict.composed import PartSource
from statedict.plan import Late, Piece, Plan, Summed
from statedict.source import BytesSource, Extent, FileSource
from statedict.writing import output, tasks, write_file
from tests.writing.sources import MIB, Computed, noise, of_file, temporaries

BLOCK = output.BLOCK


class Counted:
    """A `Progress` that counts."""

    def __init__(self) -> None:
        self.total = 0
        self.done = 0

    def advance(self, size: int) -> None:
        self.done += size


def is_whole(kept: Path) -> bool:
    return kept.read_bytes() == b"old" and os.listdir(kept.parent) == [kept.name]  # noqa: PTH208


# What is written


@pytest.mark.parametrize("verify", [False, True])
def test_every_kind_of_piece(tmp_path: Path, verify: bool) -> None:
    data = noise(3 * BLOCK + 5)
    (tmp_path / "source").write_bytes(b"head" + data + b"tail")
    file = FileSource(tmp_path / "source")
    part = PartSource(Extent(file, 4, len(data)), "part")
    sums: list[Sequence[int]] = []

    def make(given: Sequence[int]) -> bytes:
        sums.append(list(given))
        return b"late"

    pieces: dict[str, tuple[Piece, bytes]] = {
        "bytes": (b"header", b"header"),
        "many bytes": (data, data),
        "late": (Late(4, make), b"late"),
        "of a file": (Extent(file, 4, len(data)), data),
        "of a part": (Extent(part, 1, len(data) - 1), data[1:]),
        "few of a file": (Extent(file, 0, 4), b"head"),
        "computed": (Extent(Computed(data), 7, len(data) - 7), data[7:]),
        "few computed": (Extent(Computed(data), 7, 9), data[7:16]),
        "summed": (Summed(Extent(part, 0, len(data))), data),
        "few summed": (Summed(Extent(part, 3, 10)), data[3:13]),
        "summed of none": (Summed(Extent(part, 3, 0)), b""),
        "nothing": (b"", b""),
        "last": (Late(4, make), b"late"),
    }
    progress = Counted()
    plan = Plan(tuple(piece for piece, _ in pieces.values()))
    write_file(plan, tmp_path / "out", verify=verify, progress=progress)
    assert (tmp_path / "out").read_bytes() == b"".join(expected for _, expected in pieces.values())
    assert sums == [[zlib.crc32(data), zlib.crc32(data[3:13]), 0]] * 2
    assert progress.total == progress.done == plan.size * (1 + verify)
    assert temporaries(tmp_path) == []


def test_nothing_at_all(tmp_path: Path) -> None:
    write_file(Plan(()), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b""


SIZES = st.sampled_from([0, 1, 5, 130, 1000])


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[tuple[str, int, int]], bool]:
    kinds = st.tuples(st.sampled_from(["bytes", "file", "next", "computed", "summed", "late"]), SIZES, SIZES)
    return draw(st.lists(kinds, max_size=30)), draw(st.booleans())


@given(plans())
@settings(deadline=None, max_examples=60)
def test_any_pieces_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[list[tuple[str, int, int]], bool]
) -> None:
    """With thresholds so small that all kinds of tasks come about."""
    kinds, verify = drawn
    folder = tmp_path_factory.mktemp("any")
    data = noise(4000)
    (folder / "source").write_bytes(data)
    file, computed, following = FileSource(folder / "source"), Computed(data), 0
    pieces: list[Piece] = []
    expected: list[bytes] = []
    for kind, offset, size in kinds:
        if kind == "next":  # lies behind the one before, in the file too
            offset = following
        following = offset + size if kind in ("file", "next") and offset + 2 * size < len(data) else 0
        stretch = data[offset : offset + size]
        made: dict[str, Piece] = {
            "bytes": stretch,
            "computed": Extent(computed, offset, len(stretch)),
            "summed": Summed(Extent(file, offset, len(stretch))),
            "late": Late(len(stretch), lambda sums, stretch=stretch: stretch if sums is not None else b""),
        }
        pieces.append(made.get(kind, Extent(file, offset, len(stretch))))
        expected.append(stretch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_SMALL", 128)
        patch.setattr(tasks, "BLOCK", 300)
        write_file(Plan(tuple(pieces)), folder / "out", verify=verify)
    assert (folder / "out").read_bytes() == b"".join(expected)


def test_where_the_kernel_does_not_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    (tmp_path / "source").write_bytes(noise(2 * BLOCK + 1))
    write_file(Plan((of_file(tmp_path / "source"),)), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == noise(2 * BLOCK + 1)


def test_the_kernel_copies_neighbours_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    copy = os.copy_file_range

    def counted(source: int, target: int, count: int, *places: int) -> int:
        calls.append((count, *places))
        return copy(source, target, count, *places)

    monkeypatch.setattr(os, "copy_file_range", counted)
    (tmp_path / "source").write_bytes(noise(4 * MIB))
    file = FileSource(tmp_path / "source")
    write_file(Plan((b"head", *(Extent(file, place * MIB, MIB) for place in (1, 2, 3, 0)))), tmp_path / "out")
    assert sorted(calls) == [(MIB, 0, 4 + 3 * MIB), (3 * MIB, MIB, 4)]


def test_to_another_file_system(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system")
    (tmp_path / "source").write_bytes(noise(2 * MIB))
    target = shm / f"statedict-test-{os.getpid()}"
    try:
        write_file(Plan((of_file(tmp_path / "source"),)), target)
        assert target.read_bytes() == noise(2 * MIB)
    finally:
        target.unlink(missing_ok=True)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """256 MiB computed, summed, copied, and verified, in a process that may have 60 MiB more than it has at first."""
    program = """
import resource, sys
from pathlib import Path
from statedict.plan import Plan, Summed
from statedict.source import Extent, FileSource, Source
from statedict.writing import write_file

class Zeros(Source):
    name, size = "zeros", 1 << 26
    def readinto_at(self, offset, buffer):
        buffer[:] = bytes(len(buffer))

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
zeros, out = Extent(Zeros(), 0, 1 << 26), Path(sys.argv[1])
write_file(Plan((b"begin",)), out)
first = peak()
write_file(Plan((zeros, Summed(zeros), zeros, zeros)), out)
write_file(Plan((Extent(FileSource(out), 0, 1 << 28),)), out)
write_file(Plan((Extent(FileSource(out), 0, 1 << 28),)), out, verify=True)
print(peak() - first)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 60
    assert (tmp_path / "out").stat().st_size == 1 << 28


# Where it is written


def test_over_the_file_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(noise(MIB))
    write_file(Plan((b"new header", of_file(path))), path)
    assert path.read_bytes() == b"new header" + noise(MIB)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_rights_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_file(Plan((b"x",)), tmp_path / "out")
        (tmp_path / "usual").touch()
    finally:
        os.umask(before)
    assert stat.filemode((tmp_path / "out").stat().st_mode) == stat.filemode((tmp_path / "usual").stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_an_old_file_keeps_its_rights_and_its_owner(kept: Path, mode: int) -> None:
    kept.chmod(mode)
    owner = (1234, 2345) if os.getuid() == 0 else (os.getuid(), os.getgid())
    os.chown(kept, *owner)
    write_file(Plan((b"new",)), kept)
    found = kept.stat()
    assert (stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)) == (mode, owner)
    assert kept.read_bytes() == b"new"


def test_nobody_else_can_read_it_while_it_is_written(kept: Path) -> None:
    kept.chmod(0o600)
    seen: list[int] = []

    def look(_: int) -> None:
        seen.extend(stat.S_IMODE(path.stat().st_mode) for path in kept.parent.glob(".kept.*"))

    write_file(Plan((Extent(Computed(b"new", look), 0, 3),)), kept)
    assert seen == [0o600]


def test_a_link_stays_and_the_file_that_it_leads_to_is_replaced(tmp_path: Path, kept: Path) -> None:
    link = tmp_path / "links" / "link"
    link.parent.mkdir()
    link.symlink_to("../kept")
    write_file(Plan((b"new",)), link)
    assert link.is_symlink()
    assert (kept.read_bytes(), os.listdir(link.parent)) == (b"new", ["link"])  # noqa: PTH208


def test_a_link_that_leads_to_no_file_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("later")
    write_file(Plan((b"new",)), tmp_path / "link")
    assert (tmp_path / "later").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


def test_another_name_of_the_old_file_keeps_it(kept: Path) -> None:
    (kept.parent / "other").hardlink_to(kept)
    write_file(Plan((b"new",)), kept)
    assert (kept.parent / "other").read_bytes() == b"old"


@pytest.mark.parametrize("length", [200, 255])
def test_a_long_name(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("é" * (length // 2) + "e" * (length % 2))
    write_file(Plan((b"new",)), path)
    assert path.read_bytes() == b"new"


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_file(Plan((b"new",)), Path("out"))
    assert (tmp_path / "out").read_bytes() == b"new"


# Temporaries


def test_the_dead_ones_of_the_same_file_are_removed(kept: Path) -> None:
    for name in (".kept.00000000.statedict-tmp", ".other.00000000.statedict-tmp", ".kept.x", "kept.statedict-tmp"):
        (kept.parent / name).write_bytes(b"half")
    write_file(Plan((b"new",)), kept)
    left = sorted(os.listdir(kept.parent))  # noqa: PTH208
    assert left == [".kept.x", ".other.00000000.statedict-tmp", "kept", "kept.statedict-tmp"]


def test_those_being_written_are_left_alone(kept: Path) -> None:
    live = kept.parent / ".kept.00000000.statedict-tmp"
    with live.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_file(Plan((b"new",)), kept)
        assert live.exists()
    write_file(Plan((b"newer",)), kept)
    assert not live.exists()


def test_two_saves_at_once_in_one_process(kept: Path) -> None:
    def save_another(_: int) -> None:
        write_file(Plan((b"inner",)), kept)

    write_file(Plan((Extent(Computed(b"outer", save_another), 0, 5),)), kept)
    assert kept.read_bytes() == b"outer"
    assert temporaries(kept.parent) == []


def test_where_there_are_no_locks_nothing_is_removed(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    (kept.parent / ".kept.00000000.statedict-tmp").touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    write_file(Plan((b"new",)), kept)
    assert kept.read_bytes() == b"new"
    assert temporaries(kept.parent) == [".kept.00000000.statedict-tmp"]


def test_descriptors_are_closed(tmp_path: Path) -> None:
    source = BytesSource(b"x" * MIB)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only the number counts
    for _ in range(20):
        write_file(Plan((Extent(source, 0, MIB),)), tmp_path / "out")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
