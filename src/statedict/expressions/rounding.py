"""How values become elements of another type: as PyTorch casts, or rounded once from a wider working precision."""

from typing import TYPE_CHECKING, Any, Literal, cast

from statedict.dtypes import DType
from statedict.expressions import accelerated

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Overflow = Literal["torch", "saturate", "error"]
"""What becomes of a number beyond the largest: as PyTorch has it, that largest one, or an OverflowError."""

_SATURATED = frozenset({"float8_e4m3fn"})
"""Types without infinities for which PyTorch takes the largest number instead."""


def convert(values: "NDArray[Any]", dtype: DType, overflow: Overflow = "torch") -> "NDArray[Any]":
    """`values` as elements of `dtype`, as PyTorch's `Tensor.to` gives them.

    To nearest, ties to even; what goes to a type below 32 bits is rounded to float32 first. To whole numbers towards
    zero; of complex numbers the real part, or for a truth value whether any is not 0. NaN stays NaN, with what payload
    is not said.
    Raises OverflowError, if `overflow` is "error", where a finite number is beyond the largest.
    """
    import numpy as np

    target = dtype.to_numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        if values.dtype.kind == "c" and not dtype.is_complex and dtype.name != "bool":
            values = np.real(values)
        if dtype.is_floating_point:
            narrow = dtype.bits < 32 and values.dtype != target
            rounded = accelerated.converted(values, dtype) if overflow != "saturate" else None
            if rounded is None:
                rounded = _narrowed(values.astype(np.float32, copy=False) if narrow else values, dtype, overflow)
            if overflow == "error" and (lost := np.isfinite(values) & ~np.isfinite(rounded)).any():
                most = float(np.abs(values[lost]).max())
                raise OverflowError(f"holds {most:g}, beyond the largest {dtype}, {float(_largest(dtype)):g}")
            return rounded
        if target.kind in "iu" and overflow != "torch":
            return _bounded(values, dtype, overflow)
        return values.astype(target, copy=False)


def round_once(values: "NDArray[Any]", dtype: DType, overflow: Overflow = "torch") -> "NDArray[Any]":
    """Values of working precision (float64, int64, complex128) as elements of `dtype`, each the nearest one.

    Rounding to float32 between, as `convert` does, would decide some ties wrongly. Raises as `convert` does.
    """
    import numpy as np

    if values.dtype == np.float64 and dtype.is_floating_point and dtype.bits < 32:
        if overflow == "torch" and accelerated.adds(dtype, 1):
            return accelerated.weighted_sum([(1.0, values)], 0.0, dtype)
        values = _to_odd(values)
    return convert(values, dtype, overflow)


def _to_odd(values: "NDArray[np.float64]") -> "NDArray[np.float32]":
    """float64 as float32, the inexact ones to the neighbour whose last bit is set: a later rounding is then exact."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        near = values.astype(np.float32)
        back = near.astype(np.float64)
        bits = near.view(np.uint32)
        bits -= np.abs(back) > np.abs(values)  # cut off instead of rounded
        bits |= (back != values) & ~np.isnan(values)
    return near


def _narrowed(values: "NDArray[Any]", dtype: DType, overflow: Overflow) -> "NDArray[Any]":
    import numpy as np

    target = dtype.to_numpy()
    if dtype.name == "float8_e8m0fnu":
        return _exponents(values).view(target)
    if values.dtype == target:
        return values
    if overflow == "saturate" or (overflow == "torch" and dtype.name in _SATURATED):
        most = _largest(dtype)
        return np.clip(values, -most, most).astype(target)
    return _bfloat16(values) if dtype.name == "bfloat16" and values.dtype == np.float32 else values.astype(target)


def _bounded(values: "NDArray[Any]", dtype: DType, overflow: Overflow) -> "NDArray[Any]":
    """Whole numbers, of which those that the type cannot hold are its nearest one, or an OverflowError; NaN is 0."""
    import numpy as np

    target = dtype.to_numpy()
    least, most = np.iinfo(target).min, np.iinfo(target).max
    if values.dtype.kind not in "iub":
        values = np.nan_to_num(np.trunc(values.astype(np.float64)), posinf=np.inf, neginf=-np.inf)
    below, above = values < least, values >= most + 1  # `most` of int64 is no float64, the next number is
    if overflow == "error" and (outside := below | above).any():
        raise OverflowError(f"holds {float(values[outside][0]):g}; {dtype} holds {least:,} to {most:,}")
    held = values.astype(target)
    held[below], held[above] = least, most
    return held


def _largest(dtype: DType) -> Any:
    import numpy as np

    if dtype.name in ("float16", "float32", "float64"):
        return np.finfo(dtype.numpy).max
    import ml_dtypes

    return np.float32(cast("Any", ml_dtypes.finfo(dtype.to_numpy())).max)


def _bfloat16(values: "NDArray[np.float32]") -> "NDArray[Any]":
    """float32 rounded to bfloat16 on the bits, three times as fast as `ml_dtypes` does it."""
    import ml_dtypes
    import numpy as np

    bits = values.view(np.uint32)
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    narrow = rounded.astype(np.uint16)
    missing = np.isnan(values)
    if missing.any():
        narrow[missing] = 0x7FC0
    return narrow.view(ml_dtypes.bfloat16)


def _exponents(values: "NDArray[Any]") -> "NDArray[np.uint8]":
    """float32 as powers of two (OCP's E8M0): to the nearest exponent, at a tie to the upper; without a sign."""
    import numpy as np

    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    exponent = (bits >> 23) & 0xFF
    rest = bits & 0x7FFFFF
    up = (rest > 0x400000) | ((rest == 0x400000) & (exponent > 0))
    return (exponent + (up & (exponent < 0xFF))).astype(np.uint8)
