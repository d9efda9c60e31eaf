"""safetensors as we write it: read by the reference library, by transformers and by us."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict.dtypes import DTYPES, SAFETENSORS_DTYPES
from statedict.errors import StatedictError
from statedict.formats.safetensors import write
from statedict.index import Encoding, Index, TensorInfo
from statedict.source import BytesSource, Extent
from tests.formats.contract import NAMES, ODD_NAMES
from tests.formats.stored import bits, index_of
from tests.written import bytes_of_plan, flat, indexes, plain, same_contents

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda name: name != "__metadata__")
TORCH_TYPES = [str(dtype).removeprefix("torch.") for dtype in safetensors.torch._TYPES.values()]
WHOLE_BYTES = [dtype.name for dtype in SAFETENSORS_DTYPES.values() if dtype.bits % 8 == 0]


def written(index: Index) -> bytes:
    return bytes_of_plan(write(index))


def header_of(data: bytes) -> dict[str, Any]:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


@settings(deadline=5000)
@given(indexes(WHOLE_BYTES, names))
def test_what_is_written_is_read_again(index: Index) -> None:
    again = index_of(written(index))
    same_contents(again, index)
    assert again.aliases() == index.aliases()


@settings(deadline=5000)
@given(indexes(TORCH_TYPES, names))
def test_the_reference_finds_the_same(index: Index) -> None:
    found = safetensors.torch.load(written(index))
    aliases = index.aliases()
    assert found.keys() == index.tensors.keys() - aliases.keys()
    for name, tensor in found.items():
        info = index.tensors[name]
        assert info.extent is not None
        assert (str(tensor.dtype), tuple(tensor.shape)) == (f"torch.{info.dtype}", info.shape)
        assert bits(tensor) == info.extent.read()


@settings(deadline=5000)
@given(indexes(WHOLE_BYTES, names))
def test_data_and_tensors_begin_aligned(index: Index) -> None:
    data = written(index)
    assert int.from_bytes(data[:8], "little") % 8 == 0
    for info in index_of(data).tensors.values():
        assert info.extent is not None
        assert info.extent.offset % min(info.dtype.itemsize, 8) == 0


def test_numpy_loads_it() -> None:
    found = safetensors.numpy.load(written(flat({"w": torch.arange(6.0).reshape(2, 3), "none": torch.empty(0, 3)})))
    assert found["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["none"].shape == (0, 3)


@pytest.mark.parametrize("listed", [[], NAMES, ODD_NAMES], ids=["empty", "unicode", "odd"])
def test_names_are_kept_as_they_are(listed: list[str]) -> None:
    data = written(flat({name: torch.full((2,), float(number)) for number, name in enumerate(listed)}))
    assert list(index_of(data).tensors) == listed
    assert sorted(safetensors.torch.load(data)) == sorted(listed)


def test_the_order_is_kept_where_all_is_aligned() -> None:
    tensors = {"z": torch.ones(2), "a": torch.ones(1, dtype=torch.int64), "m": torch.ones(3, dtype=torch.bool)}
    assert list(index_of(written(flat(tensors))).tensors) == ["z", "a", "m"]


def test_larger_elements_come_first_where_not() -> None:
    tensors = {
        "m": torch.ones(3, dtype=torch.bool),
        "z": torch.ones(2),
        "a": torch.ones(1),
        "n": torch.ones(1).double(),
    }
    assert list(index_of(written(flat(tensors))).tensors) == ["n", "z", "a", "m"]


@pytest.mark.parametrize("dtype", ["f4", "f6_e2m3", "f6_e3m2"])
def test_types_of_less_than_a_byte(dtype: str) -> None:
    size = DTYPES[dtype].nbytes(8)
    index = flat({"w": plain("w", dtype, (2, 4), bytes(range(size)))})
    same_contents(index_of(written(index)), index)
    with safetensors.safe_open(_on_disk(index), "np") as opened:
        assert opened.get_slice("w").get_dtype() == dtype.upper()


def _on_disk(index: Index) -> str:
    import tempfile

    path = Path(tempfile.mkdtemp()) / "w.safetensors"
    path.write_bytes(written(index))
    return str(path)


def test_elements_that_do_not_fill_a_byte_are_refused() -> None:
    with pytest.raises(StatedictError, match="tensor `w` is f4, which safetensors cannot hold; cast it"):
        write(flat({"w": plain("w", "f4", (3,), bytes(2))}))


class TestTies:
    def tied(self) -> Index:
        shared = torch.ones(2, 3)
        return flat({"embed.weight": shared, "other": torch.zeros(2), "head.weight": shared, "head.b": shared})

    def test_they_are_written_once_and_said(self) -> None:
        plan = write(self.tied())
        (note,) = plan.notes
        assert note.startswith("tied tensors are written once, which `__metadata__` says: ")
        assert note.endswith("says: `head.weight` is `embed.weight`, `head.b` is `embed.weight`")
        assert header_of(bytes_of_plan(plan))["__metadata__"] == {
            "format": "pt",
            "head.weight": "embed.weight",
            "head.b": "embed.weight",
        }

    def test_they_are_read_as_ties(self) -> None:
        again = index_of(written(self.tied()))
        assert again.aliases() == self.tied().aliases() == {"head.weight": "embed.weight", "head.b": "embed.weight"}
        assert again.metadata == {"format": "pt"}

    def test_what_the_reference_ties_is_read_as_ties(self, tmp_path: Path) -> None:
        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a = torch.nn.Linear(2, 2)
                self.b = torch.nn.Linear(2, 2)
                self.b.weight = self.a.weight

        safetensors.torch.save_model(Net(), str(tmp_path / "net.safetensors"))
        index = index_of((tmp_path / "net.safetensors").read_bytes())
        assert index.tensors["b.weight"] is index.tensors["a.weight"]
        assert index.metadata == {}

        ours = flat({"a.weight": torch.ones(2, 2), "a.bias": torch.ones(2), "b.bias": torch.ones(2)})
        infos = dict(ours.tensors) | {"b.weight": ours.tensors["a.weight"]}
        (tmp_path / "ours.safetensors").write_bytes(written(flat(infos)))
        net = Net()
        assert safetensors.torch.load_model(net, tmp_path / "ours.safetensors") == (set(), [])
        assert net.b.weight.tolist() == [[1, 1], [1, 1]]

    def test_metadata_that_only_look_like_a_tie_are_left_out(self) -> None:
        plan = write(flat({"w": torch.ones(1)}, {"best": "w", "format": "w", "w": "w", "by": "hand"}))
        assert header_of(bytes_of_plan(plan))["__metadata__"] == {"format": "w", "w": "w", "by": "hand"}
        assert len(plan.notes) == 1
        assert plan.notes[0].endswith(": `best`")
        assert index_of(bytes_of_plan(plan)).aliases() == {}

    def test_a_tie_of_the_name_that_transformers_asks_for(self) -> None:
        shared = torch.ones(2)
        again = index_of(written(flat({"w": shared, "format": shared})))
        assert list(again.tensors) == ["w", "format"]
        assert again.metadata == {"format": "pt"}


def test_texts_among_the_metadata_are_kept() -> None:
    plan = write(
        flat({"w": torch.ones(1)}, {"by": "händ", "format": "tf", "version": "7", "epoch": 3, "total_size": 9})
    )
    assert header_of(bytes_of_plan(plan))["__metadata__"] == {"format": "tf", "by": "händ", "version": "7"}
    assert len(plan.notes) == 1
    assert plan.notes[0].endswith(": `epoch`")


def test_how_another_file_was_laid_out_is_not_said() -> None:
    torch_says = {"version": "3", "format_version": "1", "byteorder": "little", "storage_alignment": "64"}
    plan = write(flat({"w": torch.ones(1)}, torch_says))
    assert plan.notes == ()
    assert header_of(bytes_of_plan(plan))["__metadata__"] == {"format": "pt"}


part = plain("w", "int64", (1,), bytes(8))
REFUSED = {
    r"tensor `w` is complex128, which safetensors cannot hold; cast it first, as `--cast 'w=.*` or `--dtype": plain(
        "w", "complex128", (1,), bytes(16)
    ),
    "tensor `w` is qint8, which safetensors cannot hold; dequantise it first": plain("w", "qint8", (1,), bytes(1)),
    "tensor `w` is q4_0, which safetensors cannot hold; cast": plain("w", "q4_0", (32,), bytes(18)),
    "tensor `w` was never initialised": TensorInfo("w", DTYPES["float32"], None, None),
    "tensor `w` is on the meta device": TensorInfo("w", DTYPES["float32"], (2,), None),
    "tensor `w` is sparse_coo, which safetensors cannot hold; drop it, or write a .pt file": TensorInfo(
        "w", DTYPES["float32"], (2,), None, encoding=Encoding(layout="sparse_coo", parts={"indices": part})
    ),
    "tensor `w` is stored big end first": part._replace(encoding=Encoding(byteorder="big")),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_the_format_cannot_hold_is_refused(said: str) -> None:
    with pytest.raises(StatedictError, match=said) as caught:
        write(flat({"w": REFUSED[said]}))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "said"), [("__metadata__", "keeps for itself; rename it"), ("a\ud800", "no Unicode text")]
)
def test_names_that_cannot_be(name: str, said: str) -> None:
    with pytest.raises(StatedictError, match=said):
        write(flat({name: torch.ones(1)}))


def test_a_subclass_is_written_by_its_elements() -> None:
    info = plain("w", "float32", (1,), b"\0\0\x80?")._replace(encoding=Encoding(kind="Int8Params"))
    assert safetensors.torch.load(written(flat({"w": info})))["w"].tolist() == [1.0]


def test_a_header_longer_than_the_reference_reads_is_refused() -> None:
    with pytest.raises(StatedictError, match="100,000,000; write a folder of shards"):
        write(flat({"w": torch.ones(1)}, {"log": "x" * 100_000_000}))


def test_nothing_is_read_while_planning() -> None:
    class Unreadable(BytesSource):
        def readinto_at(self, offset: int, buffer: memoryview) -> None:
            raise AssertionError("not to be read")

    source = Unreadable(bytes(8))
    plan = write(flat({"w": TensorInfo("w", DTYPES["float32"], (2,), Extent(source, 0, 8))}))
    assert plan.pieces[1] == Extent(source, 0, 8)


def test_no_length_of_a_header_is_taken_for_another_format() -> None:
    for size in (*range(16, 1600, 8), 1 << 16, (1 << 16) + 0x280, 0x7D0280):
        data = size.to_bytes(8, "little") + b"{}" + b" " * (size - 2)
        assert index_of(data).format == "safetensors", size
