"""What a constant becomes in an activation is what torch makes of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import statedict as sd
from statedict.ops.shrink.elementwise import ACTIVATIONS


@pytest.mark.parametrize("kind", ACTIVATIONS)
@given(x=st.floats(-30, 30))
@settings(deadline=None, max_examples=40)
def test_activations_are_those_of_torch(kind: str, x: float) -> None:
    made = nn.Threshold(0.5, 0.25) if kind == "Threshold" else getattr(nn, kind)()
    attributes = dict(sd.open(made).attributes)

    found = ACTIVATIONS[kind](x, attributes)

    assert found == pytest.approx(made(torch.tensor(x, dtype=torch.float64)).item(), rel=1e-6, abs=1e-9)
