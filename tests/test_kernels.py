"""Summaries and counts beside a slow, plain oracle; and the C code beside numpy, bit for bit."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from statedict.accelerator import BLOCK
from statedict.dtypes import DTYPES, DType
from statedict.kernels import count, merge, summarize
from statedict.moments import EMPTY, Summary
from tests import numbers
from tests.numbers import ALL, COMPLEX, FLOATS, SMALL_FLOATS, WHOLE, computing, ordinary_elements, random_elements

__all__ = ["computing"]  # a fixture

COUNTS = ("count", "zeros", "nans", "positive_infinities", "negative_infinities", "denormals", "min", "max")
SUMS = ("largest", "total", "absolute", "squares", "deviations")
NORMAL = {
    "float64": 2.0**-1022, "float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126,
    "float8_e4m3fn": 2.0**-6, "float8_e5m2": 2.0**-14, "float8_e4m3fnuz": 2.0**-7, "float8_e5m2fnuz": 2.0**-15,
    "f6_e2m3": 1.0, "f6_e3m2": 0.25, "f4": 1.0,
}  # fmt: skip
"""The smallest normal number of each type, from its specification."""


def oracle(dtype: DType, values: NDArray[Any]) -> Summary:
    """The same one number at a time, with exact sums."""
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        plain: list[Any] = values.astype(_wide(dtype)).tolist()
    finite = [each for each in plain if math.isfinite(abs(each)) or np.isfinite(each)]
    smallest = NORMAL.get(dtype.name, 0)
    real, imaginary = [each.real for each in finite], [each.imag for each in finite]
    middle = complex(math.fsum(real), math.fsum(imaginary)) / max(1, len(finite))
    total: Any = complex(math.fsum(real), math.fsum(imaginary))
    nans = sum(bool(np.isnan(each)) for each in plain)
    return Summary(
        count=len(plain),
        zeros=plain.count(0),
        nans=nans,
        positive_infinities=len(plain) - nans - len(finite) if dtype.is_complex else plain.count(math.inf),
        negative_infinities=0 if dtype.is_complex else plain.count(-math.inf),
        denormals=sum(0 < abs(each) < smallest for each in finite),
        min=None if dtype.is_complex else min(finite, default=None),
        max=None if dtype.is_complex else max(finite, default=None),
        largest=max(map(abs, finite), default=0.0),
        total=total if dtype.is_complex else total.real,
        absolute=math.fsum(map(abs, finite)),
        squares=math.fsum(abs(float(each)) ** 2 if not dtype.is_complex else abs(each) ** 2 for each in finite),
        deviations=math.fsum(abs(each - (middle if dtype.is_complex else middle.real)) ** 2 for each in finite),
    )


def _wide(dtype: DType) -> Any:
    if dtype.is_complex:
        return "c16"
    return "f8" if dtype.is_floating_point else np.int64 if dtype.name != "uint64" else np.uint64


def assert_close(found: Summary, expected: Summary) -> None:
    for name in COUNTS:
        assert getattr(found, name) == getattr(expected, name), name
    for name in SUMS:
        near = max(abs(expected.absolute) * 1e-15, 1e-300) if name == "total" else 0.0
        near = expected.squares * 1e-14 if name == "deviations" else near
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-11, abs=near), name


@given(numbers.elements())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_figure_is_the_oracles(computing: str, drawn: tuple[DType, NDArray[Any]]) -> None:
    dtype, values = drawn
    try:
        expected = oracle(dtype, values)
    except OverflowError:  # squares beyond the largest double: then both are infinite, or nearly
        return
    assert_close(summarize(dtype, values), expected)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize(("mean", "std"), [(0, 0.02), (1, 1e-3), (1000, 1), (-3e4, 10)])
def test_means_far_from_zero_cost_no_precision(computing: str, name: str, mean: float, std: float) -> None:
    values = ordinary_elements(name, 3 * BLOCK // 2 + 77, mean, std)
    found, wide = summarize(DTYPES[name], values), values.astype("f8")
    middle = math.fsum(wide) / len(wide)
    expected = math.sqrt(math.fsum((wide - middle) ** 2) / len(wide))
    assert found.mean == pytest.approx(middle, rel=1e-13, abs=1e-17)
    assert found.std == pytest.approx(expected, rel=1e-11)


def test_a_mean_of_nine_digits_leaves_the_deviation_whole(computing: str) -> None:
    values = 1e9 + np.resize([0.0, 1.0], 2 * BLOCK)
    assert summarize(DTYPES["float64"], values).std == 0.5


@pytest.mark.parametrize("value", [0.1, -7.0, 1e-30])
def test_equal_elements_do_not_deviate(computing: str, value: float) -> None:
    assert summarize(DTYPES["float64"], np.full(BLOCK + 5, value)).std == 0


def test_zeros_of_both_signs(computing: str) -> None:
    for values in ([-0.0, 0.0], [-0.0, -0.0], [0.0, -0.0]):
        found = summarize(DTYPES["float32"], np.array(values, "f4"))
        assert (found.zeros, str(found.min), str(found.max), str(found.total)) == (2, "0.0", "0.0", "0.0")


def test_extremes_of_whole_numbers_are_exact(computing: str) -> None:
    values = np.array([2**53 + 1, -(2**63), 2**63 - 1])
    found = summarize(DTYPES["int64"], values)
    assert (found.min, found.max) == (-(2**63), 2**63 - 1)
    assert summarize(DTYPES["uint64"], np.array([2**64 - 1], "u8")).max == 2**64 - 1


def test_nothing_finite(computing: str) -> None:
    found = summarize(DTYPES["float16"], np.array([np.nan, np.inf, -np.inf, -np.inf], "f2"))
    assert (found.nans, found.positive_infinities, found.negative_infinities) == (1, 1, 2)
    assert (found.min, found.mean, found.std, found.finite, found.l2) == (None, None, None, 0, 0)


def test_no_elements() -> None:
    assert summarize(DTYPES["float32"], np.empty(0, "f4")) == EMPTY
    assert (EMPTY.mean, EMPTY.std, EMPTY.sparsity) == (None, None, None)


# C beside numpy


@pytest.mark.parametrize("numel", [1, 255, 256, 257, 2047, 2049, BLOCK // 4 + 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1])
@pytest.mark.parametrize("name", (*FLOATS, *WHOLE, *SMALL_FLOATS, "bool"))
def test_c_and_numpy_agree_bit_for_bit(name: str, numel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = kinds_of_elements(name, numel)
    in_c = [repr(summarize(DTYPES[name], values)) for values in kinds]
    numbers.without_accelerator(monkeypatch)
    assert [repr(summarize(DTYPES[name], values)) for values in kinds] == in_c


@pytest.mark.parametrize("numel", [2 * BLOCK, 2 * BLOCK + 4097])
@pytest.mark.parametrize("name", (*FLOATS, *WHOLE, *SMALL_FLOATS, "bool"))
def test_c_and_numpy_agree_on_many_elements(name: str, numel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit as well, but for the sums of elements of 16 bits, which numpy makes from the counts of patterns."""
    for values in kinds_of_elements(name, numel):
        with monkeypatch.context() as patched:
            in_c = summarize(DTYPES[name], values)
            numbers.without_accelerator(patched)
            by_numpy = summarize(DTYPES[name], values)
        if DTYPES[name].bits == 16:
            assert_close(by_numpy, in_c)
        else:
            assert repr(by_numpy) == repr(in_c)


