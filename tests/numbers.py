"""Elements of every type to compute with, and both ways of computing: in C and by numpy."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from statedict import accelerator
from statedict.dtypes import DTYPES, DType

FLOATS = ("float64", "float32", "float16", "bfloat16")
SMALL_FLOATS = (
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "f6_e2m3", "f6_e3m2", "f4",
)  # fmt: skip
WHOLE = ("int64", "uint64", "int32", "uint32", "int16", "uint16", "int8", "uint8", "int4_packed", "uint2_packed")
COMPLEX = ("complex128", "complex64")
ALL = (*FLOATS, *SMALL_FLOATS, *WHOLE, "bool", *COMPLEX)


def without_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, and to the end of the test, numpy computes."""
    monkeypatch.setattr(accelerator, "library", lambda: None)


def without_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, and to the end of the test, Python reads the headers of files."""
    monkeypatch.setattr(accelerator, "headers", lambda: None)


@pytest.fixture(params=["baseline", "avx2", "avx512", "numpy"])
def computing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """A test for each kind of processor that the C code makes use of, and one by numpy."""
    library = accelerator.library()
    if request.param == "numpy":
        without_accelerator(monkeypatch)
        yield request.param
    elif library is None:
        pytest.skip("the C code was not built")
    else:
        before = library.level()
        try:
            library.level(request.param)
        except ValueError:
            pytest.skip("another kind of processor")
        yield request.param
        library.level(before)


def random_elements(name: str, count: int, seed: int = 0) -> NDArray[Any]:
    """Elements of every pattern that the type has, as numpy has them: NaN, infinities and denormal numbers as well."""
    dtype, random = DTYPES[name], np.random.default_rng(seed)
    if dtype.bits < 8 or name == "bool":
        codes = random.integers(0, 2 if name == "bool" else 1 << dtype.bits, count, "u1")
        return codes.view(dtype.to_numpy())
    part = dtype.itemsize // (2 if dtype.is_complex else 1)
    parts = count * dtype.itemsize // part
    return random.integers(0, 1 << 8 * part, parts, f"u{part}").view(dtype.to_numpy())


def ordinary_elements(name: str, count: int, mean: float = 0.0, std: float = 0.02, seed: int = 0) -> NDArray[Any]:
    """Normally distributed elements, as weights are."""
    values = np.random.default_rng(seed).normal(mean, std, count)
    return values.astype(DTYPES[name].to_numpy())


@st.composite
def elements(draw: st.DrawFn, names: tuple[str, ...] = ALL) -> tuple[DType, NDArray[Any]]:
    """A type, and a few elements of it: any patterns, small numbers, or equal ones."""
    name = draw(st.sampled_from(names))
    values = random_elements(name, draw(st.integers(0, 600)), draw(st.integers(0, 1 << 30)))
    if draw(st.booleans()) and len(values):
        values = np.resize(values[: draw(st.integers(1, 5))], len(values))
    if DTYPES[name].is_floating_point and draw(st.booleans()):
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            values = values[np.isfinite(values.astype("f8"))]
    return DTYPES[name], values
