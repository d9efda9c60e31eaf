"""Counts, sizes, shapes and values as people read them."""

import math

from statedict.dtypes import DType

_COUNT_UNITS = ("", "K", "M", "B", "T", "Q")
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def exact(count: int) -> str:
    """All digits, in groups: "109,482,240"."""
    return f"{count:,}"


def brief(count: int) -> str:
    """Three digits and a unit of thousands: "109M", "1.24B", "768"."""
    return _scaled(count, 1000, _COUNT_UNITS, "")


def size(nbytes: int) -> str:
    """Three digits and a binary unit: "2.25 GiB", "648 B"."""
    return _scaled(nbytes, 1024, _BYTE_UNITS, " ")


def _scaled(count: int, base: int, units: tuple[str, ...], gap: str) -> str:
    value, unit = float(min(count, 10**30)), 0
    # 999.5 would round to four digits: it goes to the next unit, as 1023.5 of bytes does.
    while value >= base - 0.5 and unit + 1 < len(units):
        value /= base
        unit += 1
    if unit == 0:
        return f"{count}{gap}{units[0]}"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{gap}{units[unit]}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """A count and its noun: "1 tensor", "60,000 tensors"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def shape(sizes: tuple[int, ...] | None) -> str:
    """A shape as PyTorch writes it: "[6, 3, 3, 3]", "[]" of a scalar, "[?]" where it is not known yet."""
    return "[?]" if sizes is None else f"[{', '.join(map(str, sizes))}]"


def value(number: object) -> str:
    """One value of a tensor: floats in the fewest digits that tell them from their neighbours, at most six."""
    if isinstance(number, bool) or not isinstance(number, int | float | complex):
        return str(number)
    if isinstance(number, int):
        return str(number)
    if isinstance(number, complex):
        return f"{value(number.real)}{'' if math.copysign(1, number.imag) < 0 else '+'}{value(number.imag)}j"
    return f"{number:.6g}" if math.isfinite(number) else str(number)


def dtypes(found: list[DType], most: int = 2) -> str:
    """Short names of element types: "f32", "bf16 f32", "bf16 +3"."""
    names = [entry.short for entry in found]
    if len(names) <= most:
        return " ".join(names)
    return f"{names[0]} +{len(names) - 1}"
