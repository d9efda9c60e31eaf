"""The type of a result is the one that PyTorch gives it."""

import itertools

import pytest
import torch

from statedict.dtypes import DTYPES
from statedict.expressions.promotion import result_type
from statedict.tree.tensor import Tensor

TYPES = [
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
]
NUMBERS = (True, 1, 1.0, 1j)
SHAPES = ((), (2,))


def live(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros(shape, dtype=getattr(torch, name))


@pytest.mark.parametrize("name", TYPES)
def test_of_two_tensors(name: str) -> None:
    for other, shape, shape_of_other in itertools.product(TYPES, SHAPES, SHAPES):
        a, b = live(name, shape), live(other, shape_of_other)
        try:
            expected = str(torch.result_type(a, b)).removeprefix("torch.")
        except RuntimeError:  # PyTorch does not promote uint16 and its like to signed types
            continue
        assert result_type(Tensor(a).info, Tensor(b).info).name == expected, (shape, other, shape_of_other)


@pytest.mark.parametrize("name", TYPES)
def test_of_a_tensor_and_a_number(name: str) -> None:
    for shape, number in itertools.product(SHAPES, NUMBERS):
        a = live(name, shape)
        expected = str(torch.result_type(a, number)).removeprefix("torch.")
        assert result_type(Tensor(a).info, number).name == expected, (shape, number)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"])
def test_of_what_pytorch_does_not_add(name: str) -> None:
    """Two of one small type stay of it; with any other, the result holds both."""
    small = Tensor(live(name, (2,))).info
    assert result_type(small, small) is DTYPES[name]
    assert result_type(small, 0.5) is DTYPES[name]
    for other in ("bfloat16", "float16", "float32", "float64"):
        assert result_type(small, Tensor(live(other, (2,))).info) is DTYPES[other]
