"""Zip archives: what the standard library's `zipfile`, another reader, finds in them."""

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict.errors import StatedictError
from statedict.formats._zip import read_zip
from statedict.formats._zip_writing import _joined, archive  # pyright: ignore[reportPrivateUsage]
from statedict.limits import DEFAULT_LIMITS
from statedict.plan import Late, Plan, Summed, size_of
from statedict.source import BytesSource, Extent, Source
from tests.written import bytes_of_plan

Data = bytes | Extent | tuple[bytes, Extent]


def extent(data: bytes) -> Extent:
    return Extent(BytesSource(b"before" + data + b"behind"), 6, len(data))


def as_bytes(data: bytes) -> Data:
    return data


def as_both(data: bytes) -> Data:
    return data[: len(data) // 2], extent(data[len(data) // 2 :])


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)


@settings(deadline=5000)
@given(
    st.dictionaries(names, st.tuples(st.binary(max_size=300), st.sampled_from([as_bytes, extent, as_both]))),
    st.sampled_from([1, 4, 64, 4096]),
)
def test_zipfile_and_we_read_what_was_written(
    members: dict[str, tuple[bytes, Callable[[bytes], Data]]], alignment: int
) -> None:
    planned = [(name, make(data)) for name, (data, make) in members.items()]
    written = bytes_of_plan(Plan(archive(planned, alignment=alignment)))
    with zipfile.ZipFile(io.BytesIO(written)) as opened:
        assert opened.testzip() is None
        assert {info.orig_filename: opened.read(info) for info in opened.infolist()} == {
            name: data for name, (data, _) in members.items()
        }
    ours = read_zip(BytesSource(written), DEFAULT_LIMITS)
    assert list(ours) == list(members)
    for name, source in ours.items():
        assert source.read_at(0, source.size) == members[name][0]
        assert source.located(0)[1] % alignment == 0


@settings(deadline=5000)
@given(st.binary(), st.binary())
def test_two_checksums_become_that_of_the_whole(first: bytes, second: bytes) -> None:
    assert _joined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_equal_members_make_equal_files() -> None:
    made = [bytes_of_plan(Plan(archive([("w", b"one"), ("b", extent(b"two"))]))) for _ in range(2)]
    assert made[0] == made[1]


def test_bytes_that_are_known_are_written_as_they_are() -> None:
    assert all(isinstance(piece, bytes) for piece in archive([("w", b"one"), ("none", extent(b""))]))


@pytest.mark.slow
def test_more_members_than_16_bits_count() -> None:
    written = bytes_of_plan(Plan(archive([(str(number), b"") for number in range(1 << 16)], alignment=1)))
    with zipfile.ZipFile(io.BytesIO(written)) as opened:
        assert len(opened.namelist()) == 1 << 16
    assert len(read_zip(BytesSource(written), DEFAULT_LIMITS)) == 1 << 16


class Nothing(Source):
    """Zeros without end, of which none is ever read."""

    def __init__(self, size: int) -> None:
        self.name, self.size = "zeros", size

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        raise AssertionError("not to be read")


def write_sparse(path: Path, pieces: Sequence[object], sums: Sequence[int]) -> None:
    """The file, with holes where extents are to be."""
    with path.open("wb") as file:
        for offset, piece in Plan(tuple(pieces)).placed():  # pyright: ignore[reportArgumentType]
            file.seek(offset)
            if isinstance(piece, bytes | Late):
                file.write(piece if isinstance(piece, bytes) else piece.make(sums))


@pytest.mark.parametrize("size", [(1 << 32) - 2, (1 << 32) - 1, 1 << 32, 5 << 32])
def test_members_and_offsets_of_more_than_32_bits(tmp_path: Path, size: int) -> None:
    pieces = archive(
        [("a", Extent(Nothing(size), 0, size)), ("b", b"behind"), ("c", Extent(Nothing(7), 0, 7)), ("d", b"last")]
    )
    write_sparse(tmp_path / "net.zip", pieces, (0x1234, zlib.crc32(bytes(7))))
    assert sum(map(size_of, pieces)) == (tmp_path / "net.zip").stat().st_size
    with zipfile.ZipFile(tmp_path / "net.zip") as opened:
        assert [(info.filename, info.file_size) for info in opened.infolist()] == [
            ("a", size), ("b", 6), ("c", 7), ("d", 4)
        ]  # fmt: skip
        assert opened.infolist()[0].CRC == 0x1234
        assert opened.read("b") == b"behind"
        assert opened.read("c") == bytes(7)
        with opened.open("a") as first:
            assert first.read(3) == bytes(3)


@pytest.mark.parametrize(("name", "said"), [("\ud800", "no text"), ("x" * 65_536, r"65,536 bytes.*65,535 at most")])
def test_a_name_that_zip_cannot_hold_is_refused(name: str, said: str) -> None:
    with pytest.raises(StatedictError, match=said):
        archive([(name, b"")])


def test_what_depends_on_checksums_is_late() -> None:
    header, data, directory = archive([("w", extent(b"data"))])
    assert isinstance(header, Late)
    assert isinstance(data, Summed)
    assert isinstance(directory, Late)
