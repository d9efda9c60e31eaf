"""GGUF: a file by hand, files of every version and byte order, then files by the reference library."""

import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, quants
from gguf.constants import GGML_QUANT_SIZES

import statedict as sd
from statedict.dtypes import DTYPES
from statedict.errors import FormatError, LimitError, MissingExtraError, StatedictError
from statedict.formats.gguf import TYPES
from statedict.limits import Limits
from statedict.ops.find import first_values
from statedict.source import FileSource
from statedict.tree.reading import read
from tests.formats.contract import FormatContract
from tests.formats.gguf_files import packed, written
from tests.formats.stored import CountingSource, elements, index_of

BY_HAND = (
    b"GGUF\x03\x00\x00\x00"
    b"\x02\x00\x00\x00\x00\x00\x00\x00"  # two tensors
    b"\x02\x00\x00\x00\x00\x00\x00\x00"  # two pairs of metadata
    b"\x04\x00\x00\x00\x00\x00\x00\x00name\x08\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00me"
    b"\x03\x00\x00\x00\x00\x00\x00\x00ids\x09\x00\x00\x00\x03\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x05\x00\xff\xff"
    b"\x03\x00\x00\x00\x00\x00\x00\x00a.w\x02\x00\x00\x00"  # of two dimensions, the fastest first
    b"\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"
    b"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"  # F16, at the beginning
    b"\x01\x00\x00\x00\x00\x00\x00\x00q\x01\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00"
    b"\x02\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00"  # Q4_0, 32 bytes on
    b"\x00\x00\x00"  # to a multiple of 32
    b"\x00\x3c\x00\xc0" + bytes(28)  # 1.0 and -2.0
    + b"\x00\x3c" + bytes([0x98]) * 16  # a scale of 1.0, codes 8 and 9, which stand for 0 and 1
)  # fmt: skip

BLOCKED = {name: size for name, size in GGML_QUANT_SIZES.items() if size[0] > 1}
DECODED = sorted(set(BLOCKED) & set(quants._type_traits), key=int)


def blocks(kind: GGMLQuantizationType, rows: int = 4, wide: int = 2) -> np.ndarray[Any, Any]:
    size = BLOCKED[kind][1]
    return np.random.default_rng(int(kind)).integers(0, 256, (rows, wide * size), np.uint8)


class TestContract(FormatContract):
    format = "gguf"
    padding = 31

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        kinds = {name: kind for kind, name in TYPES.items()}
        entries = [
            (name, tensor.shape[::-1], kinds[str(tensor.dtype).removeprefix("torch.")], tensor.numpy().tobytes())
            for name, tensor in tensors.items()
        ]
        return packed(3, "<", [("general.architecture", 8, struct.pack("<Q", 5) + b"llama")], entries)


def test_a_file_by_hand() -> None:
    index = index_of(BY_HAND)
    assert index.metadata == {"version": 3, "byteorder": "little"}
    weight, quantized = index.tensors.values()
    assert (str(weight.dtype), weight.shape, elements(weight)) == ("float16", (1, 2), b"\x00\x3c\x00\xc0")
    assert (str(quantized.dtype), quantized.shape, quantized.nbytes) == ("q4_0", (32,), 18)
    np.testing.assert_array_equal(read(quantized), [0.0] * 16 + [1.0] * 16)
    assert {name: info.parameters for name, info in index.modules.items()} == {"": ("q",), "a": ("w",)}
    assert index.modules[""].attributes == {"name": "me", "ids": [5, -1]}


def test_the_table_is_that_of_the_reference() -> None:
    ours = {kind: DTYPES[name] for kind, name in TYPES.items()}
    for kind, (numel, nbytes) in GGML_QUANT_SIZES.items():
        dtype = ours[int(kind)]
        assert (dtype.nbytes(numel), dtype.nbytes(8 * numel)) == (nbytes, 8 * nbytes), kind
        assert dtype.numel(8 * nbytes) == 8 * numel
        if numel > 1:
            assert dtype.name == kind.name.lower()


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_in_every_byte_order(version: int, order: str) -> None:
    size = "I" if version == 1 else "Q"
    values = np.arange(6, dtype=f"{order}f4").reshape(3, 2)
    array = struct.pack(f"{order}I{size}", 8, 2) + b"".join(
        struct.pack(order + size, len(text)) + text for text in (b"a", b"\xc3\xbc")
    )
    metadata = [("answer", 5, struct.pack(order + "i", -42)), ("texts", 9, array), ("yes", 7, b"\x01")]
    index = index_of(packed(version, order, metadata, [("w", (2, 3), 0, values.tobytes())]))
    assert index.metadata == {"version": version, "byteorder": "little" if order == "<" else "big"}
    assert index.modules[""].attributes == {"answer": -42, "texts": ["a", "ü"], "yes": True}
    np.testing.assert_array_equal(read(index.tensors["w"]), values)


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "int64", "int32", "int16", "int8"])
def test_every_plain_type_by_the_reference(name: str) -> None:
    values = np.arange(-8, 8).reshape(2, 2, 4).astype(name)
    info = index_of(written({"w": values})).tensors["w"]
    assert (str(info.dtype), info.shape) == (name, values.shape)
    np.testing.assert_array_equal(read(info), values)


