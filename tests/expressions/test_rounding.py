"""Casts equal torch's bit for bit, and results of arithmetic are the nearest numbers there are."""

import functools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from statedict.dtypes import DTYPES, DType
from statedict.expressions.rounding import convert, round_once
from statedict.tree.tensor import Tensor

Array = NDArray[Any]
SIXTEEN = np.arange(1 << 16, dtype="u2")
EIGHT = np.arange(1 << 8, dtype="u1")
RANDOM = np.random.default_rng(4)


def spread(kind: str, count: int = 40_000) -> Array:
    """Floats of every pattern, subnormals, infinities and NaN among them; and as many of the sizes of weights."""
    bits = RANDOM.integers(0, 1 << (8 * np.dtype(kind).itemsize), count, f"u{kind[1]}").view(kind)
    middling = RANDOM.standard_normal(count) * np.exp2(RANDOM.integers(-160, 130, count))
    return np.concatenate([bits, middling.astype(kind)])


def whole(kind: str, count: int = 40_000) -> Array:
    """Whole numbers of every length."""
    bits = 8 * np.dtype(kind).itemsize
    numbers = RANDOM.integers(0, 1 << bits, count, f"u{kind[1]}") >> RANDOM.integers(0, bits, count, f"u{kind[1]}")
    return np.concatenate([numbers, -numbers.astype(f"i{kind[1]}")]).view(kind)


with np.errstate(over="ignore"):
    SOURCES: dict[str, Array] = {
        **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), SIXTEEN),
        **{
            name: EIGHT
            for name in DTYPES
            if name in ("int8", "uint8") or (name.startswith("float8") and hasattr(torch, name))
        },
        "bool": np.array([0, 1], "u1"),
        "float32": spread("f4"),
        "float64": spread("f8"),
        "complex64": spread("f4"),
        "complex128": spread("f8"),
        "int32": whole("i4"),
        "int64": whole("i8"),
        "uint32": whole("u4"),
        "uint64": whole("u8"),
    }
"""The values to cast from, by their type; those of at most 16 bits are all that there are."""
TARGETS = [
    name
    for name, dtype in DTYPES.items()
    if hasattr(torch, name)
    and not dtype.quantized
    and (dtype.is_floating_point or dtype.is_complex or name in SOURCES)
    and name not in ("float4_e2m1fn_x2", "complex32")
]


def live(name: str) -> torch.Tensor:
    data = SOURCES[name]
    return torch.from_numpy(data.view("u1").copy()).view(getattr(torch, name))


def undefined(values: torch.Tensor, target: DType) -> torch.Tensor:
    """Which of them C leaves undefined: what a type of whole numbers cannot hold."""
    if target.is_floating_point or target.is_complex or target.name == "bool":
        return torch.zeros(values.shape, dtype=torch.bool)
    real = (values.real if values.is_complex() else values).double()
    if not values.dtype.is_floating_point and not values.is_complex():
        return torch.zeros(values.shape, dtype=torch.bool)
    info = torch.iinfo(getattr(torch, target.name))
    return ~((real > float(info.min) - 1) & (real < float(info.max) + 1) & (real >= -(2.0**63)) & (real < 2.0**63))


