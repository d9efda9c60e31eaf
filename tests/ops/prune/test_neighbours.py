"""N of every M: beside a stable sort of each neighbourhood, along any dimension, in stretches of any size."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statedict.ops.prune.neighbours import Neighbours, largest
from statedict.ops.prune.ranking import Named
from statedict.tree.reading import info_of_array


def by_sorting(array: Any, dim: int, n: int, m: int) -> Any:
    """The same by a stable sort, the largest first."""
    moved = np.moveaxis(np.abs(array.astype(np.float64)), dim, -1)
    groups = moved.reshape(-1, m)
    stays = np.zeros(groups.shape, bool)
    np.put_along_axis(stays, np.argsort(-groups, axis=1, kind="stable")[:, :n], values=True, axis=1)
    return np.moveaxis(stays.reshape(moved.shape), -1, dim)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
@given(data=st.data())
def test_it_is_the_sort_s(kind: Any, data: st.DataObject) -> None:
    m = data.draw(st.integers(2, 20))
    n = data.draw(st.integers(1, m - 1))
    dim = data.draw(st.integers(0, 2))
    shape = [data.draw(st.integers(1, 3)) for _ in range(3)]
    shape[dim] *= m
    numbers = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-4, 5, shape)
    array = numbers.astype(np.float32).astype(kind)
    says = Neighbours(Named("t", info_of_array(array)), dim, n, m)
    flat, expected = array.reshape(-1), by_sorting(array, dim, n, m).reshape(-1)
    assert np.array_equal(says.keeps(flat, 0), expected)
    start = data.draw(st.integers(0, flat.size))
    stop = data.draw(st.integers(start, flat.size))
    assert np.array_equal(says.keeps(flat[start:stop], start), expected[start:stop])


@given(st.integers(1, 40), st.data())
def test_exactly_n_stay(m: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, m))
    groups = np.array(data.draw(st.lists(st.integers(0, 3), min_size=2 * m, max_size=2 * m)), "u2").reshape(2, m, 1)
    assert largest(groups, n).sum(axis=1).tolist() == [[n], [n]]
