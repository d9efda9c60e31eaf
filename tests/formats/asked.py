"""What Python reads of a header, to which what the C code reads is held; and headers with a few bytes changed."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from statedict.errors import StatedictError

REFUSED = "refused"


def asked(read: Callable[[], Any]) -> Any:
    """What Python makes of it; REFUSED where it raises."""
    try:
        return read()
    except (StatedictError, RecursionError):
        return REFUSED


# Mutations: a byte, a few bytes, an end that is missing.
changes = st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=0, max_size=3), st.integers(0, 3)), max_size=3)


def changed(data: bytes, edits: list[tuple[float, bytes, int]]) -> bytes:
    """`data` with a few bytes put in the place of others."""
    for place, new, gone in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + gone :]
    return data
