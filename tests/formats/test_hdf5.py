"""HDF5: files by h5py, whose own reading is the oracle, and one by hand."""

import builtins
import io
import pickle
import struct
from collections.abc import Callable
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
import torch

import statedict as sd
from statedict.errors import FormatError, LimitError, MissingExtraError
from statedict.index import Index
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.tree.reading import read
from tests import real_models
from tests.formats.contract import ODD_NAMES, FormatContract
from tests.formats.stored import CountingSource, elements, index_of


def message(kind: int, data: bytes) -> bytes:
    return struct.pack("<HHB3x", kind, len(data), 0) + data


def header(*messages: bytes) -> bytes:
    body = b"".join(messages)
    return struct.pack("<BxHLL4x", 1, len(messages), 1, len(body)) + body


DATASET = header(
    message(1, b"\1\1\0\0\0\0\0\0" + struct.pack("<Q", 2)),  # a dataspace of one dimension: 2
    message(3, b"\x10\x08\0\0\2\0\0\0\0\0\x10\0\0\0\0\0"),  # a signed integer of 16 bits, little-endian
    message(8, b"\3\1" + struct.pack("<QQ", 96, 4) + bytes(6)),  # contiguous, at byte 96
)
GROUP = header(
    message(6, b"\1\0\1w" + struct.pack("<Q", 176)),  # a link `w` to the object at byte 176
    message(6, b"\1\x08\1\1s\1\0w"),  # a soft link `s` to `w`
)
SUPERBLOCK = b"\x89HDF\r\n\x1a\n\2\x08\x08\0" + struct.pack("<4Q", 0, -1 % (1 << 64), 176 + len(DATASET), 104)
BY_HAND = SUPERBLOCK.ljust(96, b"\0") + b"\2\0\3\0\0\0\0\0" + GROUP.ljust(72, b"\0") + DATASET


def written(fill: Callable[[Any], object], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return buffer.getvalue()


def saved(tensors: dict[str, Any], **options: Any) -> bytes:
    def fill(file: Any) -> None:
        for name, values in tensors.items():
            file.create_dataset(name, data=values, **options)

    return written(fill)


def expected(data: bytes) -> dict[str, Any]:
    """What h5py reads."""
    found: dict[str, Any] = {}
    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(lambda name, held: found.update({name: held[()]}) if isinstance(held, h5py.Dataset) else None)
    return found


def assert_as_h5py(data: bytes) -> Index:
    index = index_of(data)
    theirs = {name.replace("/", "."): values for name, values in expected(data).items()}
    assert set(index.tensors) == set(theirs)
    for name, values in theirs.items():
        ours = read(index.tensors[name])
        assert ours.dtype == values.dtype.newbyteorder("="), name
        assert ours.tobytes() == values.astype(ours.dtype).tobytes(), name
        assert ours.shape == values.shape, name
    return index


class TestContract(FormatContract):
    format = "hdf5"

    def make(self, tensors: dict[str, torch.Tensor]) -> bytes:
        return saved({name: tensor.numpy() for name, tensor in tensors.items()})

    @pytest.mark.parametrize("names", [["layer.weight", "ü.ключ.鍵", "a b\tc", "0", "x" * 300]])
    def test_names_are_kept_as_they_are(self, names: list[str]) -> None:
        """Of the odd ones HDF5 itself has only a few."""
        odd = [name for name in ODD_NAMES if name and "\0" not in name]
        super().test_names_are_kept_as_they_are([*names, *odd])


def test_a_file_by_hand() -> None:
    index = index_of(BY_HAND)
    (info,) = index.tensors.values()
    assert (info.name, str(info.dtype), info.shape) == ("w", "int16", (2,))
    assert info.extent is not None
    assert (info.extent.offset, info.extent.size) == (96, 4)
    assert read(info).tolist() == [2, 3]
    assert repr(index.modules[""].attributes["s"]) == "h5py.SoftLink(path='w')"


CODES = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", CODES)
def test_every_type(code: str, order: str) -> None:
    assert_as_h5py(saved({"w": np.arange(6).reshape(2, 3).astype(order + code), "s": np.ones((), order + code)}))


def test_truth_values_and_bytes_without_a_meaning() -> None:
    index = assert_as_h5py(saved({"flags": np.array([True, False])}))
    assert str(index.tensors["flags"].dtype) == "bool"
    values = np.array([1, 2, -3], ml_dtypes.bfloat16)

    def fill(file: Any) -> None:
        file["plain"] = values.view("V2")
        file["marked"] = values.view("V2")
        file["marked"].attrs["dtype"] = "bfloat16"  # as Keras does

    tensors = index_of(written(fill)).tensors
    assert {name: str(info.dtype) for name, info in tensors.items()} == {"plain": "bits16", "marked": "bfloat16"}
    assert all(elements(info) == values.tobytes() for info in tensors.values())


def float_type(size: int, exponent: int, mantissa: int, bias: int) -> Any:
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(size * 8 - 1, mantissa, exponent, 0, mantissa)
    kind.set_precision(size * 8)
    kind.set_size(size)
    kind.set_ebias(bias)
    return kind


@pytest.mark.parametrize(
    ("name", "fields"),
    [("bfloat16", (2, 8, 7, 127)), ("float8_e4m3fn", (1, 4, 3, 7)), ("float8_e5m2", (1, 5, 2, 15))],
)
def test_small_floats_that_the_file_describes_bit_by_bit(name: str, fields: tuple[int, int, int, int]) -> None:
    def fill(file: Any) -> None:
        kind, space = float_type(*fields), h5py.h5s.create_simple((3,))
        dataset = h5py.h5d.create(file.id, b"w", kind, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1, 2, -3], "f4"))

    (info,) = index_of(written(fill)).tensors.values()
    assert str(info.dtype) == name
    assert read(info).tolist() == [1, 2, -3]


LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": (3, 2)},
    "compressed": {"chunks": (3, 5), "compression": "gzip"},
    "compressed and shuffled": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "resizable": {"maxshape": (None, 5)},
    "lzf": {"compression": "lzf"},
}


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("code", ["<f4", ">i2", "c8", "?"])
def test_datasets_in_chunks_are_read_when_they_are_asked_for(code: str, options: dict[str, Any]) -> None:
    values = np.arange(35).reshape(7, 5).astype(code)
    (info,) = assert_as_h5py(saved({"net/w": values}, **options)).tensors.values()
    assert read(pickle.loads(pickle.dumps(info))).tolist() == values.tolist()
    assert info.extent is not None
    whole = values.tobytes()
    for begin, end in [(0, 1), (3, 33), (len(whole) // 2 - 1, len(whole)), (20, 20), (7, len(whole) - 3)]:
        assert info.extent.source.read_at(begin, end - begin) == whole[begin:end]


def test_of_a_compressed_dataset_nothing_is_read_before() -> None:
    values = np.random.default_rng(0).random((1000, 200))
    source = CountingSource(saved({"w": values}, compression="gzip", chunks=(10, 200)))
    (info,) = index_of(source).tensors.values()
    assert source.size > 1 << 20
    assert source.read_bytes < 20_000
    assert info.extent is not None
    assert info.extent.source.read_at(500 * 1600, 1600) == values[500].tobytes()
    assert source.read_bytes < 300_000


def test_a_dataset_without_storage_and_one_in_its_header() -> None:
    def fill(file: Any) -> None:
        file.create_dataset("unwritten", (2, 3), "f4", fillvalue=7)
        file.create_dataset("none", (0, 3), "f4")
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((2,))
        compact = h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_FLOAT, space, plist)
        compact.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1, 2], "f4"))

    index = assert_as_h5py(written(fill))
    assert index.tensors["compact"].extent is not None


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}, {"libver": ("v108", "v108")}, {"userblock_size": 512}])
def test_every_version_of_the_layout(options: dict[str, Any]) -> None:
    def fill(file: Any) -> None:
        file["a/b/w"] = np.arange(6.0).reshape(2, 3)
        file["a/c"] = np.arange(3)
        file["a"].attrs["units"] = 8
        file["a"].attrs["names"] = ["x", "yy"]
        file.attrs["title"] = "é"

    data = written(fill, **options)
    if "userblock_size" in options:
        data = b"MATLAB 7.3 MAT-file".ljust(512) + data[512:]
    index = assert_as_h5py(data)
    assert dict(index.modules["a"].attributes) == {"units": 8, "names": ["x", "yy"]}
    assert dict(index.modules[""].attributes) == {"title": "é"}


