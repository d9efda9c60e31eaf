"""Slices that are taken, as numpy takes them, in whatever stretches they are read."""

import pickle
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from statedict.expressions.nodes import node_of
from statedict.expressions.taking import Taken, taken
from statedict.tree.reading import read
from statedict.tree.tensor import info_of


@st.composite
def cases(draw: Any) -> tuple[Any, int, list[int]]:
    """An array, a dimension of it, and positions along it."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    dim = draw(st.integers(0, len(shape) - 1))
    positions = draw(st.lists(st.integers(0, shape[dim] - 1), unique=True, min_size=0, max_size=5).map(sorted))
    return np.arange(np.prod(shape), dtype="f4").reshape(shape), dim, positions


@given(cases())
def test_slices_are_those_of_numpy(case: tuple[Any, int, list[int]]) -> None:
    array, dim, positions = case

    made = read(taken(info_of(array, "x"), dim, positions))

    np.testing.assert_array_equal(made, np.take(array, positions, dim))


@given(cases(), st.data())
def test_any_stretch_is_the_same(case: tuple[Any, int, list[int]], data: st.DataObject) -> None:
    array, dim, positions = case
    inner = int(np.prod(array.shape[dim + 1 :]))
    node = Taken(node_of(info_of(array)), array.shape[dim], inner, positions)
    want = np.take(array, positions, dim).reshape(-1)
    start = data.draw(st.integers(0, node.numel))
    stop = data.draw(st.integers(start, node.numel))

    assert node.numel == want.size
    np.testing.assert_array_equal(node.stored(start, stop), want[start:stop])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(node)).stored(start, stop), want[start:stop])
