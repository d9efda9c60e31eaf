"""Which element type a result has: PyTorch's rules of type promotion (the page "Tensor Attributes" of its manual)."""

from functools import reduce

from statedict.dtypes import DTYPES, DType
from statedict.index import TensorInfo

Number = bool | int | float | complex

_BOOL = DTYPES["bool"]
_COMPLEX = {16: DTYPES["complex32"], 32: DTYPES["complex64"], 64: DTYPES["complex128"]}
"""The complex type whose parts have so many bits."""


def result_type(*operands: TensorInfo | Number) -> DType:
    """The type of a sum or product: tensors without dimensions, and below them numbers, only add a higher category."""
    ranks: list[list[DType]] = [[], [], []]
    for each in operands:
        if isinstance(each, TensorInfo):
            ranks[0 if each.shape else 1].append(each.dtype)
        else:
            ranks[2].append(_of_number(each))
    return reduce(_with_lower, (reduce(promoted, rank) for rank in ranks if rank))


def promoted(a: DType, b: DType) -> DType:
    """The smallest type that both can become."""
    if a is b:
        return a
    if _category(a) != _category(b):
        low, high = (a, b) if _category(a) < _category(b) else (b, a)
        return promoted(_complex(low), high) if high.is_complex and low.is_floating_point else high
    if a.is_floating_point and a.bits == b.bits:
        return DTYPES["float32"]  # float16 and bfloat16
    narrow, wide = sorted((a, b), key=lambda each: (each.bits, each.name))  # of one size, "uint8" behind "int8"
    if wide.name.startswith("uint") and narrow.name.startswith("int"):
        return DTYPES[f"int{min(64, wide.bits * 2)}"]
    return wide


def _with_lower(higher: DType, lower: DType) -> DType:
    """Of operands of two ranks: the type of the higher one, unless the lower's category is above it."""
    if _category(lower) <= _category(higher) and higher is not _BOOL:
        return higher
    if higher.is_floating_point and lower.is_complex:
        return _complex(higher)
    return promoted(higher, lower)


def _category(dtype: DType) -> int:
    """Truth values, whole numbers, floating point, complex numbers."""
    if dtype.is_complex:
        return 3
    return 2 if dtype.is_floating_point else 0 if dtype is _BOOL else 1


def _complex(dtype: DType) -> DType:
    return DTYPES["complex64"] if dtype.name == "bfloat16" else _COMPLEX[dtype.bits]


def _of_number(number: Number) -> DType:
    """The default type of a Python number."""
    if isinstance(number, bool):
        return _BOOL
    return DTYPES["int64" if isinstance(number, int) else "float32" if isinstance(number, float) else "complex64"]
