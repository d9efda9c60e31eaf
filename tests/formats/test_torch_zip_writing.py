"""PyTorch's zip archives as they are written: `torch.load(weights_only=True)` finds the same, bit for bit."""

import io
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.parameter import UninitializedParameter
from torch.utils.serialization import config

from statedict.dtypes import DTYPES, dtype
from statedict.errors import StatedictError
from statedict.formats import torch_zip
from statedict.index import Encoding, Index, ModuleInfo, TensorInfo
from statedict.plan import Plan
from statedict.source import BytesSource, Extent
from statedict.tree.build import build
from statedict.tree.flat import flatten
from tests.formats.contract import NAMES, ODD_NAMES
from tests.formats.stored import assert_same_tensors, bits, index_of, saved
from tests.written import bytes_of_plan

DATA = BytesSource(bytes(range(256)), "data")
TORCH_DTYPES = {name: value for name in DTYPES if isinstance(value := getattr(torch, name, None), torch.dtype)}
STORED = {name: value for name, value in TORCH_DTYPES.items() if not DTYPES[name].quantized}
SAVED_BY_TORCH = {
    name: value
    for name, value in STORED.items()
    if not name.removeprefix("u").removeprefix("int").isdecimal() or int(name.removeprefix("u")[3:]) >= 8
}
"""The types of 1 to 7 bits have no storages yet that PyTorch could save."""


