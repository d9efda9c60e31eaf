"""PyTorch's zip archives: one by hand, torch's own, and those that other zip writers and other machines make."""

import io
import itertools
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from statedict.source import BytesSource, FileSource
from tests.formats.contract import SMALL, FormatContract
from tests.formats.stored import CountingSource, assert_same, assert_same_tensors, elements, index_of, loaded, saved

BY_HAND = (
    b"PK\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xd1\x9egU\x02\x00\x00\x00\x02\x00\x00\x00\t\x00\x00\x00a/version"
    b"3\n"
    b"PK\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00u\xee\xa7\xb0l\x00\x00\x00l\x00\x00\x00\n\x00\x00\x00a/data.pkl"
    b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n"
    b"((X\x07\x00\x00\x00storagectorch\nShortStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x03tQ"
    b"K\x01K\x02\x85K\x01\x85\x89}tRs."
    b"PK\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00N\xe9\xba\xfb\x06\x00\x00\x00\x06\x00\x00\x00\x08\x00\x00\x00a/data/0"
    b"\x01\x00\x02\x00\x03\x00"
    b"PK\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xd1\x9egU\x02\x00\x00\x00\x02\x00\x00\x00\t\x00"
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00a/version"
    b"PK\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00u\xee\xa7\xb0l\x00\x00\x00l\x00\x00\x00\n\x00"
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00)\x00\x00\x00a/data.pkl"
    b"PK\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00N\xe9\xba\xfb\x06\x00\x00\x00\x06\x00\x00\x00\x08\x00"
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xbd\x00\x00\x00a/data/0"
    b"PK\x05\x06\x00\x00\x00\x00\x03\x00\x03\x00\xa5\x00\x00\x00\xe9\x00\x00\x00\x00\x00"
)


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive(entries: Iterator[tuple[str, bytes]] | dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, data in entries.items() if isinstance(entries, dict) else entries:
            made.writestr(name, data)
    return buffer.getvalue()


def renamed(data: bytes, rename: Callable[[str], str | None]) -> bytes:
    """The archive with each member under another name, or without it where that is None."""
    return archive((new, held) for name, held in members(data).items() if (new := rename(name)) is not None)


class TestContract(FormatContract):
    format = "torch"

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return saved(tensors)

    def boundaries(self, data: bytes) -> list[int]:
        with zipfile.ZipFile(io.BytesIO(data)) as made:
            starts = [entry.header_offset for entry in made.infolist()]
            return [*starts[1:], made.start_dir, len(data) - 22, len(data) - 2]


class TestCompressed(FormatContract):
    """The same, where another zip writer packed the members."""

    format = "torch"

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return archive(members(saved(tensors)), zipfile.ZIP_DEFLATED)

    def test_what_a_description_tells_is_read_and_nothing_else(self) -> None:
        noise = torch.randint(0, 255, (1 << 20,), dtype=torch.uint8)
        source = CountingSource(self.make({"w": noise}))
        index_of(source)
        assert source.size > 1 << 20
        assert source.read_bytes < 10_000


def test_a_file_by_hand() -> None:
    assert torch.equal(loaded(BY_HAND)["w"], torch.tensor([2, 3], dtype=torch.int16)), "torch agrees"
    index = index_of(BY_HAND)
    (weight,) = index.tensors.values()
    assert (weight.name, str(weight.dtype), weight.shape, weight.stride) == ("w", "int16", (2,), None)
    assert elements(weight) == b"\x02\x00\x03\x00"
    assert weight.extent is not None
    assert weight.extent.source.located(weight.extent.offset)[0] is index.source
    assert weight.extent.source.located(weight.extent.offset)[1] == BY_HAND.index(b"\x02\x00\x03\x00")
    assert weight.storage is not None
    assert weight.storage.size == 6
    assert index.modules[""].container == "dict"
    assert index.ordered


def test_the_records_beside_the_pickle_are_metadata() -> None:
    metadata = index_of(saved(SMALL)).metadata
    assert metadata["byteorder"] == "little"
    assert metadata["version"] == "3"
    assert metadata["format_version"] == "1"
    assert metadata["storage_alignment"] == "64"
    assert len(metadata["data/serialization_id"]) == 40


def test_the_oldest_archives_have_a_version_and_nothing_else() -> None:
    kept = {"archive/data.pkl", "archive/data/0", "archive/data/1", "archive/version"}
    bare = renamed(saved(SMALL), lambda name: name if name in kept else None)
    assert index_of(bare).metadata == {"version": "3"}
    assert_same_tensors(index_of(bare), SMALL)


@pytest.mark.parametrize("prefix", ["net", "ключ", "a b", "archive"])
def test_the_folder_in_the_archive_may_have_any_name(prefix: str) -> None:
    assert_same_tensors(index_of(renamed(saved(SMALL), lambda name: prefix + name.removeprefix("archive"))), SMALL)


def test_the_folder_is_found_where_it_is_not_first() -> None:
    entries = itertools.chain([("README.md", b"hello"), ("other/x", b"")], members(saved(SMALL)).items())
    assert_same_tensors(index_of(archive(entries)), SMALL)


def test_members_may_lie_at_the_top() -> None:
    assert_same_tensors(index_of(renamed(saved(SMALL), lambda name: name.removeprefix("archive/"))), SMALL)


def test_a_name_of_a_path_becomes_the_folder(tmp_path: Path) -> None:
    torch.save(SMALL, tmp_path / "my net.v1.pt")
    assert_same_tensors(index_of(FileSource(tmp_path / "my net.v1.pt")), SMALL)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_compressed_members_are_read_in_any_order(method: int) -> None:
    tensors = {"a": torch.randn(100_000), "b": torch.arange(300_000), "c": torch.zeros(50, 50).t()}
    index = index_of(archive(members(saved(tensors)), method))
    for name in ("c", "a", "b", "a"):
        assert_same(index.tensors[name], tensors[name])
    middle = index.tensors["b"].extent
    assert middle is not None
    assert middle.source.read_at(800, 16) == struct.pack("<qq", 100, 101)
    assert middle.source.read_at(8, 8) == struct.pack("<q", 1)


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


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_other_compressions_are_named(method: int) -> None:
    with pytest.raises(FormatError, match=f"compressed by method {method}; only deflate"):
        index_of(archive(members(saved(SMALL)), method))


def big_endian(data: bytes, width: dict[str, int]) -> bytes:
    """The file as a machine with the big end first writes it: `width` is what to turn around in each storage."""
    entries = members(data)
    entries["archive/byteorder"] = b"big"
    for key, size in width.items():
        stored = np.frombuffer(entries[f"archive/data/{key}"], f"u{size}")
        entries[f"archive/data/{key}"] = stored.byteswap().tobytes()
    return archive(entries)


def test_files_of_big_endian_machines() -> None:
    tensors = {
        "f32": torch.randn(3, 4).t(),
        "f64": torch.randn(3, dtype=torch.float64),
        "i16": torch.arange(300, dtype=torch.int16)[7:],
        "bf16": torch.randn(5).bfloat16(),
        "u8": torch.arange(7, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "c64": torch.randn(3, dtype=torch.complex64),
        "c128": torch.randn(3, dtype=torch.complex128).conj(),
    }
    swapped = big_endian(saved(tensors), {"0": 4, "1": 8, "2": 2, "3": 2, "6": 4, "7": 8})
    expected = loaded(swapped)
    assert all(torch.equal(expected[name], tensor) for name, tensor in tensors.items()), "torch agrees"
    index = index_of(swapped)
    assert_same_tensors(index, expected)
    assert index.metadata["byteorder"] == "big"
    assert index.tensors["u8"].encoding.byteorder == "little", "bytes have no order"
    assert index.tensors["f32"].encoding is index.tensors["f64"].encoding


def test_bytes_before_the_archive_and_a_comment_behind_it() -> None:
    plain = saved(SMALL)
    commented = plain[:-2] + struct.pack("<H", 11) + b"a comment.."
    assert_same_tensors(index_of(commented), SMALL)
    assert_same_tensors(index_of(b"#!/bin/sh\n" + plain, "torch"), SMALL)


def test_of_two_members_of_one_name_the_last_counts() -> None:
    entries = members(saved(SMALL))
    old = {name: b"\xff" * len(held) for name, held in entries.items() if "/data/" in name}
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = archive(itertools.chain(old.items(), entries.items()))
    assert_same_tensors(index_of(twice), SMALL)


def test_zip64_sizes_and_offsets(tmp_path: Path) -> None:
    """A storage of 4.5 GiB, of which a sparse file keeps two bytes."""
    size = 9 << 29
    path = tmp_path / "large.pt"
    count = b"\x8a\x05" + size.to_bytes(5, "little")
    pickled = members(BY_HAND)["a/data.pkl"].replace(b"ShortStorage", b"ByteStorage")
    pickled = pickled.replace(b"K\x03tQ", count + b"tQ").replace(b"K\x01K\x02", b"K\x00" + count)
    names = {"a/data.pkl": pickled, "a/data/0": None, "a/version": b"3\n"}
    with path.open("wb") as file:
        directory = b""
        for name, held in names.items():
            offset, length = file.tell(), size if held is None else len(held)
            wide = struct.pack("<HHQQQ", 1, 24, length, length, offset)
            file.write(struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 0, 0, 2**32 - 1, 2**32 - 1, len(name), 20))
            file.write(name.encode() + struct.pack("<HHQQ", 1, 16, length, length))
            if held is None:
                file.write(b"\x07")
                file.seek(length - 2, 1)
                file.write(b"\x08")
            else:
                file.write(held)
            directory += struct.pack(
                "<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 0, 0, 0, 0, *[2**32 - 1] * 2, len(name), 28, 0, 0, 0, 0, 2**32 - 1
            )
            directory += name.encode() + wide
        start = file.tell()
        file.write(directory)
        end = file.tell()
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, len(directory), start))
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, end, 1))
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(directory), 2**32 - 1, 0))
    with zipfile.ZipFile(path) as made:
        assert made.getinfo("a/data/0").file_size == size, "zipfile agrees"
    index = index_of(FileSource(path))
    large = index.tensors["w"].extent
    assert large is not None
    assert index.tensors["w"].shape == (size,)
    assert large.source.read_at(0, 2) == b"\x07\x00"
    assert large.source.read_at(size - 2, 2) == b"\x00\x08"
    assert index.metadata == {"version": "3"}


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


