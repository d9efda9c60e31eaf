"""Live models with fewer channels: `torch-pruning` finds what depends on each, and takes it away."""
# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false

import contextlib
import copy
import io
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from statedict.errors import StatedictError
from statedict.extras import needed
from statedict.interop.groups import live_module
from statedict.interop.measuring import Measured, measured
from statedict.interop.running import Arguments, as_in_evaluation
from statedict.interop.summarizing import arguments
from statedict.ops.patterns import matching
from statedict.ops.prune.amounts import checked
from statedict.ops.shrink.choosing import CHOICES, SCOPES
from statedict.ops.shrink.shrinking import Layer
from statedict.tree.module import Module

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)  # pyright: ignore[reportPrivateUsage]
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, slots=True, repr=False)
class ShrunkLive:
    """A live model with fewer channels. Printed, a table of its layers, and size, work and speed before and after."""

    net: nn.Module
    layers: Sequence[Layer]
    before: Measured
    after: Measured

    def __str__(self) -> str:
        from statedict.views.lines import plain
        from statedict.views.shrinking import shrunk_live_lines

        return plain(shrunk_live_lines(self)).removesuffix("\n")

    def __repr__(self) -> str:
        return str(self)


def shrink_live(
    net: nn.Module | Module, example: Any, amount: float, *, norm: str, scope: str, keep: Sequence[str]
) -> ShrunkLive:
    """The smaller model; see `statedict.shrink_live`."""
    tp = needed("torch_pruning", "prune", "taking channels out of a live model needs torch-pruning")
    model = live_module(net)
    if norm not in CHOICES or scope not in SCOPES:
        word, given, known = ("norm", norm, CHOICES) if norm not in CHOICES else ("scope", scope, SCOPES)
        raise StatedictError(f"`{word}` is {given!r}; expected one of {', '.join(known)}")
    if not isinstance(amount, float) or checked(amount) == 1.0:
        raise StatedictError(f"`amount` is {amount!r}; expected a share of the channels below 1.0, such as 0.5")
    given = arguments(example)
    small = copy.deepcopy(model)
    kept = _kept(small, given, keep)
    with as_in_evaluation(small), _quiet():
        wanted = _shapes(small, given)
        importance = (
            tp.importance.BNScaleImportance()
            if norm == "batchnorm"
            else tp.importance.GroupMagnitudeImportance(p=int(norm[1]))
        )
        pruner = tp.pruner.BasePruner(
            small,
            given[1] or given[0],  # pyright: ignore[reportArgumentType]  several, or named ones, too
            importance,
            global_pruning=scope == "global",
            pruning_ratio=amount,
            max_pruning_ratio=1.0 if scope == "tensor" else 0.99,
            ignored_layers=kept,
        )
        pruner.step()
        if norm == "batchnorm" and not any(isinstance(each, _NORMS) for each in small.modules()):
            raise StatedictError("the model has no BatchNorm whose scale could choose channels; choose by `l1` or `l2`")
        _check(small, given, wanted)
    return ShrunkLive(small, _layers(model, small), measured(model, given), measured(small, given))


def _kept(small: nn.Module, given: Arguments, keep: Sequence[str]) -> list[nn.Module]:
    """The layers whose outputs stay: those that are named, and the last that is called."""
    named = dict(_modules(small))
    known = cache(lambda: set(named))
    found = [named[name] for name in named if name in matching(list(named), keep, known)] if keep else []
    called: list[nn.Module] = []

    def note(module: nn.Module, _inputs: Any, _output: Any) -> None:
        called.append(module)

    hooks = [module.register_forward_hook(note) for module in small.modules() if isinstance(module, _LAYERS)]
    try:
        with as_in_evaluation(small):
            small(*given[0], **given[1])
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        raise StatedictError("there is nothing to shrink: the model calls no Linear and no convolution")
    inside = [module for each in found for module in each.modules() if isinstance(module, _LAYERS)]
    return [*dict.fromkeys([*found, *inside, called[-1]])]


def _check(small: nn.Module, given: Arguments, wanted: list[Any]) -> None:
    """Raise StatedictError where the model does not run any more, or gives something else than it did."""
    try:
        shapes = _shapes(small, given)
    except Exception as error:
        raise StatedictError(
            f"the model does not run without these channels ({error}); name the layers whose outputs its code relies "
            "on: `keep=['PATTERN']`"
        ) from error
    if shapes != wanted:
        raise StatedictError(
            f"the model gave {wanted} and would give {shapes}; name the layers that these come from: `keep=['PATTERN']`"
        )


@torch.no_grad()
def _shapes(net: nn.Module, given: Arguments) -> list[Any]:
    leaves = tree_leaves(net(*given[0], **given[1]))
    return [list(leaf.shape) for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _layers(model: nn.Module, small: nn.Module) -> list[Layer]:
    """The layers of which fewer outputs are left, or could be."""
    after = dict(_modules(small))
    return [
        Layer(name, type(module).__name__, _outputs(module), _outputs(after[name]))
        for name, module in _modules(model)
        if isinstance(module, _LAYERS)
    ]


def _modules(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return cast("Iterator[tuple[str, nn.Module]]", net.named_modules())


def _outputs(layer: nn.Module) -> int:
    return int(cast("Any", layer).out_features if isinstance(layer, nn.Linear) else cast("Any", layer).out_channels)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Nothing printed and no warnings: `torch-pruning` says much of what is no concern of the caller."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
