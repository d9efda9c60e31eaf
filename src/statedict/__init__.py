"""Any neural-network checkpoint as the module tree that PyTorch users know: lazily, safely, without torch."""

import importlib
from typing import TYPE_CHECKING, Any

from statedict import displaying

if TYPE_CHECKING:
    from statedict._version import __version__
    from statedict.adapters import save_adapter
    from statedict.checking import check
    from statedict.diffing import diff
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
    from statedict.live import freeze, frozen, no_decay, param_groups, prune_live, shrink_live, summary, unfreeze
    from statedict.loading import Loaded, load_into
    from statedict.manifest import read_manifest, write_manifest
    from statedict.matching import Match, match, write_rules
    from statedict.opaque import Opaque
    from statedict.opening import open
    from statedict.ops.cast import cast
    from statedict.ops.check.finding import Finding, Report
    from statedict.ops.diff.result import Diff
    from statedict.ops.drop import drop, keep
    from statedict.ops.fingerprint import Fingerprint, fingerprint
    from statedict.ops.graft import graft
    from statedict.ops.groups import layer_decay
    from statedict.ops.joining import cat, full, stack, where
    from statedict.ops.lora.extraction import extract_lora
    from statedict.ops.lora.folding import fold_lora
    from statedict.ops.memory import memory
    from statedict.ops.merge.merging import merge
    from statedict.ops.optimizer import optimizer_parameters
    from statedict.ops.prefixes import strip_prefixes
    from statedict.ops.prune.masking import masks
    from statedict.ops.prune.pruning import prune
    from statedict.ops.rename import rename
    from statedict.ops.select import select
    from statedict.ops.shrink.shrinking import Shrunk, shrink
    from statedict.ops.stats import Stats, stats
    from statedict.saving import Saved, save
    from statedict.tree.module import Module
    from statedict.tree.tensor import Buffer, Parameter, Tensor
    from statedict.views.plot import plot

__all__ = [
    "Buffer",
    "DType",
    "Diff",
    "Finding",
    "Fingerprint",
    "FormatError",
    "LimitError",
    "Limits",
    "Loaded",
    "Match",
    "MissingExtraError",
    "Module",
    "Opaque",
    "Parameter",
    "PatternError",
    "ReadError",
    "Report",
    "Saved",
    "Shrunk",
    "StatedictError",
    "Stats",
    "Tensor",
    "UnknownFormatError",
    "WriteError",
    "__version__",
    "cast",
    "cat",
    "check",
    "diff",
    "drop",
    "dtype",
    "extract_lora",
    "fingerprint",
    "fold_lora",
    "freeze",
    "frozen",
    "full",
    "graft",
    "keep",
    "layer_decay",
    "load_into",
    "masks",
    "match",
    "memory",
    "merge",
    "no_decay",
    "open",
    "optimizer_parameters",
    "param_groups",
    "plot",
    "prune",
    "prune_live",
    "read_manifest",
    "rename",
    "save",
    "save_adapter",
    "select",
    "shrink",
    "shrink_live",
    "stack",
    "stats",
    "strip_prefixes",
    "summary",
    "unfreeze",
    "where",
    "write_manifest",
    "write_rules",
]

_HOMES = {
    "_version": ("__version__",),
    "adapters": ("save_adapter",),
    "checking": ("check",),
    "diffing": ("diff",),
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
    "manifest": ("read_manifest", "write_manifest"),
    "live": ("freeze", "frozen", "no_decay", "param_groups", "prune_live", "shrink_live", "summary", "unfreeze"),
    "tree.module": ("Module",),
    "loading": ("Loaded", "load_into"),
    "matching": ("Match", "match", "write_rules"),
    "opaque": ("Opaque",),
    "opening": ("open",),
    "ops.cast": ("cast",),
    "ops.check.finding": ("Finding", "Report"),
    "ops.diff.result": ("Diff",),
    "ops.drop": ("drop", "keep"),
    "ops.fingerprint": ("Fingerprint", "fingerprint"),
    "ops.graft": ("graft",),
    "ops.groups": ("layer_decay",),
    "ops.joining": ("cat", "full", "stack", "where"),
    "ops.optimizer": ("optimizer_parameters",),
    "ops.prefixes": ("strip_prefixes",),
    "ops.lora.extraction": ("extract_lora",),
    "ops.lora.folding": ("fold_lora",),
    "ops.memory": ("memory",),
    "ops.merge.merging": ("merge",),
    "ops.prune.masking": ("masks",),
    "ops.prune.pruning": ("prune",),
    "ops.rename": ("rename",),
    "ops.select": ("select",),
    "ops.shrink.shrinking": ("Shrunk", "shrink"),
    "ops.stats": ("Stats", "stats"),
    "saving": ("Saved", "save"),
    "tree.tensor": ("Buffer", "Parameter", "Tensor"),
    "views.plot": ("plot",),
}
"""Where each name comes from; its module is imported when it is asked for."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


displaying.drawn_by(lambda value: importlib.import_module("statedict.views.notebook").bundle(value))


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module `statedict` has no attribute `{name}`")
    value = globals()[name] = getattr(importlib.import_module(f"statedict.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
