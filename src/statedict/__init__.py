"""Any neural-network checkpoint as the module tree that PyTorch users know: lazily, safely, without torch."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statedict._version import __version__
    from statedict.dtypes import DType, dtype
    from statedict.errors import (
        FormatError,
        LimitError,
        MissingExtraError,
        PatternError,
        ReadError,
        StatedictError,
        UnknownFormatError,
    )
    from statedict.limits import Limits
    from statedict.module import Module
    from statedict.opaque import Opaque
    from statedict.opening import open
    from statedict.ops.memory import memory
    from statedict.ops.optimizer import optimizer_parameters
    from statedict.ops.prefixes import strip_prefixes
    from statedict.ops.select import select
    from statedict.tensor import Buffer, Parameter, Tensor

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
    "StatedictError",
    "Tensor",
    "UnknownFormatError",
    "__version__",
    "dtype",
    "memory",
    "open",
    "optimizer_parameters",
    "select",
    "strip_prefixes",
]

_HOMES = {
    "_version": ("__version__",),
    "dtypes": ("DType", "dtype"),
    "errors": (
        "FormatError",
        "LimitError",
        "MissingExtraError",
        "PatternError",
        "ReadError",
        "StatedictError",
        "UnknownFormatError",
    ),
    "limits": ("Limits",),
    "module": ("Module",),
    "opaque": ("Opaque",),
    "opening": ("open",),
    "ops.optimizer": ("optimizer_parameters",),
    "ops.prefixes": ("strip_prefixes",),
    "ops.memory": ("memory",),
    "ops.select": ("select",),
    "tensor": ("Buffer", "Parameter", "Tensor"),
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