def test_a_group_whose_members_are_kept_densely_is_refused_with_a_remedy() -> None:
    data = written(lambda file: [file.create_dataset(f"w{number}", data=1) for number in range(20)], libver="latest")
    with pytest.raises(FormatError, match="h5repack"):
        index_of(data)


def test_attributes_become_plain_values() -> None:
    values: dict[str, Any] = {
        "int": 3, "float": 2.5, "flag": True, "text": "héllo", "bytes": np.bytes_(b"abc"), "list": [1, 2, 3],
        "texts": ["a", "bc"], "fixed": np.array([b"ab", b"c"]), "matrix": np.eye(2), "complex": 1 + 2j, "empty": [],
    }  # fmt: skip

    def fill(file: Any) -> None:
        file.attrs.update(values)
        file.attrs["nothing"] = h5py.Empty("f4")
        file.attrs["compound"] = np.zeros((), [("a", "f4"), ("b", "i4"), ("c", "i8")])
        file["w"] = 1

    attributes = dict(index_of(written(fill)).modules[""].attributes)
    assert isinstance(attributes.pop("compound"), Opaque)
    assert attributes.pop("nothing") is None
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in values.items()}
    assert attributes == plain | {"bytes": "abc", "fixed": ["ab", "c"]}


def test_text_and_other_datasets_are_attributes() -> None:
    def fill(file: Any) -> None:
        file["varying"] = "héllo"
        file["fixed"] = np.bytes_(b"abc")
        file["many"] = ["a", "b"]
        file["table"] = np.zeros(3, [("a", "f4"), ("b", "i4"), ("c", "f8")])
        file["null"] = h5py.Empty("f4")

    index = index_of(written(fill))
    attributes = dict(index.modules[""].attributes)
    assert not index.tensors
    assert (attributes.pop("varying"), attributes.pop("fixed")) == ("héllo", "abc")
    assert {name: value.kwargs["shape"] for name, value in attributes.items()} == {
        "many": (2,), "table": (3,), "null": None,
    }  # fmt: skip


def test_what_is_elsewhere_is_described_and_never_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(16))

    def fill(file: Any) -> None:
        file.create_dataset("external", (4,), "f4", external=[(str(secret), 0, 16)])
        file["link"] = h5py.ExternalLink(str(secret), "/w")
        file["soft"] = h5py.SoftLink("/w")
        file["w"] = np.ones(2)
        layout = h5py.VirtualLayout((2,), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "w", (2,))
        file.create_virtual_dataset("virtual", layout)

    data = written(fill)
    monkeypatch.setattr(builtins, "open", None)
    index = index_of(data)
    assert list(index.tensors) == ["w"]
    described = {name: repr(value) for name, value in index.modules[""].attributes.items()}
    assert described["soft"] == "h5py.SoftLink(path='/w')"
    assert described["external"] == "h5py.Dataset(shape=(4,), storage='external')"
    assert described["virtual"] == "h5py.Dataset(shape=(2,), storage='virtual')"
    assert str(secret) in described["link"]


def test_two_names_of_one_object_are_one() -> None:
    def fill(file: Any) -> None:
        file["a/w"] = np.ones(2)
        file["tied"] = file["a/w"]
        file["b"] = file["a"]
        file["a/loop"] = file["a"]

    index = index_of(written(fill))
    assert index.tensors["tied"] is index.tensors["a.w"]
    assert index.modules["b"] is index.modules["a"] is index.modules["a.loop"]
    tree = sd.open(written(fill))
    assert tree.get_submodule("b") is tree.get_submodule("a")


