"""PyTorch's zip archives: one by hand, torch's own, and those that other zip writers and other machines make."""

import io
import itertools
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from statedict.errors import FormatError
from statedict.source import BytesSource, FileSource
from tests.formats.contract import SMALL, FormatContract
from tests.formats.stored import CountingSource, assert_same, assert_same_tensors, elements, index_of, loaded, saved
from tests.formats.torch_archives import BY_HAND, archive, members, renamed


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
