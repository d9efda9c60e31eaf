"""The largest magnitudes beside a stable sort of all."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import statedict as sd
from statedict.expressions import nodes, selecting
from statedict.expressions.nodes import node_of
from statedict.expressions.selecting import threshold

FLOATS = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, np.inf, -np.inf, np.nan]), st.floats(width=32))


def kept(rows: list[Any], keep: int) -> Any:
    found = threshold([node_of(sd.Tensor(row).info) for row in rows], keep)
    starts = np.cumsum([0, *map(len, rows)])
    return np.concatenate([found.keeps(row, int(start)) for row, start in zip(rows, starts, strict=False)])


def expected(values: Any, keep: int) -> Any:
    sizes = np.where(np.isnan(values), np.inf, np.abs(values))
    order = np.lexsort((np.arange(len(values)), -sizes, ~np.isnan(values)))
    mask = np.zeros(len(values), bool)
    mask[order[: max(0, keep)]] = True
    return mask


@pytest.mark.parametrize("gathered", [0, 3, 1 << 20])
@pytest.mark.parametrize("stretch", [1, 5, 1 << 17])
def test_exactly_so_many(gathered: int, stretch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selecting, "_GATHERED", gathered)
    monkeypatch.setattr(nodes, "_STRETCH", stretch)

    @given(st.lists(FLOATS, max_size=40), st.integers(-1, 41), st.integers(0, 40))
    def check(numbers: list[float], keep: int, cut: int) -> None:
        values = np.array(numbers, np.float64)
        np.testing.assert_array_equal(kept([values[:cut], values[cut:]], keep), expected(values, keep))

    check()


def test_many_equal_ones() -> None:
    values = np.repeat(np.array([0.0, 1.0, -1.0, 0.5]), 50_000)
    np.random.default_rng(0).shuffle(values)
    for keep in (1, 99_999, 100_000, 100_001, 150_001, 199_999):
        np.testing.assert_array_equal(kept([values], keep), expected(values, keep))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_types(dtype: Any) -> None:
    values = np.round(np.random.default_rng(0).normal(size=10_001) * 30).astype(dtype)
    found = threshold([node_of(sd.Tensor(values).info)], 1234).keeps(values, 0)
    np.testing.assert_array_equal(found, expected(values.astype(float), 1234))


def test_pieces_are_the_whole() -> None:
    values = np.round(np.random.default_rng(0).normal(size=1_000) * 4)
    found = threshold([node_of(sd.Tensor(values).info)], 500)
    pieces = [found.keeps(values[at : at + 7], at) for at in range(0, 1_000, 7)]
    np.testing.assert_array_equal(np.concatenate(pieces), expected(values, 500))
