"""Quantiles, histograms and distinct values beside numpy's, of every real type."""

from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from statedict.distribution import DECADES, LEAST, Magnitudes, Quantiles, Ranks, Spread, counting, weighing
from statedict.dtypes import DType
from statedict.engine import Job, run
from statedict.index import TensorInfo
from statedict.tree.tensor import Tensor
from tests import numbers
from tests.numbers import ALL, COMPLEX, DTYPES, ordinary_elements, random_elements

REAL = tuple(name for name in ALL if name not in COMPLEX)


def finite(values: NDArray[Any]) -> NDArray[Any]:
    """Those that are, as numbers that all are exact."""
    with np.errstate(invalid="ignore"):
        wide = values if values.dtype.kind in "iu" and values.itemsize == 8 else values.astype("f8")
    return np.sort(wide[np.isfinite(wide)])


def spread_of(info: TensorInfo) -> Spread:
    (found,) = run([counting(info)], threads=1)
    return found or Spread(info.dtype, np.empty(0, "u8"), np.empty(0, "i8"))


R = TypeVar("R", bound=Ranks)


def learned(found: R, info: TensorInfo) -> R:
    while (kernel := found.kernel()) is not None:
        found.learn(run([Job(info, kernel, np.add)], threads=1)[0])
    return found


@given(numbers.elements(REAL))
@settings(deadline=None)
def test_the_number_at_every_rank(drawn: tuple[DType, NDArray[Any]]) -> None:
    dtype, values = drawn
    info, expected = Tensor(values).info._replace(dtype=dtype), finite(values)
    ranks = list(range(0, len(expected), 1 + len(expected) // 20))
    assert spread_of(info).numel == len(expected)
    assert list(learned(Ranks(spread_of(info), ranks), info).values().values()) == [expected[rank] for rank in ranks]


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16", "int32"])
def test_quantiles_are_numpys(name: str) -> None:
    values = ordinary_elements(name, 10_001, std=100, seed=1)
    shares = (0.0, 0.001, 0.25, 0.5, 0.999, 1.0)
    info = Tensor(values).info
    found = learned(Quantiles(spread_of(info), shares), info).quantiles()
    assert list(found) == list(shares)
    assert list(found.values()) == pytest.approx(np.quantile(values.astype("f8"), shares).tolist(), rel=1e-15)


@pytest.mark.parametrize("name", REAL)
def test_distinct_numbers(name: str) -> None:
    values = random_elements(name, 3000)
    expected = len(np.unique(finite(values))) if DTYPES[name].bits <= 16 else None
    assert spread_of(Tensor(values).info).distinct == expected


@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8", "float8_e4m3fn", "bool"])
def test_histograms_of_short_elements_are_exact(name: str) -> None:
    values = np.abs(ordinary_elements(name, 5000, std=10)) if name != "bool" else random_elements(name, 5000)
    expected, at = np.histogram(finite(values), 13)
    counts, edges = spread_of(Tensor(values).info).histogram(13, at[0], at[-1])
    assert (counts, edges) == (expected.tolist(), at.tolist())


def test_histograms_of_long_elements_are_near() -> None:
    values = ordinary_elements("float32", 50_000)
    expected, at = np.histogram(values.astype("f8"), 10)
    counts, edges = spread_of(Tensor(values).info).histogram(10, at[0], at[-1])
    assert edges == at.tolist()
    assert sum(counts) == 50_000
    assert counts == pytest.approx(expected.tolist(), rel=0.05, abs=20)


def test_no_finite_elements() -> None:
    info = Tensor(np.array([np.nan, np.inf, -np.inf], "f4")).info
    found = spread_of(info)
    assert (found.numel, found.histogram(2, 0, 1)[0]) == (0, [0, 0])
    assert learned(Quantiles(found, (0.5,)), info).quantiles() == {}


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**63 - 1] * 3),
        np.array([-(2**63), 2**63 - 1]),
        np.array([1e308, -1.7e308, 0.0]),
        np.array([1.0, np.nextafter(1.0, 2)]),
        np.array([0.0, 5e-324]),
        np.zeros(3, "f4"),
    ],
    ids=str,
)
def test_histograms_of_extremes(values: NDArray[Any]) -> None:
    """Numbers too large, or too close together, for edges between them still have a histogram that holds them all."""
    counts, edges = spread_of(Tensor(values).info).histogram(16, values.min().item(), values.max().item())
    assert sum(counts) == len(values)
    assert np.all(np.diff(edges) > 0)
    assert edges[0] <= values.min() <= values.max() <= edges[-1]


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float64"])
def test_magnitudes_by_the_tenth_of_a_decade(name: str) -> None:
    values = ordinary_elements(name, 5000, 0.0, 3.0)
    values[:100], values[100:200], values[200] = 0, -1e-20, np.nan
    found = weighed(Tensor(values).info)
    wide = np.abs(values.astype("f8"))[200:]
    expected, _ = np.histogram(wide[wide > 0], 10.0 ** (LEAST + np.arange(10 * DECADES + 1) / 10))
    assert found.counts[0] == 100  # what is below the least
    assert sum(found.counts) == 4899
    moved = np.abs(np.array(found.counts[1:]) - expected[1:]).sum() / 2
    assert moved == 0 if name == "bfloat16" else moved < 0.05 * len(wide)  # of wider ones, 16 bits count


def weighed(info: TensorInfo) -> Magnitudes:
    (found,) = run([weighing(info)], threads=1)
    return found
