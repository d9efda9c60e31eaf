"""Where bytes come from: files, bytes in memory, and deflated streams."""

import copy
import os
import pickle
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict.composed import InflatedSource
from statedict.errors import FormatError, ReadError
from statedict.source import BytesSource, Extent, FileSource, Folder, Source, source_of

DATA = bytes(range(256)) * 40


def deflated(data: bytes, size: int | None = None) -> InflatedSource:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(data) + packer.flush()
    return InflatedSource(
        Extent(BytesSource(b"head" + packed + b"tail"), 4, len(packed)), size or len(data), "deflated"
    )


@pytest.fixture(params=["file", "bytes", "deflated"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    if request.param == "file":
        (tmp_path / "data").write_bytes(DATA)
        return FileSource(tmp_path / "data")
    return BytesSource(DATA, "data") if request.param == "bytes" else deflated(DATA)


@pytest.mark.parametrize(("offset", "size"), [(0, 0), (0, 10), (100, 1000), (len(DATA) - 1, 1), (len(DATA), 0)])
def test_bytes_are_those_at_the_offset(source: Source, offset: int, size: int) -> None:
    assert source.size == len(DATA)
    assert source.read_at(offset, size) == DATA[offset : offset + size]
    buffer = bytearray(size)
    source.readinto_at(offset, memoryview(buffer))
    assert buffer == DATA[offset : offset + size]
    assert Extent(source, offset, size).read() == DATA[offset : offset + size]


@pytest.mark.parametrize(("offset", "size"), [(0, len(DATA) + 1), (len(DATA), 1), (1 << 62, 1), (-1, 1), (5, -1)])
def test_what_is_not_there_is_refused(source: Source, offset: int, size: int) -> None:
    with pytest.raises(FormatError, match=r"expected|ends|truncated"):
        source.read_at(offset, size)


def test_a_buffer_longer_than_the_rest_is_refused(source: Source) -> None:
    with pytest.raises(FormatError):
        source.readinto_at(len(DATA) - 5, memoryview(bytearray(6)))


def test_sources_travel_to_other_processes(source: Source) -> None:
    again = pickle.loads(pickle.dumps(source))
    assert (again.name, again.size, again.read_at(5, 7)) == (source.name, source.size, DATA[5:12])
    assert copy.deepcopy(source) is source
    assert copy.copy(source) is source
    assert source.name in repr(source)


def test_threads_may_share_one(source: Source) -> None:
    places = [(number * 997) % (len(DATA) - 50) for number in range(200)]
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda place: source.read_at(place, 50), places))
    assert read == [DATA[place : place + 50] for place in places]


@given(data=st.binary(max_size=300), reads=st.lists(st.tuples(st.integers(0, 299), st.integers(0, 299)), max_size=10))
@settings(deadline=None)
def test_a_deflated_stream_reads_like_its_bytes(data: bytes, reads: list[tuple[int, int]]) -> None:
    packed = deflated(data)
    for offset, size in reads:
        if offset + size <= len(data):
            assert packed.read_at(offset, size) == data[offset : offset + size]


def test_a_deflated_stream_takes_no_memory_for_what_is_skipped() -> None:
    packed = deflated(bytes(50_000_000) + b"end")
    assert packed.read_at(50_000_000, 3) == b"end"


def test_a_deflated_stream_shorter_than_declared_is_damaged() -> None:
    with pytest.raises(FormatError, match="unpacks to 5 bytes, not the 9 that it declares"):
        deflated(b"12345", 9).read_at(0, 9)


def test_a_deflated_stream_that_is_none_is_damaged() -> None:
    source = InflatedSource(Extent(BytesSource(b"\xff" * 20), 0, 20), 100, "x")
    with pytest.raises(FormatError, match="x: its compressed bytes are damaged"):
        source.read_at(0, 1)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind(kind: type) -> None:
    assert BytesSource(kind(DATA)).read_at(3, 4) == DATA[3:7]


def test_memory_of_wider_elements_is_read_as_bytes() -> None:
    assert BytesSource(memoryview(DATA).cast("I")).size == len(DATA)


def test_a_file_stays_what_it_was_when_another_takes_its_name(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"old")
    source = FileSource(path)
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "new").replace(path)
    assert source.read_at(0, 3) == b"old"


def test_a_file_that_shrinks_meanwhile_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    source = FileSource(path)
    os.truncate(path, 10)
    with pytest.raises(FormatError, match="truncated"):
        source.read_at(5, 10)
    with pytest.raises(FormatError, match="truncated"):
        source.readinto_at(20, memoryview(bytearray(1)))


@pytest.mark.parametrize("make", [lambda path: path / "gone", lambda path: path / "gone" / "x"], ids=["file", "folder"])
def test_a_file_that_is_not_there(make: "type", tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cannot be opened") as caught:
        FileSource(make(tmp_path))
    assert isinstance(caught.value, OSError)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_is_opened_but_not_read(tmp_path: Path) -> None:
    with pytest.raises((ReadError, FormatError), match=str(tmp_path)):
        FileSource(tmp_path).read_at(0, 1)


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a pipe"), (Path("/dev/null"), "a device"), (tmp_path, "a folder")):
        with pytest.raises(ReadError, match=f"{path}: is no file but {kind}; save"):
            FileSource(path)


def test_a_folder_may_hold_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"data")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "inside").mkdir()
    folder = Folder(tmp_path)
    assert folder.names == ("data", "gone", "inside/", "loop")
    assert folder.sizes() == {"data": 4}


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(ReadError, match="empty path"):
        source_of("")


def test_descriptors_are_closed(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only the number counts
    for _ in range(50):
        FileSource(tmp_path / "data").read_at(0, 1)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
