"""Slices as the command line has them."""

from typing import Any

import pytest
import torch

import statedict as sd
from statedict.ops.slicing import parse_slice, sliced

CASES: dict[str, Any] = {
    "w=[0:16, :]": (slice(0, 16, None), slice(None)),
    "a.w=[3]": (3,),
    "w=[-1,...]": (-1, ...),
    "w=[ 1 : 9 : 2 , : ]": (slice(1, 9, 2), slice(None)),
    "w=[::2]": (slice(None, None, 2),),
    "w=[:5]": (slice(None, 5, None),),
    "w=[-3:]": (slice(-3, None, None),),
}


@pytest.mark.parametrize("rule", CASES)
def test_indices(rule: str) -> None:
    assert parse_slice(rule) == (rule.partition("=")[0], CASES[rule])


@pytest.mark.parametrize("rule", ["w", "w=0:3", "w=[]", "w=[a]", "w=[1;2]", "w=[0:1:2:3]", "w=[[1]]", "w=[1,]", "=[1]"])
def test_what_is_none(rule: str) -> None:
    with pytest.raises(sd.PatternError):
        parse_slice(rule)


def test_tensors() -> None:
    a = torch.arange(24.0).reshape(4, 6)
    model = sd.open({"x": {"w": a}, "y": {"w": a + 1}, "z": torch.ones(3)})
    made = sliced(model, "*.w=[1:3, ::2]")
    assert torch.equal(made.x.w.torch(), a[1:3, ::2])
    assert torch.equal(made.y.w.torch(), (a + 1)[1:3, ::2])
    assert model.x.w.shape == (4, 6)


def test_a_slice_that_a_tensor_has_not() -> None:
    with pytest.raises(sd.StatedictError, match=r"^tensor `z` of the shape \(3,\): too many indices"):
        sliced(sd.open({"z": torch.ones(3)}), "z=[0, 0]")
