"""Amounts of bytes as people write them: "5GB", "500MB", "1GiB"."""

import re

from statedict.errors import StatedictError

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", re.IGNORECASE)


def bytes_of(amount: int | str) -> int:
    """The bytes that an amount says: "5GB" are 5,000,000,000, "1GiB" are 2**30, a number is itself.

    Raises StatedictError where it is none, or less than one byte.
    """
    found = _AMOUNT.fullmatch(str(amount))
    if found:
        number, unit, binary = found.groups()
        size = int(float(number) * (1024 if binary else 1000) ** " KMGT".index(unit.upper() or " "))
        if size >= 1 and (unit or not binary):
            return size
    raise StatedictError(f"`{amount}` is no amount of bytes; expected one such as 5GB, 500MB or 1GiB")
