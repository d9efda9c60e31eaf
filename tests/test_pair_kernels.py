"""What lies between two stretches: beside exact sums, one pair at a time; and C beside numpy, bit for bit."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from statedict import accelerator, pair_kernels
from statedict.accelerator import BLOCK
from statedict.difference import Difference
from statedict.dtypes import DTYPES
from statedict.pair_kernels import beyond, compare
from tests.numbers import ALL, COMPLEX, FLOATS, computing, ordinary_elements, random_elements

__all__ = ["computing"]  # a fixture


def plain(values: NDArray[Any]) -> list[Any]:
    """The elements as Python's numbers."""
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        wide = "c16" if values.dtype.kind == "c" else "f8"
        return (values if values.dtype.kind in "iu" else values.astype(wide)).tolist()


def is_finite(number: Any) -> bool:
    return math.isfinite(number.real) and math.isfinite(number.imag)


def oracle(a: NDArray[Any], b: NDArray[Any]) -> Difference:
    """The same one pair at a time, with exact sums; blocks of the same bits are not looked for."""
    pairs = list(zip(plain(a), plain(b), strict=True))
    both = [(x, y) for x, y in pairs if is_finite(x) and is_finite(y)]
    apart = [abs(y - x) for x, y in both]
    nan = [(x != x, y != y) for x, y in pairs]
    return Difference(
        count=len(pairs),
        changed=sum(x != y and not all(missing) for (x, y), missing in zip(pairs, nan, strict=True)),
        finite=len(both),
        nans=sum(y and not x for x, y in nan),
        infinities=sum(is_finite(x) and not is_finite(y) and y == y for x, y in pairs),
        mended=sum(is_finite(y) and not is_finite(x) for x, y in pairs),
        largest=float(max(apart, default=0)),
        absolute=math.fsum(apart),
        squares=math.fsum(float(each) ** 2 for each in apart),
        before=math.fsum(float(abs(x)) ** 2 for x, _ in both),
        after=math.fsum(float(abs(y)) ** 2 for _, y in both),
    )


def assert_near(found: Difference, expected: Difference) -> None:
    for name in ("count", "changed", "finite", "nans", "infinities", "mended"):
        assert getattr(found, name) == getattr(expected, name), name
    for name in ("largest", "absolute", "squares", "before", "after"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-12, abs=1e-300), name


