"""Slices and blocks: which element is in which, and how large each is, whatever the stretches."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statedict.ops.prune.ranking import Named, Watch
from statedict.ops.prune.whole import Blocks, Norm, Part, Units, slices, without_smallest
from statedict.tree.reading import info_of_array

SIZES = st.integers(1, 4)


def stays(arrays: list[Any], units: list[Units], pruned: int, norm: Norm = "l2") -> list[Any]:
    named = [Named(f"t{at}", info_of_array(array)) for at, array in enumerate(arrays)]
    parts = [Part(each, tensor, each) for each, tensor in zip(units, named, strict=True)]
    made = without_smallest(parts, pruned, norm, Watch())
    return [kept.keeps(array.reshape(-1), 0).reshape(array.shape) for kept, array in zip(made, arrays, strict=True)]


@given(st.tuples(SIZES, SIZES, SIZES), st.integers(0, 2), st.integers(0, 60))
def test_the_slice_of_each_element(shape: tuple[int, ...], dim: int, start: int) -> None:
    expected = np.broadcast_to(np.moveaxis(np.arange(shape[dim]).reshape(-1, 1, 1), 0, dim), shape).reshape(-1)[start:]
    assert np.array_equal(slices(shape, dim).numbers(start, len(expected)), expected)


@given(SIZES, SIZES, SIZES, SIZES, st.integers(0, 60))
def test_the_block_of_each_element(rows: int, columns: int, down: int, across: int, start: int) -> None:
    numbers = np.arange(down * across).reshape(down, across)
    expected = np.kron(numbers, np.ones((rows, columns), int)).reshape(-1)[start:]
    blocks = Blocks(rows, columns, rows * down, columns * across)
    assert np.array_equal(blocks.numbers(start, len(expected)), expected)
    assert blocks.count == down * across


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("dim", [0, 1])
def test_slices_over_many_reads(norm: Norm, power: int, dim: int) -> None:
    array = np.random.default_rng(0).standard_normal((1100, 900)).astype(np.float32)
    scores = (np.abs(array.astype(np.float64)) ** power).mean(axis=1 - dim)
    expected = np.ones(len(scores), bool)
    expected[np.argsort(scores)[:300]] = False
    [found] = stays([array], [slices(array.shape, dim)], 300, norm)
    assert np.array_equal(found.any(axis=1 - dim), expected)
    assert np.array_equal(found.all(axis=1 - dim), expected)


def test_slices_of_different_sizes_are_compared_by_their_means() -> None:
    wide, narrow = np.full((2, 100), 1.0), np.array([[2.0], [0.5]])
    found = stays([wide, narrow], [slices((2, 100), 0), slices((2, 1), 0)], 1)
    assert [each.any(axis=1).tolist() for each in found] == [[True, True], [True, False]]


@pytest.mark.parametrize("pruned", [0, 3, 6])
def test_of_equal_slices_the_first_stay(pruned: int) -> None:
    found = stays([np.ones((4, 5)), np.ones((2, 3))], [slices((4, 5), 0), slices((2, 3), 0)], pruned)
    rows = [stay for each in found for stay in each.all(axis=1).tolist()]
    assert rows == [True] * (6 - pruned) + [False] * pruned


def test_an_empty_tensor_has_no_slices() -> None:
    found = stays([np.empty((0, 5)), np.ones((2, 3))], [slices((0, 5), 0), slices((2, 3), 0)], 1)
    assert [each.shape for each in found] == [(0, 5), (2, 3)]
    assert found[1].all(axis=1).tolist() == [True, False]
