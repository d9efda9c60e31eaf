"""Exact amounts, and the cubic schedule beside its paper's equation."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils import prune

from statedict.errors import StatedictError
from statedict.ops.prune.amounts import counted, cubic


@given(st.floats(0, 1), st.integers(1, 2000))
def test_shares_are_rounded_as_torch_rounds_them(share: float, total: int) -> None:
    mask = prune.L1Unstructured(share).compute_mask(torch.arange(total) + 1.0, torch.ones(total))
    assert counted(share, total) == int((mask == 0).sum())


def test_whole_numbers_are_themselves() -> None:
    assert [counted(amount, 7) for amount in (0, 1, 7)] == [0, 1, 7]
    assert counted(1.0, 7) == 7
    with pytest.raises(StatedictError, match="`amount` is 8, but there are 7"):
        counted(8, 7)


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan"), -1, True, "half", None])
def test_what_is_no_amount(amount: Any) -> None:
    with pytest.raises(StatedictError, match=r"`amount` is .*; expected a share from 0\.0 to 1\.0"):
        counted(amount, 10)


def test_the_schedule() -> None:
    """Equation 1 of Zhu and Gupta 2017, with t0 = 0 and a step of 1."""
    for step in range(11):
        assert cubic(step, 10, 0.1, 0.9) == pytest.approx(0.9 + (0.1 - 0.9) * (1 - step / 10) ** 3, abs=1e-15)
    assert cubic(0, 10, 0.1, 0.9) == pytest.approx(0.1)
    assert cubic(10, 10, 0.1, 0.9) == 0.9
    assert cubic(99, 10, 0.1, 0.9) == 0.9
