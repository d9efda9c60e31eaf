"""Damaged archives of `torch.save`: one line says what is wrong; and the limits."""

import io
import struct
import zipfile

import pytest
import torch

from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from tests.formats.contract import SMALL
from tests.formats.stored import index_of, saved
from tests.formats.torch_archives import BY_HAND, archive, members


def test_damaged_compressed_bytes_are_noticed_when_they_are_read() -> None:
    data = bytearray(archive(members(saved({"w": torch.zeros(1 << 16)})), zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        start = made.getinfo("archive/data/0").header_offset + 30 + len("archive/data/0")
    data[start] = 0xFF
    extent = index_of(bytes(data)).tensors["w"].extent
    assert extent is not None
    with pytest.raises(FormatError, match=r"^net\.pt: archive/data/0: its compressed bytes are damaged"):
        extent.read()


def test_a_pickle_that_unpacks_to_less_than_it_says_is_damaged() -> None:
    data = bytearray(archive(members(saved(SMALL)), zipfile.ZIP_DEFLATED))
    entry = data.index(b"PK\x01\x02")
    size = int.from_bytes(data[entry + 24 : entry + 28], "little")
    data[entry + 24 : entry + 28] = (size + 5).to_bytes(4, "little")
    with pytest.raises(FormatError, match="unpacks to"):
        index_of(bytes(data))


HEADER = BY_HAND.index(b"a/data.pkl") - 30


DIRECTORY = BY_HAND.index(b"PK\x01\x02")


ENTRY = BY_HAND.index(b"PK\x01\x02", DIRECTORY + 1)


NEXT = BY_HAND.rindex(b"PK\x01\x02")


END = BY_HAND.index(b"PK\x05\x06")


def at(offset: int, new: bytes) -> bytes:
    return BY_HAND[:offset] + new + BY_HAND[offset + len(new) :]


DAMAGED = {
    "encrypted": (at(ENTRY + 8, b"\x01\x00"), "encrypted"),
    "no local header": (at(HEADER, b"PK\x07\x08"), "not where the archive's directory says"),
    "a local header elsewhere": (at(ENTRY + 42, b"\x02\x00\x00\x00"), "not where the archive's directory says"),
    "a header beyond the file": (at(ENTRY + 42, b"\xf0\xff\xff\x00"), "ends at byte"),
    "a member beyond the file": (at(ENTRY + 20, b"\xff\xff\xff\x00"), "ends at byte"),
    "no directory entry": (at(ENTRY, b"XX"), "contradicts"),
    "a directory larger than the file": (at(END + 12, b"\xff\xff\x00\x00"), "contradicts"),
    "a directory behind the file": (at(END + 16, b"\xff\xff\x00\x00"), "contradicts"),
    "no entries": (at(END + 8, b"\x00\x00\x00\x00"), "holds nothing"),
    "no end": (BY_HAND[:END], "without its directory"),
    "another zip": (
        archive({"readme.txt": b"", "a.txt": b"", "b": b"", "c": b""}),
        r"holds readme\.txt, a\.txt, b, and",
    ),
    "a storage too few": (archive(dict(list(members(BY_HAND).items())[:2])), "lacks `a/data/0`, a storage of 6 bytes"),
    "a storage too short": (
        archive(members(BY_HAND) | {"a/data/0": b"12345"}),
        "has 5 bytes, but its pickle says 6",
    ),
    "a view beyond its storage": (
        archive(members(BY_HAND) | {"a/data.pkl": members(BY_HAND)["a/data.pkl"].replace(b"K\x02\x85", b"K\x09\x85")}),
        "tensor `w` .*20",
    ),
}


@pytest.mark.parametrize(("data", "text"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_told_in_one_line(data: bytes, text: str) -> None:
    with pytest.raises(FormatError, match=rf"^net\.pt: .*{text}") as caught:
        index_of(data)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("size", range(29))
def test_a_truncated_extra_field_is_no_zip64(size: int) -> None:
    """The sizes that a field of 24 bytes promises, in an extra of fewer."""
    extra = struct.pack("<HHQQQ", 1, 24, 108, 108, HEADER)[:size]
    entry = bytearray(BY_HAND[ENTRY:NEXT])
    entry[20:28] = b"\xff" * 8
    entry[30:32] = struct.pack("<H", size)
    end = bytearray(BY_HAND[END:])
    end[12:16] = struct.pack("<L", END - DIRECTORY + size)
    data = BY_HAND[:ENTRY] + bytes(entry) + extra + BY_HAND[NEXT:END] + bytes(end)
    if size >= 20:
        assert list(index_of(data).tensors) == ["w"]
    else:
        with pytest.raises(FormatError):
            index_of(data)


@pytest.mark.parametrize(
    "limits", [Limits(members=2), Limits(header_bytes=100), Limits(names=1)], ids=["members", "bytes", "names"]
)
def test_limits(limits: Limits) -> None:
    with pytest.raises(LimitError, match=r"allows|names"):
        index_of(saved(SMALL), limits=limits)


def test_a_pickle_packed_a_thousandfold_meets_the_limit() -> None:
    bomb = archive({"a/data.pkl": b"\x80\x02" + b"N0" * 10_000_000 + b"N."}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with pytest.raises(LimitError, match="header_bytes"):
        index_of(bomb, limits=Limits(header_bytes=1 << 20))