def a_change(name: str, count: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ordinary elements, and as many of which a third is otherwise."""
    random = np.random.default_rng(seed)
    if name == "bool":
        return random_elements(name, count, seed), random_elements(name, count, seed + 1)
    values = ordinary_elements(name, count, std=20 if DTYPES[name].to_numpy().kind in "iu" else 0.5, seed=seed)
    return values, np.where(random.random(count) < 1 / 3, values[::-1], values).astype(values.dtype)


@pytest.mark.parametrize("name", ALL)
def test_it_is_the_sum_of_its_pairs(name: str, computing: str) -> None:
    a, b = a_change(name, 1000)
    assert_near(compare(DTYPES[name], a, DTYPES[name], b), oracle(a, b))


@pytest.mark.parametrize("first", FLOATS)
@pytest.mark.parametrize("second", [*FLOATS, "float8_e4m3fn", "int8", "bool"])
def test_types_may_differ(first: str, second: str, computing: str) -> None:
    a, b = ordinary_elements(first, 700, std=1), ordinary_elements(second, 700, std=1, seed=1)
    assert_near(compare(DTYPES[first], a, DTYPES[second], b), oracle(a, b))


@pytest.mark.parametrize("name", [*FLOATS, "float8_e5m2", *COMPLEX])
def test_what_is_no_number_is_counted_and_left_out(name: str, computing: str) -> None:
    a, b = a_change(name, 600)
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0]).astype(a.dtype)
    for at, (x, y) in enumerate((x, y) for x in special for y in special):
        a[at * 7], b[at * 7] = x, y
    found = compare(DTYPES[name], a, DTYPES[name], b)
    assert_near(found, oracle(a, b))
    assert found.nans >= 5
    assert found.infinities == 6
    assert found.mended == 9


@pytest.mark.parametrize("name", [*FLOATS, "int16"])
def test_equal_blocks_are_told_by_their_bytes(name: str, computing: str) -> None:
    a = random_elements(name, 2 * BLOCK + 100)
    b = a.copy()
    assert compare(DTYPES[name], a, DTYPES[name], b) == Difference(count=len(a), same=len(a))
    b[BLOCK + 5] = a[BLOCK + 5] = np.array(3).astype(a.dtype)
    b[BLOCK + 5] = np.array(5).astype(a.dtype)
    found = compare(DTYPES[name], a, DTYPES[name], b)
    assert (found.same, found.changed, found.largest) == (BLOCK + 100, 1, 2)


def test_minus_zero_is_equal_but_not_the_same(computing: str) -> None:
    a, b = np.zeros(10, "f4"), np.full(10, -0.0, "f4")
    found = compare(DTYPES["float32"], a, DTYPES["float32"], b)
    assert found.same_values
    assert not found.same_bits


@pytest.mark.parametrize("name", FLOATS)
def test_zeros_of_both_signs_are_equal_among_thousands(name: str, computing: str) -> None:
    a, b = a_change(name, 3 * 2048)
    a[:4096:3], b[:4096:3] = -0.0, 0.0
    kind = DTYPES[name]
    assert compare(kind, a, kind, b).changed == int(np.count_nonzero(a.astype("f8") != b.astype("f8")))


def test_whole_numbers_of_64_bits_are_compared_whole() -> None:
    a = np.array([1 << 60, 5], "i8")
    b = a + np.array([1, 0])
    assert compare(DTYPES["int64"], a, DTYPES["int64"], b).changed == 1


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FLOATS), st.sampled_from(FLOATS), st.integers(1, 3000), st.integers(0, 1 << 20), st.booleans())
def test_c_and_numpy_agree_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch, first: str, second: str, count: int, seed: int, ordinary: bool
) -> None:
    if accelerator.library() is None:
        pytest.skip("the C code was not built")
    make = ordinary_elements if ordinary else random_elements
    a, b = make(first, count, seed=seed), make(second, count, seed=seed + 1)
    if first == second:
        b[: count // 2] = a[: count // 2]
    in_c = compare(DTYPES[first], a, DTYPES[second], b)
    with monkeypatch.context() as patch:
        patch.setattr(accelerator, "library", lambda: None)
        by_numpy = compare(DTYPES[first], a, DTYPES[second], b)
    assert repr(in_c) == repr(by_numpy)  # which takes NaN for NaN, as overflow makes it


@pytest.mark.parametrize("name", FLOATS)
def test_large_stretches_agree_as_well(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if accelerator.library() is None:
        pytest.skip("the C code was not built")
    a, b = a_change(name, 2 * BLOCK + 777)
    in_c = compare(DTYPES[name], a, DTYPES[name], b)
    monkeypatch.setattr(accelerator, "library", lambda: None)
    assert compare(DTYPES[name], a, DTYPES[name], b) == in_c


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_parts_merge_to_the_whole(name: str) -> None:
    kind = DTYPES[name]
    a, b = a_change(name, 3 * BLOCK)
    whole = compare(kind, a, kind, b)
    first, second = (compare(kind, a[part], kind, b[part]) for part in (slice(BLOCK), slice(BLOCK, None)))
    assert first.merge(second).changed == whole.changed
    assert first.merge(second).squares == pytest.approx(whole.squares, rel=1e-13)
    assert Difference().merge(whole) == whole.merge(Difference()) == whole


def test_the_figures_are_what_they_are_called() -> None:
    a, b = np.array([3.0, 4.0, 0.0]), np.array([3.0, 4.0, 0.5])
    found = compare(DTYPES["float64"], a, DTYPES["float64"], b)
    assert (found.max, found.mean, found.share, found.relative) == (0.5, 0.5 / 3, 1 / 3, 0.1)
    assert found.snr == pytest.approx(20)
    assert found.cosine == pytest.approx(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))
    nothing = compare(DTYPES["float64"], np.zeros(3), DTYPES["float64"], b)
    assert (nothing.relative, nothing.cosine, nothing.snr) == (math.inf, None, -math.inf)
    assert Difference().snr == math.inf


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "int32", "complex64", "float8_e4m3fn"])
def test_a_tolerance_is_numpys(name: str) -> None:
    a, b = a_change(name, 500)
    if name == "float32":
        a[:6], b[:6] = [np.nan, np.nan, np.inf, np.inf, 1, np.inf], [np.nan, 1, np.inf, -np.inf, np.nan, 1]
    wide = "c16" if DTYPES[name].is_complex else "f8"
    far = ~np.isclose(a.astype(wide), b.astype(wide), 0.25, 0.125, equal_nan=True)
    assert 0 < beyond(a, b, 0.125, 0.25) == int(np.count_nonzero(far))


def test_the_c_code_refuses_buffers_that_do_not_fit() -> None:
    found = accelerator.library()
    if found is None:
        pytest.skip("the C code was not built")
    record, data = np.zeros(1, pair_kernels._RECORD).view("u1"), bytes(8)
    for wrong in ((1, data, 1, bytes(12), record), (9, data, 1, data, record), (1, data, 1, data, record[1:])):
        with pytest.raises(ValueError, match="do not fit"):
            found.compare(*wrong)