def test_bfloat16_by_the_reference() -> None:
    values = np.linspace(-3, 3, 64, dtype=np.float32).reshape(2, 32)
    info = index_of(
        written({"w": (quants.quantize(values, GGMLQuantizationType.BF16), GGMLQuantizationType.BF16)})
    ).tensors["w"]
    expected = torch.from_numpy(values).bfloat16()
    assert (str(info.dtype), info.shape, elements(info)) == (
        "bfloat16", (2, 32), expected.view(torch.uint8).numpy().tobytes(),
    )  # fmt: skip


@pytest.mark.parametrize("kind", DECODED, ids=lambda kind: kind.name)
def test_blocks_have_the_values_that_the_reference_gives(kind: GGMLQuantizationType, tmp_path: Path) -> None:
    stored = blocks(kind)
    (tmp_path / "w.gguf").write_bytes(written({"w": (stored, kind)}))
    (info,) = index_of(FileSource(tmp_path / "w.gguf")).tensors.values()
    (reference,) = GGUFReader(tmp_path / "w.gguf").tensors
    assert info.shape == tuple(reversed(reference.shape.tolist())) == (4, 2 * BLOCKED[kind][0])
    assert info.extent is not None
    assert (info.nbytes, info.extent.offset) == (reference.n_bytes, reference.data_offset)
    with np.errstate(all="ignore"):
        expected = quants.dequantize(reference.data, reference.tensor_type)
    np.testing.assert_array_equal(read(info), expected)


@pytest.mark.parametrize("kind", sorted(set(BLOCKED) - set(DECODED), key=int), ids=lambda kind: kind.name)
def test_blocks_of_which_the_reference_gives_no_values(kind: GGMLQuantizationType) -> None:
    info = index_of(written({"w": (blocks(kind), kind)})).tensors["w"]
    assert info.shape == (4, 2 * BLOCKED[kind][0])
    with pytest.raises(TypeError, match="the `gguf` package cannot"):
        read(info)


def test_values_of_many_blocks_are_read_piece_by_piece() -> None:
    values = np.random.default_rng(0).standard_normal((700, 32 * 256), np.float32)
    stored = quants.quantize(values, GGMLQuantizationType.Q8_0)
    info = index_of(written({"w": (stored, GGMLQuantizationType.Q8_0)})).tensors["w"]
    assert info.nbytes > 5 << 20
    np.testing.assert_array_equal(read(info), quants.dequantize(stored, GGMLQuantizationType.Q8_0))


class TestTensor:
    @pytest.fixture
    def tensor(self) -> sd.Tensor:
        kind = GGMLQuantizationType.Q4_0
        return sd.open(written({"layer.weight": (blocks(kind), kind)})).get_parameter("layer.weight")

    def test_is_a_quantised_parameter(self, tensor: sd.Tensor) -> None:
        assert isinstance(tensor, sd.Parameter)
        assert (tensor.is_quantized, tensor.requires_grad, tensor.shape, tensor.nbytes) == (True, False, (4, 64), 144)
        np.testing.assert_array_equal(tensor.dequantize().numpy(), tensor.numpy())
        with pytest.raises(TypeError, match="in blocks"):
            tensor.int_repr()
        with pytest.raises(TypeError, match="has no q4_0"):
            tensor.torch()

    @pytest.mark.parametrize("index", [2, slice(1, 3), (slice(2, 3), ...), (3, slice(32, 64)), (None, 1), slice(2, 2)])
    def test_whole_blocks_can_be_picked(self, tensor: sd.Tensor, index: Any) -> None:
        picked = tensor[index]
        np.testing.assert_array_equal(picked.numpy(), tensor.numpy()[index])
        assert picked.info.extent is not None
        assert picked.info.extent.size == picked.numel() // 32 * 18
        if picked.numel():
            assert picked.storage_offset() == np.arange(256).reshape(4, 64)[index].flat[0]

    @pytest.mark.parametrize("index", [(0, 1), (slice(None), slice(0, 32)), slice(0, 4, 2), (3, slice(16, 48))])
    def test_parts_of_blocks_cannot(self, tensor: sd.Tensor, index: Any) -> None:
        with pytest.raises(TypeError, match=r"no run of whole blocks of 32; use `\.dequantize\(\)"):
            tensor[index]
        np.testing.assert_array_equal(tensor.dequantize()[index].numpy(), tensor.numpy()[index])

    def test_values_read_only_their_blocks(self) -> None:
        source = CountingSource(written({"w": (blocks(GGMLQuantizationType.Q8_0, 512, 8), GGMLQuantizationType.Q8_0)}))
        tensor = sd.Tensor(index_of(source).tensors["w"])
        before = source.read_bytes
        row = tensor.dequantize()[100, 30:40]
        assert source.read_bytes == before
        np.testing.assert_array_equal(row.numpy(), tensor.numpy()[100, 30:40])
        assert source.read_bytes == before + 2 * 34 + tensor.nbytes
        extent = pickle.loads(pickle.dumps(row.info.extent))
        assert extent.read() == row.numpy().tobytes()

    def test_its_first_values_are_shown(self, tensor: sd.Tensor) -> None:
        np.testing.assert_array_equal(first_values(tensor), tensor.numpy()[0, :8])

    def test_without_the_library_the_error_says_what_to_install(
        self, tensor: sd.Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "gguf", None)
        with pytest.raises(MissingExtraError, match=r"`pip install 'statedict\[gguf\]'`"):
            tensor.numpy()


