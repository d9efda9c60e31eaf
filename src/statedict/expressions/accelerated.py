"""What of the arithmetic the C code takes over, where it is there: the same elements bit for bit as numpy's."""

from typing import TYPE_CHECKING, Any

from statedict import accelerator
from statedict.accelerator import CODES
from statedict.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FLOATS = frozenset({"float64", "float32", "float16", "bfloat16"})
"""The types, by numpy's and our common names, that it converts and adds up."""
_MOST_TERMS = 16
"""More would all be held in memory at once, which numpy, term by term, need not."""


def converted(values: "NDArray[Any]", dtype: DType) -> "NDArray[Any] | None":
    """`values` as elements of `dtype`, as `rounding.convert` rounds them; None where only numpy can."""
    found = accelerator.library()
    if found is None or dtype.name not in FLOATS or values.dtype.name == dtype.name or not _takes(values):
        return None
    import numpy as np

    out = np.empty(values.shape, dtype.to_numpy())
    found.cast(CODES[values.dtype.name], _bytes(values), CODES[dtype.name], _bytes(out))
    return out


def adds(dtype: DType, terms: int) -> bool:
    """Whether `weighted_sum` takes so many terms for a result of that type."""
    return dtype.name in FLOATS and terms <= _MOST_TERMS and accelerator.library() is not None


def weighted_sum(terms: "Sequence[tuple[float, NDArray[Any]]]", constant: float, dtype: DType) -> "NDArray[Any]":
    """The sum of arrays, each times its number, and of a constant, in float64, rounded as `rounding.round_once` does.

    The arrays have one shape, and are of `FLOATS`.
    """
    import numpy as np

    out = np.empty(terms[0][1].shape, dtype.to_numpy())
    codes = bytes(CODES[values.dtype.name] for _, values in terms)
    weights = np.array([weight for weight, _ in terms], np.float64)
    inputs = tuple(_bytes(np.require(values, requirements=["C", "ALIGNED"])) for _, values in terms)
    accelerator.library().linear(codes, inputs, _bytes(weights), constant, CODES[dtype.name], _bytes(out))
    return out


def _takes(values: "NDArray[Any]") -> bool:
    return values.dtype.name in FLOATS and values.dtype.isnative and values.flags.c_contiguous and values.flags.aligned


def _bytes(values: "NDArray[Any]") -> "NDArray[Any]":
    return values.reshape(-1).view("u1")
