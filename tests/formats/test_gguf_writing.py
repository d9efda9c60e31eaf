"""GGUF as we write it: read by the reference library and by us."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType
from hypothesis import given, settings
from hypothesis import strategies as st

from statedict.dtypes import DTYPES
from statedict.errors import StatedictError
from statedict.formats.gguf import TYPES, GGUFArray, write
from statedict.index import Index
from tests.formats.stored import index_of
from tests.formats.test_gguf import BY_HAND, packed
from tests.written import bytes_of_plan, flat, indexes, plain, same_contents

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=15)
PLAIN = [name for name in TYPES.values() if not DTYPES[name].block_bytes]
ARCHITECTURE = {"general.architecture": "llama"}


def written(index: Index) -> bytes:
    return bytes_of_plan(write(index))


def read_by_reference(data: bytes, folder: Path) -> GGUFReader:
    (folder / "net.gguf").write_bytes(data)
    return GGUFReader(folder / "net.gguf")


@settings(deadline=5000)
@given(indexes(PLAIN, names))
def test_what_is_written_is_read_again(index: Index) -> None:
    again = index_of(written(index))
    once = flat({name: info for name, info in index.tensors.items() if name not in index.aliases()})
    same_contents(again, once)
    assert list(again.tensors) == list(once.tensors)


@pytest.mark.parametrize("kind", sorted(TYPES.keys() & set(GGMLQuantizationType)))
def test_the_reference_finds_each_type(kind: int, tmp_path: Path) -> None:
    dtype = DTYPES[TYPES[kind]]
    shape = (2, 3, 2 * dtype.block_numel)
    data = np.random.default_rng(kind).integers(0, 256, dtype.nbytes(2 * 3 * 2 * dtype.block_numel), np.uint8).tobytes()
    index = flat({"blk.0.w": plain("blk.0.w", dtype.name, shape, data)}, ARCHITECTURE)
    same_contents(index_of(written(index)), index)
    (tensor,) = read_by_reference(written(index), tmp_path).tensors
    assert (tensor.name, int(tensor.tensor_type)) == ("blk.0.w", kind)
    assert tuple(tensor.shape.tolist()) == shape[::-1]
    assert tensor.data.tobytes() == data


def test_several_tensors_begin_aligned(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(3), "none": torch.empty(0, 4), "scalar": torch.tensor(2.0), "b": torch.ones(2, 2).half()}
    data = written(flat(tensors, {**ARCHITECTURE, "general.alignment": 64}))
    assert len(data) % 64 == 0
    for info in index_of(data).tensors.values():
        assert info.extent is not None
        assert info.extent.offset % 64 == 0
    found = {tensor.name: tensor for tensor in read_by_reference(data, tmp_path).tensors}
    assert {name: tensor.data.tolist() for name, tensor in found.items() if name != "scalar"} == {
        "a": [1, 1, 1], "none": [], "b": [[1, 1], [1, 1]]
    }  # fmt: skip
    assert found["scalar"].data.reshape(-1).tolist() == [2]


VALUES: dict[str, tuple[Any, GGUFValueType]] = {
    "general.architecture": ("llama", GGUFValueType.STRING),
    "ünicode": ("ключ\n", GGUFValueType.STRING),
    "llama.block_count": (32, GGUFValueType.UINT32),
    "negative": (-3, GGUFValueType.INT32),
    "large": (1 << 40, GGUFValueType.UINT64),
    "very.negative": (-(1 << 40), GGUFValueType.INT64),
    "epsilon": (0.5, GGUFValueType.FLOAT32),
    "huge": (1e300, GGUFValueType.FLOAT64),
    "yes": (True, GGUFValueType.BOOL),
}
ARRAYS: dict[str, tuple[Any, GGUFValueType]] = {
    "tokens": (["a", "", "鍵"], GGUFValueType.STRING),
    "ids": ([1, -2], GGUFValueType.INT32),
    "long": ([1 << 40], GGUFValueType.INT64),
    "unsigned": ([1 << 63], GGUFValueType.UINT64),
    "scores": ([0.5, 1], GGUFValueType.FLOAT32),
    "double": ([1e300], GGUFValueType.FLOAT64),
    "flags": ([True, False], GGUFValueType.BOOL),
    "pair": ((1, 2), GGUFValueType.INT32),
}


def test_python_values_get_their_usual_types(tmp_path: Path) -> None:
    plan = write(flat({}, {name: value for name, (value, _) in {**VALUES, **ARRAYS}.items()}))
    assert plan.notes == ()
    fields = read_by_reference(bytes_of_plan(plan), tmp_path).fields
    for name, (value, kind) in VALUES.items():
        assert fields[name].types == [kind], name
        assert fields[name].contents() == value, name
    for name, (value, kind) in ARRAYS.items():
        assert fields[name].types == [GGUFValueType.ARRAY, kind], name
        assert fields[name].contents() == list(value), name
    ours = index_of(bytes_of_plan(plan)).modules[""].attributes
    assert ours == {
        name: list(value) if isinstance(value, tuple) else value for name, (value, _) in {**VALUES, **ARRAYS}.items()
    }


def test_what_has_no_type_is_told_to_be_left_out() -> None:
    plan = write(flat({}, {"none": None, "mixed": ["a", 1], "deep": {"a": 1}, "beyond": 1 << 70, "ok": 1}))
    assert plan.notes == (
        "metadata left out, as GGUF has no type for them: `none`, `mixed`, `deep`, …",
        "without `general.architecture` among its metadata llama.cpp will not load the file",
    )
    assert index_of(bytes_of_plan(plan)).modules[""].attributes == {"ok": 1}


def test_a_file_by_hand_is_written_again_byte_for_byte() -> None:
    again = written(index_of(BY_HAND))
    assert again[: len(BY_HAND)] == BY_HAND
    assert again[len(BY_HAND) :] == bytes(-len(BY_HAND) % 32), "the last tensor is padded as the others"


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


TYPED = [
    ("general.architecture", 8, text("llama")),
    ("u8", 0, b"\x07"), ("i8", 1, b"\xf9"), ("u16", 2, b"\1\2"), ("i16", 3, b"\1\2"), ("u32", 4, b"\1\2\3\4"),
    ("i32", 5, b"\1\2\3\4"), ("f32", 6, b"\1\2\3\4"), ("yes", 7, b"\1"), ("u64", 10, b"\1\2\3\4\5\6\7\x08"),
    ("i64", 11, b"\1\2\3\4\5\6\7\x08"), ("f64", 12, struct.pack("<d", 0.1)),
    ("bytes", 9, struct.pack("<IQ", 0, 3) + b"abc"), ("no bytes", 9, struct.pack("<IQ", 0, 0)),
    ("tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("鍵")),
    ("rows", 9, struct.pack("<IQ", 9, 2) + struct.pack("<IQh", 3, 1, -5) + struct.pack("<IQ", 8, 0)),
]  # fmt: skip


def test_values_keep_their_types() -> None:
    data = packed(3, "<", TYPED, [("w", (2,), 0, bytes(8))])
    index = index_of(data)
    assert index.metadata["types"] == {
        "u8": "uint8", "i8": "int8", "u16": "uint16", "i16": "int16", "i32": "int32", "i64": "int64",
        "f64": "float64",
    }  # fmt: skip
    assert written(index) == data


def swapped(order: str, version: int) -> bytes:
    """The same values as `TYPED` has some of, in another byte order and version."""
    size = "I" if version == 1 else "Q"

    def packed_text(value: str) -> bytes:
        return struct.pack(order + size, len(value)) + value.encode()

    entries = [
        ("general.architecture", 8, packed_text("llama")),
        ("i16", 3, struct.pack(order + "h", -3)),
        ("tokens", 9, struct.pack(order + "I" + size, 8, 2) + packed_text("a") + packed_text("bc")),
        ("ids", 9, struct.pack(order + "I" + size + "2h", 3, 2, 1, -2)),
        ("rows", 9, struct.pack(order + "I" + size, 9, 1) + struct.pack(order + "I" + size + "h", 3, 1, 7)),
    ]
    return packed(version, order, entries, [])


@pytest.mark.parametrize(("order", "version"), [("<", 1), (">", 3), (">", 2), ("<", 2)])
def test_older_and_big_ended_files_become_version_3(order: str, version: int) -> None:
    assert written(index_of(swapped(order, version))) == swapped("<", 3)


def test_blocks_stored_big_end_first_are_refused() -> None:
    data = packed(3, ">", [], [("w", (32,), 2, bytes(18))])
    with pytest.raises(StatedictError, match="tensor `w` is stored big end first"):
        write(index_of(data))


def test_a_split_becomes_one_file() -> None:
    values = {**ARCHITECTURE, "split.no": 0, "split.count": 2, "split.tensors.count": 3}
    assert index_of(written(flat({}, attributes=values))).modules[""].attributes == ARCHITECTURE


def test_metadata_that_are_given_go_before_what_was_there() -> None:
    index = flat({}, {"general.name": "new"}, {"general.architecture": "llama", "general.name": "old"})
    assert index_of(written(index)).modules[""].attributes == {"general.architecture": "llama", "general.name": "new"}


def test_a_value_that_no_longer_fits_its_type_gets_the_usual_one() -> None:
    index = flat({}, {"types": {"n": "uint8", "s": "int8", "x": "no type"}, "byteorder": "little", "n": 300, "s": "a"})
    again = index_of(written(index))
    assert again.modules[""].attributes == {"n": 300, "s": "a"}
    assert "types" not in again.metadata


def test_tied_tensors_are_written_once() -> None:
    shared = torch.ones(2)
    plan = write(flat({"a": shared, "b": shared}, ARCHITECTURE))
    assert plan.notes == ("tied tensors are written under their first names only, as GGUF has no ties: `b` is `a`",)
    assert list(index_of(bytes_of_plan(plan)).tensors) == ["a"]


def test_arrays_are_copied_from_where_they_are() -> None:
    index = index_of(packed(3, "<", TYPED, []))
    tokens = index.modules[""].attributes["tokens"]
    assert isinstance(tokens, GGUFArray)
    assert tokens.stored in write(index).pieces


REFUSED = {
    r"tensor `w` is bool, which GGUF cannot hold; cast it first, as `--cast 'w=": {"w": torch.ones(1).bool()},
    "tensor `w` is uint8": {"w": torch.ones(1).byte()},
    "tensor `x+` has a name of 64 bytes, of which ggml allows 63; rename it": {"x" * 64: torch.ones(1)},
    "has a name of 66 bytes": {"鍵" * 22: torch.ones(1)},
    "tensor `w` has 5 dimensions, of which ggml allows 4": {"w": torch.ones(1, 1, 1, 1, 1)},
    "no Unicode text": {"\ud800": torch.ones(1)},
    "tensor `w` is q4_0, which GGUF cannot hold": {"w": plain("w", "q4_0", (2, 16), bytes(18))},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_llama_cpp_would_refuse_is_refused(said: str) -> None:
    with pytest.raises(StatedictError, match=said):
        write(flat(REFUSED[said]))


@pytest.mark.parametrize("alignment", [0, -32, "32", 1 << 40, 1.5, True])
def test_an_alignment_that_is_none_is_refused(alignment: Any) -> None:
    with pytest.raises(StatedictError, match=r"`general\.alignment` is .*, but should be a whole number like 32"):
        write(flat({}, {"general.alignment": alignment}))


def test_the_longest_names(tmp_path: Path) -> None:
    data = written(flat({"x" * 63: torch.ones(1), "": torch.ones(1)}, ARCHITECTURE))
    assert [tensor.name for tensor in read_by_reference(data, tmp_path).tensors] == ["x" * 63, ""]
