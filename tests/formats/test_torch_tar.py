"""PyTorch 0.1's tar archives. No writer is left, so this file writes them; torch itself must read what it writes."""

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from statedict.errors import FormatError
from tests.formats.contract import SMALL, FormatContract
from tests.formats.stored import assert_same_tensors, index_of

KINDS = {
    torch.float32: b"Float",
    torch.float64: b"Double",
    torch.float16: b"Half",
    torch.int64: b"Long",
    torch.int16: b"Short",
    torch.uint8: b"Byte",
}


def loaded(data: bytes, folder: Path) -> Any:
    """What torch makes of it; it tries this format on real files only."""
    path = folder / "by_torch.pt"
    path.write_bytes(data)
    return torch.load(path, weights_only=False)


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.PAX_FORMAT) as made:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def described(key: int, middle: bytes, kind: bytes) -> bytes:
    return b"\x80\x02" + number(key) + middle + kind + b"\x87."


def storage(key: int, kind: bytes, numel: int, data: bytes) -> bytes:
    return described(key, text("cpu"), b"ctorch\n" + kind + b"Storage\n") + struct.pack("<q", numel) + data


def tensor(key: int, stored: int, kind: bytes, shape: tuple[int, ...], stride: tuple[int, ...], offset: int) -> bytes:
    head = described(key, number(stored), b"ctorch\n" + kind + b"Tensor\n")
    return head + struct.pack(f"<q{2 * len(shape) + 1}q", len(shape), *shape, *stride, offset)


def checkpoint(
    pickled: bytes, storages: list[bytes], tensors: list[bytes], views: list[tuple[int, ...]] | None = None
) -> bytes:
    return tar(
        {
            "sys_info": pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2),
            "pickle": pickled,
            "storages": pickle.dumps(len(storages), 2) + b"".join(storages) + pickle.dumps(views or [], 2),
            "tensors": pickle.dumps(len(tensors), 2) + b"".join(tensors),
        }
    )


def storage_bytes(value: torch.Tensor) -> bytes:
    return torch.empty(0, dtype=torch.uint8).set_(value.untyped_storage()).numpy().tobytes()


