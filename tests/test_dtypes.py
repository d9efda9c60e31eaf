"""The table of element types, against torch, numpy and safetensors."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch

from statedict.dtypes import DTYPES, SAFETENSORS_DTYPES, DType, dtype

TORCH = {
    str(each).removeprefix("torch."): each for each in vars(torch).values() if isinstance(each, torch.dtype)
}  # each under its first name
BOTH = sorted(set(TORCH) & set(DTYPES))


def test_all_types_of_torch_are_known() -> None:
    assert set(TORCH) - set(DTYPES) == set()


@pytest.mark.parametrize("name", BOTH)
def test_sizes_and_kinds_are_torchs(name: str) -> None:
    ours, theirs = DTYPES[name], TORCH[name]
    assert ours.itemsize == theirs.itemsize
    assert ours.is_complex == theirs.is_complex
    assert ours.is_floating_point == theirs.is_floating_point
    assert ours.quantized == name.startswith("q")


@pytest.mark.parametrize("name", sorted(name for name, each in DTYPES.items() if not each.quantized and each.bits >= 8))
def test_numpy_has_the_values(name: str) -> None:
    array = np.zeros(3, DTYPES[name].to_numpy())
    if name != "complex32":
        assert array.itemsize == DTYPES[name].itemsize or name.endswith("_x2") or DTYPES[name].bits == 8
    assert array.shape == (3,)


@pytest.mark.parametrize("name", ["f4", "f6_e2m3", "f6_e3m2", "int4_packed", "uint2_packed"])
def test_types_of_less_than_a_byte_are_of_ml_dtypes(name: str) -> None:
    assert DTYPES[name].to_numpy() in {np.dtype(each) for each in vars(ml_dtypes).values() if isinstance(each, type)}


@pytest.mark.parametrize(("name", "theirs"), sorted(safetensors.torch._TYPES.items()))
def test_safetensors_names(name: str, theirs: torch.dtype) -> None:
    assert str(SAFETENSORS_DTYPES[name]) == str(theirs).removeprefix("torch.")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("float32", "float32"),
        ("torch.float32", "float32"),
        ("half", "float16"),
        ("torch.double", "float64"),
        ("bf16", "bfloat16"),
        ("f8_e4m3fn", "float8_e4m3fn"),
        ("i64", "int64"),
        ("u8", "uint8"),
        ("c64", "complex64"),
        ("bool", "bool"),
        ("long", "int64"),
    ],
)
def test_names_that_people_type(name: str, expected: str) -> None:
    assert dtype(name) is DTYPES[expected]


@pytest.mark.parametrize("name", sorted(name for name, each in vars(torch).items() if isinstance(each, torch.dtype)))
def test_torchs_other_names(name: str) -> None:
    theirs = str(getattr(torch, name)).removeprefix("torch.")
    if name not in {"bit", "bit1", "bit2", "bit4"}:
        assert dtype(name).name == theirs


@pytest.mark.parametrize("name", ["", "float33", "torch", "torch.nn", "np.float32"])
def test_other_names_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` is no element type; expected one such as bf16, f16, f32"):
        dtype(name)


def test_short_names_are_of_one_type_each() -> None:
    shorts = [each.short for each in DTYPES.values()]
    assert len(set(shorts)) == len(shorts)
    for each in DTYPES.values():
        assert dtype(each.short) is each


@pytest.mark.parametrize(
    ("name", "numel", "nbytes"), [("float32", 3, 12), ("f4", 3, 2), ("f6_e2m3", 4, 3), ("quint2x4", 5, 2)]
)
def test_bytes_of_elements_side_by_side(name: str, numel: int, nbytes: int) -> None:
    assert DTYPES[name].nbytes(numel) == nbytes
    assert DTYPES[name].numel(nbytes) >= numel


@pytest.mark.parametrize("each", DTYPES.values(), ids=str)
def test_there_is_one_object_of_each(each: DType) -> None:
    assert pickle.loads(pickle.dumps(each)) is each
    assert copy.deepcopy(each) is each
    assert repr(each) == f"statedict.{each}"