def test_big_endian_blocks_have_a_shape_but_no_values() -> None:
    info = index_of(packed(3, ">", [], [("w", (32,), 2, bytes(18))])).tensors["w"]
    assert (info.shape, info.nbytes) == ((32,), 18)
    with pytest.raises(TypeError, match="gguf-convert-endian"):
        read(info)


# Damage

HUGE = 2**63
REFUSED = {
    "a version of the future": packed(4, "<", [], []),
    "no version": b"GGUF\x00\x00\x00\x00" + bytes(16),
    "more tensors than bytes": b"GGUF\x03\x00\x00\x00" + struct.pack("<QQ", HUGE, 0),
    "more metadata than bytes": b"GGUF\x03\x00\x00\x00" + struct.pack("<QQ", 0, HUGE),
    "a name longer than the file": b"GGUF\x03\x00\x00\x00" + struct.pack("<QQQ", 1, 0, HUGE),
    "metadata of an unknown type": packed(3, "<", [("a", 13, b"")], []),
    "an array of an unknown type": packed(3, "<", [("a", 9, struct.pack("<IQ", 77, 0))], []),
    "an array of too many numbers": packed(3, "<", [("a", 9, struct.pack("<IQ", 0, HUGE))], []),
    "an array of too many texts": packed(3, "<", [("a", 9, struct.pack("<IQ", 8, HUGE))], []),
    "a text in an array longer than the file": packed(3, "<", [("a", 9, struct.pack("<IQQ", 8, 2, HUGE + 5))], []),
    "an array of too many arrays": packed(3, "<", [("a", 9, struct.pack("<IQ", 9, HUGE))], []),
    "a tensor of an unknown type": packed(3, "<", [], [("w", (1,), 4, b"")]),
    "a tensor of too many dimensions": packed(3, "<", [], [("w", (1,) * 65, 0, bytes(4))]),
    "a tensor of impossible size": packed(3, "<", [], [("w", (HUGE, HUGE), 0, b"")]),
    "a tensor beyond the file": packed(3, "<", [], [("w", (9,), 0, bytes(4))]),
    "a row that is no block": packed(3, "<", [], [("w", (16, 2), 2, bytes(18))]),
    "a number in blocks": packed(3, "<", [], [("w", (), 2, bytes(18))]),
    "a name twice": packed(3, "<", [], [("w", (1,), 0, bytes(4)), ("w", (1,), 0, bytes(4))]),
    "an alignment that is a text": packed(3, "<", [("general.alignment", 8, struct.pack("<Q", 0))], []),
    "a negative number of a split": packed(3, "<", [("split.no", 5, struct.pack("<i", -1))], []),
    "a split in memory": packed(3, "<", [("split.count", 2, struct.pack("<H", 2))], []),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_contradicts_itself_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"^net\.pt: ") as caught:
        index_of(data)
    assert type(caught.value) is FormatError
    assert len(str(caught.value).splitlines()) == 1


def test_a_long_header_meets_a_limit() -> None:
    data = packed(3, "<", [(f"key {number}", 5, bytes(4)) for number in range(5000)], [])
    with pytest.raises(LimitError, match=r"Limits\.header_bytes"):
        index_of(data, limits=Limits(header_bytes=80_000))


def test_every_prefix_with_metadata_is_refused_or_whole() -> None:
    data = written(
        {"a.w": np.arange(6, dtype=np.float32)}, lambda writer: writer.add_array("texts", ["one", "two", "three"])
    )
    for size in range(4, len(data) - 31):
        with pytest.raises(StatedictError, match=r"^net\.pt: .*truncated"):
            index_of(data[:size])


def test_a_tensor_may_be_aligned_otherwise() -> None:
    assert gguf.GGUF_DEFAULT_ALIGNMENT == 32
    data = written(
        {"a": np.full(3, 1.0, np.float32), "b": np.full(3, 2.0, np.float32)},
        lambda writer: writer.add_custom_alignment(512),
    )
    index = index_of(data)
    assert [info.extent and info.extent.offset % 512 for info in index.tensors.values()] == [0, 0]
    np.testing.assert_array_equal(read(index.tensors["b"]), [2, 2, 2])