def made(tensors: dict[str, torch.Tensor]) -> bytes:
    """A file of tensors, each with a storage of its own; the pickle refers to them by number."""
    pickled, storages, entries = b"\x80\x02}(", list[bytes](), list[bytes]()
    for key, (name, value) in enumerate(tensors.items()):
        kind, data = KINDS[value.dtype], storage_bytes(value)
        storages.append(storage(key, kind, len(data) // value.itemsize, data))
        entries.append(
            tensor(100_000 + key, key, kind, tuple(value.shape), value.stride(), int(value.storage_offset()))
        )
        pickled += text(name) + text(str(100_000 + key)) + b"Q"
    return checkpoint(pickled + b"u.", storages, entries)


def shortened(data: bytes) -> bytes:
    """The archive without most of the empty blocks that `tarfile` puts behind it."""
    data = data.rstrip(b"\0")
    return data + bytes(-len(data) % 512 + 1024)


class TestContract(FormatContract):
    format = "torch tar"
    padding = 2048

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return shortened(made(tensors))

    def boundaries(self, data: bytes) -> list[int]:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return [entry.offset_data for entry in archive][1:]


ONE = storage(1, b"Short", 3, b"\x01\x00\x02\x00\x03\x00")
VIEW = tensor(7, 1, b"Short", (2,), (1,), 1)
BY_HAND = checkpoint(b"\x80\x02}X\x01\x00\x00\x00wX\x01\x00\x00\x007Qs.", [ONE], [VIEW])


def test_a_file_by_hand(tmp_path: Path) -> None:
    assert BY_HAND[257:262] == b"ustar"
    expected = loaded(BY_HAND, tmp_path)
    assert torch.equal(expected["w"], torch.tensor([2, 3], dtype=torch.int16)), "torch agrees"
    index = index_of(BY_HAND)
    assert_same_tensors(index, expected)
    assert index.tensors["w"].storage is not None
    assert index.tensors["w"].storage.size == 6


@pytest.mark.parametrize("dtype", KINDS, ids=str)
def test_torch_reads_the_same(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {"matrix": torch.arange(12).to(dtype).reshape(3, 4).t(), "part": torch.arange(9).to(dtype)[2:7:2]}
    data = made(tensors)
    assert_same_tensors(index_of(data), loaded(data, tmp_path))
    assert_same_tensors(index_of(data), tensors)


def test_views_of_storages(tmp_path: Path) -> None:
    entries = [tensor(7, 2, b"Short", (2,), (1,), 0)]
    data = checkpoint(b"\x80\x02}X\x01\x00\x00\x00wX\x01\x00\x00\x007Qs.", [ONE], entries, [(2, 1, 1, 2)])
    assert loaded(data, tmp_path)["w"].tolist() == [2, 3], "torch agrees"
    assert_same_tensors(index_of(data), loaded(data, tmp_path))


def test_a_whole_model_refers_to_its_class_and_the_source_of_it() -> None:
    kind = b"(ctorch.nn.modules.linear\nLinear\n" + text("a.py") + text("class Linear") + b"tQ"
    state = b"}(" + text("_parameters") + b"}" + text("weight")
    state += b"ctorch.nn.parameter\nParameter\n" + text("7") + b"Q\x88\x86Rs"
    state += text("_buffers") + b"}" + text("_modules") + b"}u"
    index = index_of(checkpoint(b"\x80\x02" + kind + b")\x81" + state + b"b.", [ONE], [VIEW]))
    assert index.modules[""].kind == "Linear"
    assert index.modules[""].parameters == ("weight",)
    assert index.tensors["weight"].requires_grad


def changed(**members: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(BY_HAND)) as archive:
        kept = {entry.name: (archive.extractfile(entry) or io.BytesIO()).read() for entry in archive}
    return tar({name: data for name, data in (kept | members).items() if data})


EMPTY = pickle.dumps(0, 2)
ONCE = pickle.dumps(1, 2)
DAMAGED: dict[str, tuple[bytes, str]] = {
    "another tar": (tar({"a.txt": b"1", "b": b"2"}), r"holds a\.txt, b, and no `pickle`"),
    "an empty tar": (tar({"": b""}), "no `pickle`"),
    "no tensors": (changed(tensors=b""), "no `tensors`"),
    "a count that is none": (changed(storages=pickle.dumps("x", 2)), "no count"),
    "a count beyond the file": (changed(storages=pickle.dumps(1 << 40, 2)), "no count"),
    "a storage of no class": (changed(storages=ONCE + pickle.dumps((1, "cpu", None), 2)), "contradict"),
    "a storage of no number": (changed(storages=ONCE + pickle.dumps((None, "cpu", None), 2)), "follows no description"),
    "a storage of two fields": (changed(storages=ONCE + pickle.dumps((1, 2), 2)), "follows no description"),
    "a storage beyond the file": (changed(storages=ONCE + storage(1, b"Short", 1 << 50, b"")), "truncated"),
    "views of nothing": (changed(storages=EMPTY + pickle.dumps([(1, 2, 3, 4)], 2)), "contradict"),
    "views of two fields": (changed(storages=EMPTY + pickle.dumps([(1, 2)], 2)), "contradict"),
    "a view of no size": (changed(storages=ONCE + ONE + pickle.dumps([(2, 1, 0.5, "x")], 2)), "contradict"),
    "a tensor in no storage": (changed(tensors=ONCE + tensor(7, 9, b"Short", (), (), 0)), "in no storage"),
    "a tensor of a negative size": (changed(tensors=ONCE + tensor(7, 1, b"Short", (-1,), (1,), 0)), "does not fit"),
    "a tensor before its storage": (changed(tensors=ONCE + tensor(7, 1, b"Short", (1,), (1,), -9)), "reaches|ends"),
    "a tensor of many dimensions": (
        changed(tensors=ONCE + VIEW[:-32] + b"\xff\xff\xff\x7f" + VIEW[-28:]),
        "dimensions",
    ),
    "a header that is none": (BY_HAND[:124] + b"x" * 12 + BY_HAND[136:], "no header of a tar"),
}


@pytest.mark.parametrize(("data", "text"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_told_in_one_line(data: bytes, text: str) -> None:
    with pytest.raises(FormatError, match=rf"^net\.pt: .*({text})") as caught:
        index_of(data, "torch tar")
    assert len(str(caught.value).splitlines()) == 1


def test_a_number_that_nothing_has_is_opaque() -> None:
    module = index_of(changed(pickle=b"\x80\x02X\x02\x00\x00\x0099Q.")).modules[""]
    assert (module.class_name, module.attributes) == ("persistent_load", {"0": "99"})


def test_small_files_need_no_padding() -> None:
    data = made(SMALL)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        last = archive.getmembers()[-1]
    assert_same_tensors(index_of(data[: last.offset_data + last.size]), SMALL)