def test_one_storage_is_one_extent_for_all_its_views() -> None:
    whole = torch.arange(10.0)
    index = index_of(saved({"a": whole[2:5], "b": whole[4:], "whole": whole, "again": whole}))
    a, b, all_of_it, again = index.tensors.values()
    assert a.storage == b.storage == all_of_it.extent
    assert all_of_it.storage is None
    assert again is all_of_it
    assert a.extent is not None
    assert a.extent.offset == 8


def test_a_storage_named_with_two_types_is_read_as_both() -> None:
    """Pickles may refer to one storage as floats and as bytes: complex views did."""
    pickled = members(saved({"a": torch.ones(2), "b": torch.ones(2)}))["archive/data.pkl"]
    pickled = pickled.replace(b"X\x01\x00\x00\x001", b"X\x01\x00\x00\x000")
    entries = members(saved({"a": torch.ones(2), "b": torch.ones(2)})) | {"archive/data.pkl": pickled}
    a, b = index_of(archive(entries)).tensors.values()
    assert a is b


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_that_torch_can_load(protocol: int) -> None:
    checkpoint: dict[str, Any] = {**SMALL, "nested": {"list": [torch.ones(1)] * 300, "text": "é" * 300}}
    data = saved(checkpoint, pickle_protocol=protocol)
    assert loaded(data)["nested"]["text"] == "é" * 300
    index = index_of(data)
    assert len(index.tensors) == 2 + 300
    assert index.modules["nested"].attributes == {"text": "é" * 300}


