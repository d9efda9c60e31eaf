"""Whether a few elements leave any kind of change possible; most they refute, and then nothing needs numpy.

What `evidence` would prove of a stretch, its first elements do not refute here.
"""

import math
import struct
from array import array
from collections.abc import Sequence

from statedict.dtypes import DType

LOOKED_AT = 512
"""Elements of a stretch that tell what may be the case."""
NARROWER = ("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
MANTISSAS = {"float64": (52, -1074), "float32": (23, -149), "float16": (10, -24), "bfloat16": (7, -133)}
"""Bits of the mantissa behind the point, and the exponent of the least number, by element type."""
SIGNIFICANT = {"float32": 23, "float16": 10, "bfloat16": 7, "float8_e4m3fn": 3, "float8_e5m2": 2}
GROUPS = (32, 64, 128)
FEW_IN_GROUP = 16
FEW_IN_ALL = 256
FEWER = 1.3
"""How many times as many values the first has, at least, in the elements that are looked at."""
SCALED_BY = 8
"""Elements by which most scales are refuted."""
_WORDS = {2: "H", 4: "I", 8: "Q"}


def may_be_of_a_kind(dtype: DType, numel: int, a: bytes, b: bytes) -> bool:
    """Whether the first elements of two stretches of one type leave anything possible of all `numel`."""
    if dtype.name not in MANTISSAS:
        return False
    before, after = (array(_WORDS[dtype.itemsize], each) for each in (a, b))
    return (
        _may_be_rounded(dtype, after)
        or _may_be_masked(dtype, before, after)
        or may_be_scaled(dtype, _numbers(dtype, before[:SCALED_BY]), _numbers(dtype, after[:SCALED_BY]))
        or _may_be_few(numel, before, after)
    )


def _may_be_rounded(dtype: DType, after: Sequence[int]) -> bool:
    """Whether the last bits are zero, as those of a narrower type are."""
    own, set_bits = MANTISSAS[dtype.name][0], 0
    for bits in after:
        set_bits |= bits
    spare = min((own - SIGNIFICANT[name] for name in NARROWER if SIGNIFICANT[name] < own), default=0)
    return spare > 0 and set_bits & ((1 << spare) - 1) == 0


def _may_be_masked(dtype: DType, before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether all that changed became zero, or changed its sign alone."""
    magnitude = (1 << (dtype.bits - 1)) - 1
    changed = [(x ^ y, y) for x, y in zip(before, after, strict=True) if x != y]
    return not any(y & magnitude for _, y in changed) or not any(apart & magnitude for apart, _ in changed)


def may_be_scaled(second: DType, a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether the quotients of a few elements lie as near to each other as those of rounded numbers."""
    mantissa, least = MANTISSAS[second.name]
    normal = 2.0 ** (least + mantissa + 1)
    factors = [y / x for x, y in zip(a, b, strict=True) if abs(x) >= normal and normal <= abs(y) < math.inf]
    return not factors or not max(factors) - min(factors) > 2.0 ** (1 - mantissa) * max(abs(each) for each in factors)


def _may_be_few(numel: int, before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether the second has few values, in all or in groups, and the first more."""
    few, many = len(set(after)), len(set(before))
    if few <= FEW_IN_ALL + 1 and FEWER * (few - 1) < many:  # +-1: that -0 is 0 is not looked at
        return True
    return any(numel % size == 0 and len(set(after[:size])) <= FEW_IN_GROUP + 1 for size in GROUPS)


def _numbers(dtype: DType, bits: Sequence[int]) -> Sequence[float]:
    if dtype.name == "bfloat16":
        return struct.unpack(f"={len(bits)}f", struct.pack(f"={len(bits)}I", *(each << 16 for each in bits)))
    kind = {"float64": "d", "float32": "f", "float16": "e"}[dtype.name]
    return struct.unpack(f"={len(bits)}{kind}", struct.pack(f"={len(bits)}{_WORDS[dtype.itemsize]}", *bits))
