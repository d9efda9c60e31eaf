"""Whether the code in C is there: `library()`, `headers()`. It is optional: Python and numpy do the same without."""

import importlib
import os
from functools import cache
from typing import Any

BLOCK = 1 << 17
"""Elements that are summed up at once. Blocks begin at multiples of it, so that no sum depends on how it was cut."""
CODES = {
    name: code
    for code, name in enumerate(
        ("float64", "float32", "float16", "bfloat16", "int64", "uint64", "int32", "uint32", "int16", "uint16")
    )
}
"""The number by which the C code knows an element type, by its name."""


@cache
def library() -> Any:
    """The inner loops, `statedict._accelerated`; None where it was not built, or STATEDICT_NO_ACCELERATOR is set."""
    return _found("statedict._accelerated")


@cache
def headers() -> Any:
    """What reads the headers of files, `statedict._headers`; None as above."""
    return _found("statedict._headers")


def _found(name: str) -> Any:
    if os.environ.get("STATEDICT_NO_ACCELERATOR", "0") not in ("", "0"):
        return None
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def used() -> str:
    """What computes: "C accelerator: avx2", with the kind of processor that it makes use of, or "numpy"."""
    found = library()
    return "numpy" if found is None else f"C accelerator: {found.level()}"