def differences(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Where bits differ, unless both are NaN."""
    if ours.is_complex():
        ours, theirs = torch.view_as_real(ours), torch.view_as_real(theirs)
        return differences(ours, theirs).any(-1)
    apart = (ours.view(torch.uint8) != theirs.view(torch.uint8)).reshape(len(ours), -1).any(1).reshape(ours.shape[:1])
    if ours.ndim == 2:
        size = ours.element_size()
        apart = (ours.view(torch.uint8) != theirs.view(torch.uint8)).reshape(*ours.shape, size).any(-1)
    if ours.dtype.is_floating_point:
        apart &= ~(ours.float().isnan() & theirs.float().isnan())
    return apart


@pytest.mark.filterwarnings("ignore:Casting complex values to real discards")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_casts_equal_torchs(source: str, target: str) -> None:
    values = live(source)
    try:
        theirs = values.to(getattr(torch, target))
    except NotImplementedError:
        pytest.skip("PyTorch has no such cast")

    ours = Tensor(values).to(target).torch()

    assert ours.dtype == theirs.dtype
    wrong = differences(ours, theirs) & ~undefined(values, DTYPES[target])
    assert values[wrong].tolist() == []


def test_the_comparison_sees_differences() -> None:
    a = torch.tensor([0.0, 1.0, float("nan"), float("nan")])
    b = torch.tensor([-0.0, 1.0, float("nan"), 2.0])
    assert differences(a, b).tolist() == [True, False, False, True]
    assert differences(torch.complex(a, b), torch.complex(b, b)).tolist() == [True, False, False, True]


NARROW = ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]


@functools.cache
def finite(name: str) -> Array:
    """All finite numbers of a type from the lowest to the highest, zero once, as float64."""
    dtype = DTYPES[name]
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        patterns = (SIXTEEN if dtype.bits == 16 else EIGHT).view(dtype.to_numpy()).astype("f8")
    return np.unique(patterns[np.isfinite(patterns)])


def even(name: str, numbers: Array) -> Array:
    """Which of a type's numbers have a last bit of 0."""
    stored = numbers.astype(DTYPES[name].to_numpy())
    return stored.view(f"u{stored.itemsize}") % 2 == 0


@pytest.mark.parametrize("name", NARROW)
def test_arithmetic_rounds_every_tie_and_its_neighbours_rightly(name: str) -> None:
    """Half-way between two numbers, to the even one; by the least bit of a float64 beside it, to the nearer one."""
    numbers = finite(name)
    below, above = numbers[:-1], numbers[1:]
    half = (below + above) / 2
    dtype = DTYPES[name]

    assert (round_once(half, dtype).astype("f8") == np.where(even(name, below), below, above)).all()
    assert (round_once(np.nextafter(half, np.inf), dtype).astype("f8") == above).all()
    assert (round_once(np.nextafter(half, -np.inf), dtype).astype("f8") == below).all()


def test_a_cast_rounds_twice_as_pytorch_does() -> None:
    """float64 goes to 16 bits by way of float32 there: the one case where a cast and arithmetic differ."""
    above_half = np.array([1 + 2.0**-11 + 2.0**-40])
    assert torch.from_numpy(above_half).half().item() == 1.0
    assert convert(above_half, DTYPES["float16"]) == 1.0
    assert round_once(above_half, DTYPES["float16"]) == 1 + 2.0**-10


@pytest.mark.parametrize("name", [*NARROW, "float32"])
@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_arithmetic_gives_the_nearest_number(name: str, value: float) -> None:
    dtype = DTYPES[name]
    found = round_once(np.array([value]), dtype)
    largest = Fraction(float(np.finfo("f4").max) if name == "float32" else float(finite(name)[-1]))
    if not np.isfinite(found.astype("f8"))[0]:
        assert abs(Fraction(value)) > largest
        return
    distance = abs(Fraction(float(found[0])) - Fraction(value))
    for way in (-np.inf, np.inf):
        other = beside(found, dtype, way)
        if other is not None and abs(Fraction(value)) <= largest:
            assert distance <= abs(Fraction(other) - Fraction(value))


def beside(found: Array, dtype: DType, way: float) -> float | None:
    """The next finite number of its type in one direction."""
    if dtype.name == "float32":
        with np.errstate(over="ignore"):
            other = np.nextafter(found[0], np.float32(way))
        return float(other) if np.isfinite(other) else None
    numbers = finite(dtype.name)
    at = int(np.searchsorted(numbers, found.astype("f8")[0])) + (1 if way > 0 else -1)
    return float(numbers[at]) if 0 <= at < len(numbers) else None


@pytest.mark.parametrize("name", [*NARROW, "float32"])
def test_beyond_the_largest(name: str) -> None:
    dtype = DTYPES[name]
    largest = float(np.finfo("f4").max) if name == "float32" else float(finite(name)[-1])
    values = np.array([1.0, largest, largest * 4, -largest * 4, np.inf])

    saturated = convert(values, dtype, "saturate").astype("f8")
    assert saturated.tolist() == [1.0, largest, largest, -largest, largest]
    with pytest.raises(OverflowError, match=f"beyond the largest {name}, "):
        convert(values[:4], dtype, "error")
    assert convert(values[:2], dtype, "error").astype("f8").tolist() == [1.0, largest]


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint32", "int32", "int64", "uint64"])
@pytest.mark.parametrize("source", ["float64", "float32", "int64", "uint64"])
def test_whole_numbers_beyond_the_largest(source: str, name: str) -> None:
    dtype = DTYPES[name]
    least, most = np.iinfo(name).min, np.iinfo(name).max
    values = SOURCES[source].view(source)
    values = values[np.isfinite(values)] if source.startswith("f") else values
    exact = [min(max(int(value), least), most) for value in values.tolist()]

    assert convert(values, dtype, "saturate").tolist() == exact
    held = np.array([least <= int(value) <= most for value in values.tolist()])
    assert convert(values[held], dtype, "error").tolist() == [int(value) for value in values[held].tolist()]
    for value in values[~held][:5]:
        with pytest.raises(OverflowError, match=rf"^holds \S+; {name} holds {least:,} to {most:,}$"):
            convert(np.array([value]), dtype, "error")


def test_no_number_saturates_to_zero() -> None:
    assert convert(np.array([np.nan, np.inf, -np.inf]), DTYPES["int8"], "saturate").tolist() == [0, 127, -128]


def test_reading_tells_which_tensor_is_beyond_the_largest() -> None:
    import statedict as sd

    model = sd.open({"fc": {"weight": torch.tensor([[1.0, -70_000.0]])}})
    tensor = model.get_parameter("fc.weight").to("float16", overflow="error")
    with pytest.raises(
        sd.StatedictError, match=r"^tensor `fc.weight` holds 70000, beyond the largest float16, 65504; "
    ):
        tensor.numpy()
