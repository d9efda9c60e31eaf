"""What goes wrong as one file is written: each is told in one line, and the old file stays."""

import os
from pathlib import Path

import pytest

from statedict.errors import FormatError, ReadError, StatedictError, WriteError
from statedict.plan import Late, Plan
from statedict.source import Extent, Source
from statedict.writing import write_file
from tests.writing.sources import MIB, Computed, noise, of_bytes, of_file, plain
from tests.writing.test_files import BLOCK, is_whole


def told(error: BaseException) -> str:
    assert isinstance(error, StatedictError)
    assert len(str(error).splitlines()) == 1
    return str(error)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("folder", "folder: is a folder; name a file in it"),
        ("folder/none/out", "folder/none: there is no such folder to write in; make it first"),
        ("kept/out", "kept: is no folder, so nothing can be written in it; choose another place"),
        ("x" * 256, "cannot be written: file name too long; choose a shorter name"),
        ("pipe", "pipe: is no file but a device or a pipe, which cannot be replaced; name a file"),
        ("loop", "cannot be written: too many levels of symbolic links"),
    ],
)
def test_no_place_for_a_file(tmp_path: Path, kept: Path, place: str, text: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(os.listdir(tmp_path))  # noqa: PTH208
    with pytest.raises(WriteError) as caught:
        write_file(Plan((b"new",)), tmp_path / place)
    assert text in told(caught.value)
    assert isinstance(caught.value, OSError)
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208
    assert kept.read_bytes() == b"old"


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(WriteError, match="/dev/null: is no file but a device"):
        write_file(Plan((b"new",)), Path("/dev/null"))


def test_more_than_the_disk_has_free(kept: Path) -> None:
    huge = 1 << 60
    with pytest.raises(WriteError) as caught:
        write_file(Plan((Extent(Huge(), 0, huge),)), kept)
    assert f"it takes {huge:,} bytes, but " in told(caught.value)
    assert "are free on its disk; make room, or choose another disk" in str(caught.value)
    assert is_whole(kept)


class Huge(Source):
    name, size = "huge", 1 << 60

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        raise AssertionError("something was read")


@pytest.mark.parametrize("at", [0, BLOCK, 5 * BLOCK])
@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (FormatError("shard-3: its compressed bytes are damaged"), FormatError, "shard-3: its compressed bytes"),
        (ReadError("shard-3: cannot be read"), ReadError, "shard-3: cannot be read"),
        (OSError(5, "Input/output error"), ReadError, r"computed: cannot be read at byte .*Input/output error"),
        (ZeroDivisionError("a bug"), ZeroDivisionError, "a bug"),
        (KeyboardInterrupt("asked"), KeyboardInterrupt, "asked"),
    ],
    ids=lambda value: getattr(value, "__name__", "") if isinstance(value, type) else "",
)
def test_a_source_that_fails_in_the_middle(
    kept: Path, at: int, fault: BaseException, kind: type[BaseException], text: str
) -> None:
    def fail(offset: int) -> None:
        if offset >= at:
            raise fault

    data = noise(6 * BLOCK)
    failing = Extent(Computed(data, fail), 0, len(data))
    with pytest.raises(kind, match=text):
        write_file(Plan((of_bytes(data), failing, of_bytes(data))), kept)
    assert is_whole(kept)


def test_a_small_source_that_fails(kept: Path) -> None:
    def fail(_: int) -> None:
        raise ReadError("gone")

    with pytest.raises(ReadError, match="gone"):
        write_file(Plan((b"head", Extent(Computed(b"data", fail), 0, 4))), kept)
    assert is_whole(kept)


def test_what_comes_late_has_its_size(kept: Path) -> None:
    with pytest.raises(ValueError, match="2 bytes came late at byte 4, not 3"):
        write_file(Plan((b"head", Late(3, lambda _: b"ab"))), kept)
    assert is_whole(kept)


@pytest.mark.parametrize("size", [100, 5 * MIB])
def test_a_file_that_shrinks_meanwhile(kept: Path, tmp_path: Path, size: int) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "source").write_bytes(noise(size))
    plan = Plan((of_file(folder / "source"),))
    os.truncate(folder / "source", size - 1)
    with pytest.raises(FormatError, match=r"sources/source: .*truncated"):
        write_file(plan, kept)
    assert kept.read_bytes() == b"old"


@pytest.mark.parametrize("size", [100, 5 * MIB])
def test_a_file_that_changes_meanwhile(kept: Path, tmp_path: Path, size: int) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "source").write_bytes(noise(size))

    def change(_: int) -> None:
        with (folder / "source").open("r+b") as file:
            file.write(b"other")

    plan = Plan((of_file(folder / "source"), Extent(Computed(b"x" * MIB, change), 0, MIB)))
    os.utime(folder / "source", ns=(0, 0))
    plan = Plan((of_file(folder / "source"), *plan.pieces[1:]))
    with pytest.raises(ReadError, match="source: has been changed since it was opened; open it again"):
        write_file(plan, kept)
    assert kept.read_bytes() == b"old"


def test_what_reads_back_otherwise_is_told(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise(3 * BLOCK)
    write = os.pwrite

    def spoilt(descriptor: int, block: memoryview, at: int) -> int:
        if at == BLOCK:
            block = memoryview(b"\0" + bytes(block[1:]))
        return write(descriptor, block, at)

    monkeypatch.setattr(os, "pwrite", spoilt)
    with pytest.raises(WriteError) as caught:
        write_file(plain(data), kept, verify=True)
    assert f"reads back otherwise than it was written, from byte {BLOCK:,} on" in told(caught.value)
    assert is_whole(kept)


def test_what_is_written_bit_by_bit_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call may write less than it was asked to."""
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, block, at: write(descriptor, block[:1000], at))
    write_file(Plan((noise(10_000), of_bytes(noise(MIB)))), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == noise(10_000) + noise(MIB)


@pytest.mark.parametrize("call", ["fsync", "posix_fallocate", "ftruncate", "pwrite", "rename"])
def test_a_system_call_that_fails(kept: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path if call == "rename" else os, call, fail)
    with pytest.raises(WriteError) as caught:
        write_file(Plan((b"new",)), kept)
    assert told(caught.value) == (
        f"{kept}: cannot be written: no space left on device; make room, or choose another disk"
    )
    assert is_whole(kept)
