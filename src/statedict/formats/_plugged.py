"""The formats of other packages, which plug in by the entry point group `statedict.formats`, and installed extras."""

import importlib.util
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from typing import Any, TypeVar

from statedict.errors import StatedictError

GROUP = "statedict.formats"
F = TypeVar("F")
LIBRARIES = {"gguf": "gguf", "hdf5": "h5py", "orbax": "tensorstore"}
"""What reads for each extra."""


def plugged(row: Callable[..., F]) -> tuple[F, ...]:
    """A row of the table for each entry point: the `Format` that it names, or one made of the module that it names.

    A module has `sniff` and `read`, as those of statedict do, and may have `SUFFIXES`, `ABOUT` and `FOLDERS`. Raises
    StatedictError for an entry point that cannot be loaded, or names something else.
    """
    return tuple(_row(entry, row) for entry in metadata.entry_points(group=GROUP))


def _row(entry: metadata.EntryPoint, row: Callable[..., F]) -> F:
    where = f"format `{entry.name}` (entry point `{entry.value}`)"
    try:
        found: Any = entry.load()
    except (ImportError, AttributeError) as error:
        raise StatedictError(f"{where} cannot be loaded: {error}; repair or uninstall its package") from error
    if isinstance(row, type) and isinstance(found, row):
        return found
    if not (isinstance(found, ModuleType) and hasattr(found, "sniff") and hasattr(found, "read")):
        raise StatedictError(f"{where} is neither a `Format` nor a module with `sniff` and `read`")
    about = getattr(found, "ABOUT", (found.__doc__ or "").strip().partition("\n")[0])
    suffixes = tuple(getattr(found, "SUFFIXES", ()))
    return row(entry.name, found.__name__, (), suffixes, about, folders=bool(getattr(found, "FOLDERS", False)))


def is_installed(extra: str) -> bool:
    """Whether the library that `pip install statedict[EXTRA]` brings is there."""
    return importlib.util.find_spec(LIBRARIES.get(extra, extra)) is not None
