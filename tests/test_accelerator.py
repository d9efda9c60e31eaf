"""The C code: that it may be absent, what it refuses, and that it casts and adds up as numpy does, bit for bit."""

import itertools
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from statedict import accelerator
from statedict.dtypes import DTYPES
from statedict.expressions.arithmetic import Combination
from statedict.expressions.nodes import Leaf
from statedict.expressions.rounding import convert, round_once
from statedict.tree.tensor import Tensor
from tests.numbers import FLOATS, computing, random_elements, without_accelerator

__all__ = ["computing"]  # a fixture


def same_values(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two arrays are equal bit for bit, where neither is NaN: of that, no payload is promised."""
    assert first.dtype == second.dtype
    nan = np.isnan(first.astype("f4") if first.dtype.itemsize == 2 else first)
    other = np.isnan(second.astype("f4") if second.dtype.itemsize == 2 else second)
    return bool(np.array_equal(nan, other) and first[~nan].tobytes() == second[~nan].tobytes())


def floats(name: str, count: int, seed: int) -> NDArray[Any]:
    """Any patterns, and as many numbers in the range of all types, also halfway between two float16 or bfloat16."""
    random = np.random.default_rng(seed)
    middling = random.standard_normal(count) * np.exp2(random.integers(-30, 20, count))
    halfway = (random.integers(0, 1 << 16, count, "u4") << 16 | 0x8000).view("f4").astype("f8")
    ties = np.float64(1) + (2 * random.integers(0, 1 << 10, count) + 1) * 2.0**-11
    with np.errstate(over="ignore", invalid="ignore"):
        known = np.concatenate([middling, halfway, ties, ties * (1 + 2.0**-40)]).astype(DTYPES[name].to_numpy())
    return np.concatenate([random_elements(name, count, seed), known])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # signalling NaN, as they become quiet
@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(FLOATS, 2)))
def test_casts(computing: str, source: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = random_elements(source, 1 << 16) if DTYPES[source].bits == 16 else floats(source, 20_000, 0)
    found = convert(values, DTYPES[target])
    without_accelerator(monkeypatch)
    assert same_values(found, convert(values, DTYPES[target]))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("target", FLOATS)
def test_results_are_rounded_once(computing: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = floats("float64", 50_000, 1)
    found = round_once(values, DTYPES[target])
    without_accelerator(monkeypatch)
    assert same_values(found, round_once(values, DTYPES[target]))


@st.composite
def combinations(draw: st.DrawFn) -> Combination:
    numel, seed = draw(st.integers(0, 5000)), draw(st.integers(0, 1 << 30))
    terms: list[Any] = []
    for at in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from((*FLOATS, "int32", "float8_e4m3fn")))
        leaf = Leaf(Tensor(random_elements(name, numel, seed + at)).info)
        terms.append((draw(st.sampled_from([1, -1, 0, 0.3, -2.5, 1e-40, 2**40])), leaf))
    constant = draw(st.sampled_from([0, 0.0, 1, -0.1]))
    return Combination(tuple(terms), constant, DTYPES[draw(st.sampled_from(FLOATS))])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
@given(combinations())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_linear_combinations(computing: str, made: Combination) -> None:
    found = made.stored(0, made.numel)
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_accelerator(monkeypatch)
        assert same_values(found, made.stored(0, made.numel))


def test_more_terms_than_are_held_at_once(computing: str) -> None:
    leaf = Leaf(Tensor(np.ones(3, "f4")).info)
    assert Combination(((1, leaf),) * 40, 0, DTYPES["float32"]).stored(0, 3).tolist() == [40] * 3


# The module itself


def test_it_can_be_turned_off() -> None:
    ask = "from statedict.accelerator import library, used; print(library(), used())"
    plain = {name: value for name, value in os.environ.items() if name != "STATEDICT_NO_ACCELERATOR"}
    off = {**plain, "STATEDICT_NO_ACCELERATOR": "1"}
    said = subprocess.run([sys.executable, "-c", ask], env=off, check=True, capture_output=True, text=True).stdout
    assert said == "None numpy\n"


def test_it_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator.library.cache_clear()
    monkeypatch.setitem(sys.modules, "statedict._accelerated", None)
    assert accelerator.library() is None
    accelerator.library.cache_clear()


@pytest.fixture
def library() -> Any:
    found = accelerator.library()
    return found or pytest.skip("the C code was not built")


def test_it_says_what_it_makes_use_of(library: Any) -> None:
    assert accelerator.used() == f"C accelerator: {library.level()}"
    with pytest.raises(ValueError, match="no level `mmx`"):
        library.level("mmx")


def test_buffers_that_do_not_fit_are_refused(library: Any) -> None:
    eight, other, record = np.zeros(8, "u1"), np.zeros(7, "u1"), np.zeros(96, "u1")
    odd = np.zeros(9, "u1")[1:]
    refused: list[tuple[Any, tuple[Any, ...]]] = [
        (library.summarize, (0, eight, eight)),
        (library.summarize, (99, eight, record)),
        (library.summarize, (-1, eight, record)),
        (library.summarize, (1, odd, record)),
        (library.cast, (1, eight, 2, eight)),
        (library.cast, (4, eight, 0, eight)),
        (library.cast, (1, eight, 99, eight)),
        (library.linear, (b"\1", (eight,), eight, 0.0, 1, other)),
        (library.linear, (b"\1\1", (eight,), eight, 0.0, 1, eight)),
        (library.linear, (b"\1", (eight, eight), eight, 0.0, 1, eight)),
        (library.linear, (b"\x09", (eight,), eight, 0.0, 1, eight)),
        (library.linear, (b"", (), eight, 0.0, 1, eight)),
        (library.count, (eight, 2, 0, 0, eight)),
        (library.count, (eight, 3, 0, 0, np.zeros(1 << 19, "u1"))),
        (library.count, (eight, 4, 8, 0, np.zeros(1 << 19, "u1"))),
        (library.count, (odd, 4, 16, 0, np.zeros(1 << 19, "u1"))),
    ]
    for function, arguments in refused:
        with pytest.raises(ValueError, match="do not fit"):
            function(*arguments)
    with pytest.raises((BufferError, TypeError)):
        library.cast(1, eight, 0, bytes(16))
