"""The first values of tensors, however few they have."""

import numpy as np
import pytest

from statedict.ops.find import first_values
from statedict.tree.tensor import Tensor


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (0,), (3, 0, 4)])
def test_a_tensor_without_elements_has_no_first_values(shape: tuple[int, ...]) -> None:
    assert first_values(Tensor(np.zeros(shape))) == []


def test_the_first_ones_row_by_row() -> None:
    assert first_values(Tensor(np.arange(60).reshape(3, 4, 5)), 7) == list(range(7))
    assert first_values(Tensor(np.float32(2))) == [2.0]