def test_order_is_that_of_writing() -> None:
    names = [f"layers/{name}/{local}" for name in ("stem", "conv2", "conv10", "bn", "a") for local in ("w", "b")]
    index = index_of(saved({name: np.ones(3) for name in names}))
    assert list(index.tensors) == [name.replace("/", ".") for name in names]


def test_many_members_of_one_group() -> None:
    assert_as_h5py(saved({f"w{number}": np.full(2, number) for number in range(2000)}))


def test_a_type_that_has_a_name_of_its_own() -> None:
    def fill(file: Any) -> None:
        file["kind"] = np.dtype("i2")
        file.create_dataset("w", data=np.arange(3), dtype=file["kind"])

    (info,) = index_of(written(fill)).tensors.values()
    assert (str(info.dtype), read(info).tolist()) == ("int16", [0, 1, 2])


def test_groups_nested_too_deep_are_refused() -> None:
    data = written(lambda file: file.create_group("g/" * 300).create_dataset("w", data=1))
    with pytest.raises(LimitError, match=r"^net\.pt: .* nested more than 200 deep"):
        index_of(data)


def test_a_description_without_end_is_refused() -> None:
    endless = header(message(0x10, struct.pack("<QQ", 104 + 16, 24)))  # a header that goes on with itself
    data = SUPERBLOCK.ljust(104, b"\0") + endless + DATASET.ljust(300, b"\0")
    with pytest.raises(LimitError, match="one without end"):
        index_of(data, limits=Limits(header_bytes=10_000))


def test_a_dataset_of_an_enormous_shape_costs_nothing_until_it_is_read() -> None:
    data = written(lambda file: file.create_dataset("w", (1 << 40,), "f4", chunks=(1 << 10,)))
    (info,) = index_of(data).tensors.values()
    assert info.nbytes == 1 << 42


def test_without_h5py_only_values_in_chunks_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, chunked = saved({"w": np.ones(3)}), saved({"w": np.ones(3)}, chunks=(2,))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    assert read(index_of(plain).tensors["w"]).tolist() == [1, 1, 1]
    with pytest.raises(MissingExtraError, match=r"pip install 'statedict\[hdf5\]'"):
        read(index_of(chunked).tensors["w"])


def test_damaged_chunks_are_told_in_one_line() -> None:
    data = bytearray(saved({"w": np.random.default_rng(0).random((100, 100))}, compression="gzip"))
    data[-40_000:] = bytes(40_000)
    with pytest.raises(FormatError, match="cannot be read as HDF5") as caught:
        read(index_of(bytes(data)).tensors["w"])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.real
def test_a_real_keras_2_file() -> None:
    path = real_models.fetch("spliceai1_keras205.h5")
    model = sd.open(path)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    theirs = expected(path.read_bytes())
    assert len(tensors) == len(theirs) == real_models.listed()["spliceai1_keras205.h5"].tensors
    for name, values in theirs.items():
        _, layer, _, weight = name.split("/")
        ours = tensors[f"model_weights.{layer}.{weight.removesuffix(':0')}"]
        assert np.array_equal(ours.numpy(), values), name
    top = model.get_submodule("model_weights")
    assert top.kind == "Model"
    first = [(name, child.kind) for name, child in top.named_children()][:4]
    assert first == [
        ("input_1", "InputLayer"), ("conv1d_1", "Conv1D"), ("batch_normalization_1", "BatchNormalization"),
        ("activation_1", "Activation"),
    ]  # fmt: skip
    assert top.get_submodule("conv1d_1").filters == 32
    assert [name for name, _ in top.get_submodule("batch_normalization_1").named_buffers()] == [
        "moving_mean", "moving_variance",
    ]  # fmt: skip
