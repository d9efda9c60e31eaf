"""`load_into`: a checkpoint into a live PyTorch model, straight from the file into the memory of its parameters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from statedict import collector
from statedict.extras import needed
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.opening import Checkpoint, open, part
from statedict.tree.entries import entries
from statedict.tree.loading import IncompatibleKeys
from statedict.tree.module import Module

if TYPE_CHECKING:
    import torch
    from torch import nn

    from statedict.engine import Progress
    from statedict.interop.loading import Outcome
    from statedict.ops.match.matching import Match

_ERRORS = "Error(s) in loading state_dict for "
"""How the errors begin that PyTorch's `load_state_dict` collects."""


class Loaded(IncompatibleKeys):
    """What became of each name: PyTorch's named tuple of missing and unexpected keys, which says more."""

    loaded: tuple[str, ...]
    """Parameters and buffers of the model that have the checkpoint's values now, tied ones under each name."""
    untouched: tuple[str, ...]
    """All others: missing ones, and the buffers that state dicts leave out. They are as they were, random or meta."""
    cast: Mapping[str, tuple[str, str]]
    """Those of the loaded ones whose element type is not the checkpoint's: from which and to which."""
    match: "Match | None"
    """How the checkpoint's tensors were made to fit, where that was asked for."""

    @classmethod
    def of(cls, outcome: "Outcome", match: "Match | None") -> Self:
        """The same for whoever called."""
        made = cls(outcome.missing, outcome.unexpected)
        made.loaded, made.untouched = tuple(outcome.loaded), tuple(outcome.untouched)
        made.cast, made.match = outcome.cast, match
        return made


def load_into(
    net: "nn.Module | Module",
    checkpoint: "Checkpoint | Module | nn.Module | Mapping[Any, Any]",
    *,
    strict: bool = True,
    match: bool = False,
    key: str | None = None,
    device: "str | torch.device | None" = None,
    mmap: bool = False,
    threads: int | None = None,
    progress: "Progress | None" = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Loaded:
    """Load a checkpoint into a live model, as `net.load_state_dict(torch.load(...))` does, and say what it did.

    `checkpoint` is whatever `open` takes, or its result; `key` names the part of it that holds the weights. Elements
    are read straight into the memory of the parameters by several `threads`, and cast block by block where the element
    types differ: no tensor is held in memory besides. All names and shapes are checked first: where PyTorch's error is
    raised, no parameter was changed, but for those of modules that bring loading code of their own.

    Parameters on the meta device are replaced by real ones on `device` (the CPU), tied ones by one. With `mmap` they
    take the file's own pages where it has just their bytes, as `torch.load(mmap=True)` and `assign=True` do: nothing is
    read before it is used, but the file must stay as it is.

    Keys, shapes, versions, hooks and extra state are PyTorch's own work, and so are the errors: RuntimeError for
    missing and unexpected keys if `strict`, and always for sizes that do not fit, followed by what may have been meant.
    A second name of a tied tensor is not missing where the first is there. With `match`, `sd.match` first finds the
    names, and makes the tensors, that the model wants.

    Raises as `open` does, too; StatedictError for a sharded model, MissingExtraError without PyTorch, TypeError where
    `net` is no live model.
    """
    needed("torch", "torch", "PyTorch is not installed")
    from statedict.interop import loading
    from statedict.interop.groups import live_module

    live = live_module(net)
    if not isinstance(checkpoint, Module):
        source = open(checkpoint, key=key, limits=limits)
    else:
        source = checkpoint if key is None else part(checkpoint, key, "the tree")
    given, found = entries(source), None
    if match:
        from statedict.ops.match import matching  # which most loading does without

        found = matching.match(source, open(live), values=False)
        given = _matched(given, found, source)
    try:
        with collector.paused():
            room = loading.Room(device, mmap=mmap)
            outcome = loading.load(live, given, strict=strict, room=room, threads=threads, progress=progress)
    except RuntimeError as error:
        if not str(error).startswith(_ERRORS):
            raise
        from statedict.ops.match.explaining import explained

        lines = explained(source, open(live), found)
        raise RuntimeError("\n\t".join([str(error), *lines])) from None
    return Loaded.of(outcome, found)


def _matched(given: Mapping[str, Any], found: "Match", source: Module) -> Mapping[str, Any]:
    """The entries that the model has a use for, under its names, and those that nothing is made of under theirs."""
    fitting = entries(found.apply(source))
    return {**{name: given[name] for name in found.unexpected if name in given}, **fitting}