def kinds_of_elements(name: str, numel: int) -> list[NDArray[Any]]:
    """Elements of every pattern, and some as weights are, the means near to zero and far from it."""
    kinds = [random_elements(name, numel, seed=numel)]
    if name in FLOATS:
        kinds += [ordinary_elements(name, numel), ordinary_elements(name, numel, 100, 0.5)]
    return kinds


def test_c_reads_what_is_not_aligned() -> None:
    values = ordinary_elements("float32", 1000)
    room = np.empty(values.nbytes + 1, "u1")
    room[1:] = values.view("u1")
    assert summarize(DTYPES["float32"], room[1:].view("f4")) == summarize(DTYPES["float32"], values)


# Merging


@given(numbers.elements(), st.integers(0, 600))
@settings(deadline=None)
def test_parts_merge_to_the_whole(drawn: tuple[DType, NDArray[Any]], at: int) -> None:
    dtype, values = drawn
    try:
        expected = oracle(dtype, values)
    except OverflowError:
        return
    assert_close(merge(summarize(dtype, values[:at]), summarize(dtype, values[at:])), expected)


# Counts


@pytest.mark.parametrize("numel", [5000, 2 * BLOCK + 1])
@pytest.mark.parametrize("name", [name for name in ALL if name not in COMPLEX])
def test_patterns_are_counted(computing: str, name: str, numel: int) -> None:
    values = random_elements(name, numel)
    bits = 8 * values.itemsize
    width = min(16, bits)
    found = count(values, width, bits - width)
    expected = Counter((values.view(f"u{values.itemsize}") >> np.uint64(bits - width)).tolist())
    assert {pattern: int(found[pattern]) for pattern in np.flatnonzero(found).tolist()} == expected
    assert len(found) == 1 << width


@pytest.mark.parametrize("kind", ["u4", "u8"])
def test_patterns_below_a_prefix_are_counted(computing: str, kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 1 << 18, 5000, kind)
    expected = Counter(each & 0xFFFF for each in values.tolist() if each >> 16 == 2)
    found = count(values, 16, 0, prefix=2)
    assert {pattern: int(found[pattern]) for pattern in np.flatnonzero(found).tolist()} == expected
