"""The exact cut: beside a stable sort of everything, on every type, and in whatever blocks it is counted."""

import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from statedict.dtypes import DTYPES
from statedict.errors import StatedictError
from statedict.expressions.nodes import Node, node_of
from statedict.ops.prune import ranking
from statedict.ops.prune.ranking import Named, Watch, comparable, cut, without_smallest
from statedict.tree.reading import info_of_array

TYPES = [
    np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2,
    ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2fnuz,
]  # fmt: skip
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -0.25, 1e-3]


def row(arrays: list[Any]) -> list[Named]:
    return [Named(f"t{at}", info_of_array(each)) for at, each in enumerate(arrays)]


def kept(arrays: list[Any], pruned: int) -> list[Any]:
    says = without_smallest(row(arrays), pruned, Watch())
    return [each.keeps(array, 0) for each, array in zip(says, arrays, strict=True)]


def by_sorting(arrays: list[Any], pruned: int) -> list[Any]:
    """The same by a stable sort of all, the largest first."""
    sizes = np.abs(np.concatenate([array.astype(np.float64) for array in arrays]))
    stays = np.zeros(len(sizes), bool)
    stays[np.argsort(-sizes, kind="stable")[: len(sizes) - pruned]] = True
    return np.split(stays, np.cumsum([len(array) for array in arrays])[:-1])


def are_equal(found: list[Any], expected: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.data())
def test_it_is_the_sort_s(kind: Any, data: st.DataObject) -> None:
    lists = data.draw(st.lists(st.lists(st.sampled_from(NUMBERS), max_size=9), min_size=1, max_size=5))
    arrays = [np.array(each, np.float32).astype(kind) for each in lists]
    pruned = data.draw(st.integers(0, sum(map(len, arrays))))
    assert are_equal(kept(arrays, pruned), by_sorting(arrays, pruned))


@given(data=st.data())
def test_types_are_ranked_together(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
    shape = st.integers(0, 12)
    arrays = [data.draw(hnp.arrays(np.float16, shape, elements=st.floats(-9, 9, width=16))).astype(k) for k in kinds]
    pruned = data.draw(st.integers(0, sum(map(len, arrays))))
    assert are_equal(kept(arrays, pruned), by_sorting(arrays, pruned))


@given(hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(allow_nan=False)), st.data())
def test_every_bit_of_a_double_counts(array: Any, data: st.DataObject) -> None:
    pruned = data.draw(st.integers(0, len(array)))
    assert are_equal(kept([array], pruned), by_sorting([array], pruned))


@pytest.mark.parametrize("kind", TYPES[:4])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e-7])
def test_equal_ones_in_many_blocks(kind: Any, value: float) -> None:
    arrays = [np.full(size, value, kind) for size in (300_001, 7, 0, 150_000)]
    assert are_equal(kept(arrays, 225_004), by_sorting(arrays, 225_004))


def test_random_numbers_in_many_blocks() -> None:
    numbers = np.random.default_rng(0).standard_normal(700_000)
    for kind in TYPES[:4]:
        arrays = np.split(numbers.astype(kind), [3, 524_341])  # the second ends in a short stretch
        assert are_equal(kept(arrays, 350_000), by_sorting(arrays, 350_000))


def test_only_the_stretch_with_the_cut_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = node_of

    def counting(info: Any) -> Node:
        read.append(info.numel)
        return original(info)

    monkeypatch.setattr(ranking, "node_of", counting)
    arrays = [np.ones(40_000, ml_dtypes.bfloat16) for _ in range(64)]
    assert are_equal(kept(arrays, 1_300_000), by_sorting(arrays, 1_300_000))
    assert 1 <= len(read) <= 2


@pytest.mark.parametrize("kind", TYPES[:6])
def test_nan_is_an_error_that_names_the_tensor(kind: Any) -> None:
    arrays = [np.ones(9, kind), np.array([1, np.nan, 2], np.float32).astype(kind), np.ones(2, kind)]
    with pytest.raises(StatedictError, match=r"tensor `t1` holds NaN, which has no magnitude"):
        kept(arrays, 3)


@pytest.mark.parametrize("kind", TYPES[:4])
def test_infinity_is_the_largest(kind: Any) -> None:
    arrays = [np.array([-np.inf, 1, np.inf, 2], kind)]
    assert kept(arrays, 2)[0].tolist() == [True, False, True, False]
    assert kept(arrays, 3)[0].tolist() == [True, False, False, False]


def test_what_magnitudes_are_compared_as() -> None:
    names = {
        ("bfloat16",): "bfloat16",
        ("float16", "float8_e5m2"): "float16",
        ("float8_e4m3fn", "float8_e4m3fn"): "float16",
        ("bfloat16", "float16"): "float32",
        ("bfloat16", "float64"): "float64",
    }
    assert {key: comparable([DTYPES[name] for name in key]).name for key in names} == names


def test_nothing_is_read_for_all_or_nothing() -> None:
    told: list[int] = []
    watch = Watch()
    watch.progress = lambda done, _total: told.append(done)
    tensors = row([np.ones(9, np.float32)])
    assert cut(tensors, 0, watch).keeps(np.ones(9, np.float32), 0).all()
    assert not cut(tensors, 9, watch).keeps(np.ones(9, np.float32), 0).any()
    assert not told
    cut(tensors, 3, watch)
    assert told == [36, 36]


def test_it_pickles_without_who_watches() -> None:
    watch = Watch()
    watch.progress = lambda _done, _total: None
    array = np.arange(9, dtype=np.float32)
    [says] = pickle.loads(pickle.dumps(without_smallest(row([array]), 4, watch)))
    assert says.keeps(array, 0).tolist() == [False] * 4 + [True] * 5