def loaded(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


def written(value: Any) -> Plan:
    """The plan for what torch saved, by way of the tree."""
    return torch_zip.write(flatten(build(index_of(saved(value)))))


def rewritten(value: Any) -> Any:
    """What torch loads of what is written for what it saved, which is the same with and without the tree between."""
    index = index_of(saved(value))
    data = bytes_of_plan(torch_zip.write(index))
    assert bytes_of_plan(torch_zip.write(flatten(build(index)))) == data
    assert bytes_of_plan(torch_zip.write(index_of(data))) == data, "what is written is read and written alike"
    return loaded(data)


def pickle_of(data: bytes) -> list[Any]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [argument for _, argument, _ in pickletools.genops(archive.read("archive/data.pkl"))]


def assert_equal(found: Any, expected: Any) -> None:
    """The same types, keys in the same order, and tensors of the same type, shape and bits."""
    if isinstance(expected, torch.Tensor):
        assert type(found) is torch.Tensor
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert bits(found) == bits(expected)
        assert not found.requires_grad
    elif isinstance(expected, dict):
        assert type(found) is type(expected)
        assert list(found) == list(expected)
        assert getattr(found, "_metadata", None) == getattr(expected, "_metadata", None)
        for key, held in expected.items():
            assert_equal(found[key], held)
    elif isinstance(expected, list | tuple):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == expected
        assert type(found) is type(expected)


# The archive


def test_the_members_are_torchs_in_its_order(tmp_path: Path) -> None:
    value = {"a": torch.ones(3), "b": torch.arange(2)}
    data = bytes_of_plan(written(value))
    (tmp_path / "archive.pt").write_bytes(data)
    torch.save(value, tmp_path / "theirs.pt")
    with zipfile.ZipFile(tmp_path / "archive.pt") as ours, zipfile.ZipFile(tmp_path / "theirs.pt") as theirs:
        assert ours.testzip() is None
        names = [name.removeprefix("theirs/") for name in theirs.namelist()]
        names.remove(".format_version")
        assert [name.removeprefix("archive/") for name in ours.namelist()] == names
        for name in set(names) - {"data.pkl", ".data/serialization_id"}:
            assert ours.read(f"archive/{name}") == theirs.read(f"theirs/{name}"), name
        assert len(ours.read("archive/.data/serialization_id")) == len(theirs.read("theirs/.data/serialization_id"))
    for info in index_of(data).tensors.values():
        assert info.extent is not None
        assert info.extent.source.located(info.extent.offset)[1] % 64 == 0


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("reckon", [False, True])
def test_torch_finds_the_storages_however_it_looks(tmp_path: Path, mmap: bool, reckon: bool) -> None:
    value = {f"w{number}": torch.full((number + 1,), float(number)) for number in range(20)}
    (tmp_path / "net.pt").write_bytes(bytes_of_plan(written(value)))
    with config.patch("load.calculate_storage_offsets", reckon):  # type: ignore[attr-defined]
        assert_equal(torch.load(tmp_path / "net.pt", weights_only=True, mmap=mmap), value)
    meta = torch.load(tmp_path / "net.pt", weights_only=True, map_location="meta")
    data = (tmp_path / "net.pt").read_bytes()
    for name, tensor in value.items():
        start = meta[name].untyped_storage()._checkpoint_offset
        assert data[start : start + 4 * tensor.numel()] == bits(tensor)


# Tensors


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("name", SAVED_BY_TORCH)
def test_every_dtype_is_written_as_torch_writes_it(name: str) -> None:
    raw = torch.arange(48, dtype=torch.uint8) % 2 if name == "bool" else torch.arange(48, dtype=torch.uint8) * 5
    value = {"w": raw.view(TORCH_DTYPES[name])}
    found = rewritten(value)
    assert found["w"].dtype is value["w"].dtype
    assert bits(found["w"]) == bits(value["w"])
    texts = [
        {argument for argument in pickle_of(data) if isinstance(argument, str)}
        for data in (bytes_of_plan(written(value)), saved(value))
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", sorted(STORED.keys() - SAVED_BY_TORCH.keys()))
def test_dtypes_of_few_bits_are_written_though_torch_cannot(name: str) -> None:
    index = one(TensorInfo("w", dtype(name), (4,), Extent(DATA, 3, 4)))
    found = loaded(bytes_of_plan(torch_zip.write(index)))["w"]
    assert found.dtype is TORCH_DTYPES[name]
    assert bytes(found.untyped_storage()) == bytes([3, 4, 5, 6])


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.tuples(
            st.sampled_from([torch.float32, torch.bfloat16, torch.int8, torch.complex64, torch.uint16]),
            st.lists(st.integers(0, 3), max_size=3),
            st.integers(0, 2**32),
        ),
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_dict_of_tensors_survives(described: dict[str, Any]) -> None:
    value: dict[str, torch.Tensor] = {}
    for name, (kind, shape, seed) in described.items():
        numel = torch.Size(shape).numel()
        raw = torch.randint(0, 256, (numel * kind.itemsize,), generator=torch.manual_seed(seed), dtype=torch.uint8)
        value[name] = raw.view(kind).reshape(shape)
    data = bytes_of_plan(torch_zip.write(index_of(saved(value))))
    assert_equal(loaded(data), value)
    assert_same_tensors(index_of(data), value)
    assert bytes_of_plan(torch_zip.write(index_of(data))) == data


@pytest.mark.parametrize("names", [NAMES, ODD_NAMES], ids=["unicode", "odd"])
def test_names_are_kept_as_they_are(names: list[str]) -> None:
    value = {name: torch.full((2,), float(number)) for number, name in enumerate(names)}
    assert_equal(loaded(bytes_of_plan(torch_zip.write(index_of(saved(value))))), value)


def test_odd_bits_scalars_and_nothing_survive() -> None:
    nan = torch.tensor([0x7FC00001, 0x7F800001, -(2**31)], dtype=torch.int32).view(torch.float32)
    value = {"nan": nan, "scalar": torch.tensor(3.5), "none": torch.empty(0, 3), "column": torch.empty(3, 0).long()}
    assert_equal(rewritten(value), value)
    assert_equal(rewritten({}), {})


def test_tied_tensors_are_stored_once_and_stay_tied() -> None:
    weight = torch.ones(1000)
    value = {"a": weight, "b": weight, "c": weight.clone()}
    found = rewritten(value)
    assert found["a"].data_ptr() == found["b"].data_ptr() != found["c"].data_ptr()
    assert len(bytes_of_plan(written(value))) < 10_000


def test_views_of_one_storage_share_it() -> None:
    whole = torch.arange(24.0)
    value = {"all": whole, "rows": whole.view(4, 6)[1:3], "turned": whole.view(4, 6).T, "last": whole[20:]}
    found = rewritten(value)
    assert_equal(found, value)
    assert len({tensor.untyped_storage().data_ptr() for tensor in found.values()}) == 1
    assert found["turned"].stride() == (1, 6)


def test_what_nobody_shows_of_a_storage_is_not_written() -> None:
    whole = torch.arange(10_000.0)
    value = {"a": whole[:10], "b": whole[5000:5010]}
    found = rewritten(value)
    assert_equal(found, value)
    assert found["a"].untyped_storage().nbytes() == 40


def test_the_weights_of_an_lstm_that_lie_in_a_row() -> None:
    flat = torch.arange(12.0)
    value = {"weight_ih": flat[:8].view(4, 2), "bias": flat[8:]}
    assert_equal(rewritten(value), value)


def test_one_storage_seen_as_two_types() -> None:
    """Which PyTorch itself refuses to save."""
    extent = Extent(DATA, 64, 32)
    index = Index(
        "memory",
        DATA,
        {
            "floats": TensorInfo("floats", DTYPES["float32"], (8,), extent),
            "bytes": TensorInfo("bytes", DTYPES["uint8"], (32,), extent),
            "halves": TensorInfo("halves", DTYPES["float16"], (2,), Extent(DATA, 68, 4)),
            "odd": TensorInfo("odd", DTYPES["float16"], (2,), Extent(DATA, 101, 4)),
            "even": TensorInfo("even", DTYPES["float16"], (2,), Extent(DATA, 100, 4)),
        },
    )
    found = loaded(bytes_of_plan(torch_zip.write(index)))
    assert found["floats"].dtype is torch.float32
    assert found["bytes"].data_ptr() == found["floats"].data_ptr() == found["halves"].data_ptr() - 4
    for name, info in index.tensors.items():
        assert info.extent is not None
        assert bits(found[name]) == info.extent.read()


def test_lazy_bits_of_complex_numbers() -> None:
    value = {"conj": torch.tensor([1 + 2j, 3 - 4j]).conj(), "neg": torch.tensor([1 + 2j, 3 - 4j]).conj().imag}
    found = rewritten(value)
    assert all(torch.equal(found[name], value[name]) for name in value)
    assert (found["conj"].is_conj(), found["neg"].is_neg()) == (True, True)


SPECIAL: dict[str, Callable[[], torch.Tensor]] = {
    "meta": lambda: torch.empty(2, 3, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse, with repeated places": lambda: torch.sparse_coo_tensor(
        torch.tensor([[0, 0]]), torch.ones(2), (2,), check_invariants=True
    ),
    "sparse rows": lambda: torch.eye(3).to_sparse_csr(),
    "sparse blocks": lambda: torch.eye(4).to_sparse_bsc((2, 2)),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "quantised": lambda: torch.quantize_per_tensor(torch.arange(6.0).view(2, 3), 0.5, 1, torch.qint8),
    "quantised by channel": lambda: torch.quantize_per_channel(
        torch.ones(2, 3), torch.tensor([0.5, 0.25]), torch.tensor([1, 2]), 0, torch.quint8
    ),
    "quantised to nibbles": lambda: torch.quantize_per_channel(
        torch.ones(2, 3), torch.tensor([0.5, 0.25]), torch.tensor([1.0, 2.0]), 0, torch.quint4x2
    ),
}


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:.*nested tensors is in prototype", "ignore:.*quantized tensor")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # by torch itself, as it builds quantised ones
@pytest.mark.parametrize("case", SPECIAL)
def test_what_only_torch_holds(case: str) -> None:
    value = SPECIAL[case]()
    found = rewritten({"w": value, "again": value})
    assert repr(found["w"]) == repr(value)
    assert found["again"] is found["w"]


def test_lazy_layers_are_written_and_noted() -> None:
    value = torch.nn.LazyBatchNorm1d().state_dict()
    plan = torch_zip.write(index_of(saved(value)))
    assert len(plan.notes) == 1
    assert "`weight`" in plan.notes[0]
    assert "weights_only=False" in plan.notes[0]
    found = torch.load(io.BytesIO(bytes_of_plan(plan)), weights_only=False)
    layer = torch.nn.LazyBatchNorm1d()
    assert layer.load_state_dict(found).missing_keys == []
    assert isinstance(layer.weight, UninitializedParameter)


def one(info: TensorInfo) -> Index:
    return Index("memory", DATA, {"w": info}, {"": ModuleInfo(container="dict")})


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (TensorInfo("w", DTYPES["q4_k"], (256,), Extent(DATA, 0, 144)), "is q4_k, a type that PyTorch does not have"),
        (TensorInfo("w", DTYPES["f4"], (2,), Extent(DATA, 0, 1)), "is f4, a type that PyTorch does not have"),
        (TensorInfo("w", DTYPES["float32"], (2,), None, encoding=Encoding(kind="x.DTensor")), "is x.DTensor"),
        (TensorInfo("w", DTYPES["float32"], (), None, encoding=Encoding(layout="jagged")), "has the layout jagged"),
        (TensorInfo("w", DTYPES["float32"], (1,), Extent(DATA, 0, 4), encoding=Encoding("big")), "big end first"),
        (TensorInfo("w", DTYPES["qint8"], (2,), Extent(DATA, 0, 2), encoding=Encoding()), "lacks its quantiser"),
    ],
)
def test_what_torch_has_no_form_for_is_refused(info: TensorInfo, said: str) -> None:
    with pytest.raises(StatedictError, match=r"^tensor `w` ") as caught:
        torch_zip.write(one(info))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
