"""A glance at a few elements refutes most kinds of change, and none that numpy would prove."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from statedict.dtypes import DTYPES
from statedict.ops.diff.evidence import evidence
from statedict.ops.diff.glance import LOOKED_AT, may_be_of_a_kind
from statedict.pair_kernels import compare
from tests.numbers import FLOATS, ordinary_elements

CHANGES = ("none", "rounded", "zeroed", "flipped", "scaled", "few", "few in groups", "one element", "another")


def changed(how: str, name: str, a: NDArray[Any], seed: int) -> NDArray[Any]:
    """The same elements after a change."""
    wide, some = a.astype("f8"), np.random.default_rng(seed).random(len(a)) < 0.3
    if how == "rounded":
        narrower = DTYPES["float32" if name == "float64" else "float8_e5m2"].to_numpy()
        wide = wide.astype(narrower).astype("f8")
    elif how == "zeroed":
        wide[some] = 0.0
    elif how == "flipped":
        wide[some] *= -1
    elif how == "scaled":
        wide *= (0.5, -1.25, 0.1)[seed % 3]
    elif how == "few":
        wide = np.round(wide * 100) / 100
    elif how == "few in groups":
        rows = wide[: len(wide) // 32 * 32].reshape(-1, 32)
        rows[:] = np.sign(rows) * np.abs(rows).max(axis=1, initial=0, keepdims=True)
    elif how == "one element":
        wide[len(wide) // 2] += 1
    elif how == "another":
        wide = ordinary_elements(name, len(a), seed=seed + 1).astype("f8")
    return wide.astype(a.dtype)


def glance(name: str, a: NDArray[Any], b: NDArray[Any]) -> bool:
    return may_be_of_a_kind(DTYPES[name], len(a), a[:LOOKED_AT].tobytes(), b[:LOOKED_AT].tobytes())


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(FLOATS), st.sampled_from(CHANGES), st.integers(1, 1200), st.integers(0, 99), st.booleans())
def test_what_is_proved_is_not_refuted_at_a_glance(name: str, how: str, count: int, seed: int, zeros: bool) -> None:
    kind, a = DTYPES[name], ordinary_elements(name, count, seed=seed)
    if zeros:
        a[::7], a[::11] = 0.0, -0.0
    b = changed(how, name, a, seed)
    proved = evidence(kind, a, kind, b, compare(kind, a, kind, b))
    assert proved.is_none or glance(name, a, b)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("how", [each for each in CHANGES if each not in ("one element", "another")])
def test_every_kind_is_seen_as_possible(name: str, how: str) -> None:
    a = ordinary_elements(name, 1000, seed=3)
    assert glance(name, a, changed(how, name, a, 3))


@pytest.mark.parametrize("name", FLOATS)
def test_what_is_of_no_kind_is_refuted(name: str) -> None:
    a, b = (ordinary_elements(name, 1000, seed=seed) for seed in range(2))
    assert not glance(name, a, b)


def test_whole_numbers_are_of_no_kind() -> None:
    assert not may_be_of_a_kind(DTYPES["int32"], 2, bytes(8), bytes(8))