@pytest.mark.parametrize("crc32", [True, False])
def test_checksums_may_be_left_out(crc32: bool) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(crc32)
    try:
        assert_same_tensors(index_of(saved(SMALL)), SMALL)
    finally:
        torch.serialization.set_crc32_options(before)


def test_storages_that_were_skipped_are_holes_to_fill_later(tmp_path: Path) -> None:
    with torch.serialization.skip_data():
        torch.save(SMALL, tmp_path / "net.pt")
    index = index_of(FileSource(tmp_path / "net.pt"))
    assert [info.shape for info in index.tensors.values()] == [(2, 3), (2,)]


def test_torchscript_archives_hold_their_parameters() -> None:
    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x)

    module = Small()
    buffer = io.BytesIO()
    with pytest.warns((DeprecationWarning, FutureWarning)):
        torch.jit.save(torch.jit.script(module), buffer)
    index = index_of(buffer.getvalue())
    assert_same(index.tensors["fc.weight"], module.fc.weight)
    assert_same(index.tensors["fc.bias"], module.fc.bias)


def test_the_whole_of_a_member_is_bounded_by_it() -> None:
    """What lies behind a storage in the file is not part of it."""
    extent = index_of(BytesSource(BY_HAND, "net.pt")).tensors["w"].extent
    assert extent is not None
    with pytest.raises(FormatError, match=r"^net\.pt: a/data/0: expected 7 bytes, but there are 6"):
        extent.source.read_at(2, 5)


def test_views_of_one_storage_are_tied_where_they_show_the_same() -> None:
    whole = torch.arange(6.0)
    tensors = index_of(
        saved({"whole": whole, "half": whole[3:], "again": whole[3:], "all": whole[:], "rows": whole.view(2, 3)})
    ).tensors
    assert tensors["half"] is tensors["again"]
    assert tensors["whole"] is tensors["all"]
    assert len({id(info) for info in tensors.values()}) == 3


def test_views_of_one_storage_as_two_element_types_are_two_tensors() -> None:
    bits = torch.zeros(4, dtype=torch.float8_e4m3fn)
    tensors = index_of(saved({"a": bits, "b": bits.view(torch.float8_e5m2)})).tensors
    assert [info.dtype.name for info in tensors.values()] == ["float8_e4m3fn", "float8_e5m2"]
    assert tensors["a"].extent == tensors["b"].extent
