"""The directories of zip archives that the C code reads: as Python reads them, or not at all."""

import io
import struct
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict import accelerator
from statedict.formats import _zip
from statedict.source import BytesSource, Source
from tests.formats.asked import asked, changed, changes
from tests.formats.graphs import account

pytestmark = pytest.mark.skipif(accelerator.headers() is None, reason="the C code was not built")


def archive(members: list[tuple[str, bytes, int]], comment: bytes, prefix: bytes) -> bytes:
    buffer = io.BytesIO()
    buffer.write(prefix)
    with zipfile.ZipFile(buffer, "w") as made:
        made.comment = comment
        for member, data, method in members:
            made.writestr(zipfile.ZipInfo(member), data, method)
    return buffer.getvalue()


def directory(data: bytes) -> tuple[bytes, int, int, Source]:
    source = BytesSource(data, "net.zip")
    offset, size, count, shift = _zip._directory(source)
    return source.read_at(offset, size), count, shift, source


def fields(members: dict[str, Source] | str | None) -> Any:
    return members if not isinstance(members, dict) else account(list(members.items()))


member_names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)


@given(
    members=st.lists(
        st.tuples(
            member_names, st.binary(max_size=9), st.sampled_from([zipfile.ZIP_STORED] * 3 + [zipfile.ZIP_DEFLATED])
        ),
        max_size=5,
        unique_by=lambda member: member[0],
    ),
    comment=st.sampled_from([b"", b"a comment"]),
    prefix=st.binary(max_size=3),
    edits=changes,
)
@settings(deadline=None, max_examples=300)
def test_directories_of_archives(
    members: list[tuple[str, bytes, int]], comment: bytes, prefix: bytes, edits: list[tuple[float, bytes, int]]
) -> None:
    data, count, shift, source = directory(archive(members, comment, prefix))
    for damaged in (data, changed(data, edits)):
        found = fields(_zip._stored(damaged, count, shift, source))
        if found is not None:
            assert found == fields(asked(lambda damaged=damaged: _zip._members(damaged, count, shift, source)))
        else:
            assert damaged != data or any(method for *_, method in members)


def entry(path: bytes, extra: bytes, packed: int, plain: int, header: int) -> bytes:
    sizes = struct.pack("<3L3H", 0, packed, plain, len(path), len(extra), 0)
    return b"PK\x01\x02" + bytes(12) + sizes + bytes(8) + struct.pack("<L", header) + path + extra


WIDE = 0xFFFFFFFF


@given(
    extra=st.binary(max_size=30)
    | st.lists(st.integers(0, 100), max_size=4).map(
        lambda fields: struct.pack(f"<HH{len(fields)}Q", 1, 8 * len(fields), *fields)
    ),
    sizes=st.tuples(*[st.sampled_from([0, 5, 200, WIDE])] * 3),
    shift=st.integers(0, 20),
)
@settings(max_examples=300)
def test_sizes_of_64_bits(extra: bytes, sizes: tuple[int, int, int], shift: int) -> None:
    source = BytesSource(bytes(300), "net.zip")
    data = entry(b"a", extra, *sizes)
    found = fields(_zip._stored(data, 1, shift, source))
    assert found is None or found == fields(asked(lambda: _zip._members(data, 1, shift, source)))


def test_an_archive_beyond_four_gigabytes_is_read_in_c() -> None:
    class Large(BytesSource):
        __slots__ = ()

    source = Large(b"", "net.zip")
    source.size = 1 << 40
    data = entry(b"a/data/0", struct.pack("<HHQQQ", 1, 24, 1 << 33, 1 << 33, 1 << 35), WIDE, WIDE, WIDE)
    found = _zip._stored(data, 1, 7, source)
    assert found is not None
    assert fields(found) == fields(_zip._members(data, 1, 7, source))
    assert found["a/data/0"].size == 1 << 33
