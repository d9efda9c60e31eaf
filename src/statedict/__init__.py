"""Any neural-network checkpoint as the module tree that PyTorch users know: lazily, safely, without torch."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statedict._version import __version__
    from statedict.adapters import save_adapter
    from statedict.dtypes import DType, dtype
    from statedict.errors import (
        FormatError,
        LimitError,
        MissingExtraError,
        PatternError,
        ReadError,
        StatedictError,
        UnknownFormatError,
        WriteError,
    )
    from statedict.limits import Limits
    from statedict.opaque import Opaque
    from statedict.opening import open
    from statedict.ops.cast import cast
    from statedict.ops.drop import drop, keep
    from statedict.ops.graft import graft
    from statedict.ops.joining import cat, full, stack, where
    from statedict.ops.lora.extraction import extract_lora
    from statedict.ops.lora.folding import fold_lora
    from statedict.ops.memory import memory
    from statedict.ops.merge.merging import merge
    from statedict.ops.optimizer import optimizer_parameters
    from statedict.ops.prefixes import strip_prefixes
    from statedict.ops.rename import rename
    from statedict.ops.select import select
    from statedict.ops.stats import Stats, stats
    from statedict.saving import Saved, save
    from statedict.tree.module import Module
    from statedict.tree.tensor import Buffer, Parameter, Tensor

__all__ = [
    "Buffer",
    "DType",
    "FormatError",
    "LimitError",
    "Limits",
    "MissingExtraError",
    "Module",
    "Opaque",
    "Parameter",
    "PatternError",
    "ReadError",
    "Saved",
    "StatedictError",
    "Stats",
    "Tensor",
    "UnknownFormatError",
    "WriteError",
    "__version__",
    "cast",
    "cat",
    "drop",
    "dtype",
    "extract_lora",
    "fold_lora",
    "full",
    "graft",
    "keep",
    "memory",
    "merge",
    "open",
    "optimizer_parameters",
    "rename",
    "save",
    "save_adapter",
    "select",
    "stack",
    "stats",
    "strip_prefixes",
    "where",
]

_HOMES = {
    "_version": ("__version__",),
    "adapters": ("save_adapter",),
    "dtypes": ("DType", "dtype"),
    "errors": (
        "FormatError",
        "LimitError",
        "MissingExtraError",
        "PatternError",
        "ReadError",
        "StatedictError",
        "UnknownFormatError",
        "WriteError",
    ),
    "limits": ("Limits",),
    "tree.module": ("Module",),
    "opaque": ("Opaque",),
    "opening": ("open",),
    "ops.cast": ("cast",),
    "ops.drop": ("drop", "keep"),
    "ops.graft": ("graft",),
    "ops.joining": ("cat", "full", "stack", "where"),
    "ops.optimizer": ("optimizer_parameters",),
    "ops.prefixes": ("strip_prefixes",),
    "ops.lora.extraction": ("extract_lora",),
    "ops.lora.folding": ("fold_lora",),
    "ops.memory": ("memory",),
    "ops.merge.merging": ("merge",),
    "ops.rename": ("rename",),
    "ops.select": ("select",),
    "ops.stats": ("Stats", "stats"),
    "saving": ("Saved", "save"),
    "tree.tensor": ("Buffer", "Parameter", "Tensor"),
}
"""Where each name comes from; its module is imported when it is asked for."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module `statedict` has no attribute `{name}`")
    value = globals()[name] = getattr(importlib.import_module(f"statedict.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
