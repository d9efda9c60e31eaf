"""Freezing parts of a live model: parameters that require no gradient, running statistics that stand still."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from torch import nn

from statedict.errors import PatternError
from statedict.interop.groups import live, live_module
from statedict.interop.live import LiveModule, live_tree
from statedict.interop.live_tensors import LiveParameter
from statedict.ops.patterns import matching
from statedict.ops.select import NamedTensor, named_tensors
from statedict.tree.module import Module

_STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})
_WAS_TRAINING = "_statedict_was_training"
"""Where a module remembers, while its `forward` runs as in evaluation, that it is training."""


class _Frozen(NamedTuple):
    """What patterns fit of a live model: each parameter once, and each module that keeps running statistics."""

    parameters: dict[str, nn.Parameter]
    statistics: dict[str, nn.Module]
    """The module that keeps each, by the statistic's full name."""


def freeze(net: nn.Module | Module, patterns: Sequence[str], *, batchnorm: bool) -> list[str]:
    """The names; see `statedict.freeze`."""
    found = _found(net, patterns)
    changed = [name for name, parameter in found.parameters.items() if parameter.requires_grad]
    for name in changed:
        found.parameters[name].requires_grad_(False)
    if batchnorm:
        moving = {name: module for name, module in found.statistics.items() if not _stands_still(module)}
        for module in dict.fromkeys(moving.values()):
            module.register_forward_pre_hook(_begin)
            module.register_forward_hook(_end, always_call=True)
        changed += moving
    return changed


def unfreeze(net: nn.Module | Module, patterns: Sequence[str]) -> list[str]:
    """The names; see `statedict.unfreeze`."""
    found = _found(net, patterns)
    changed = [
        name
        for name, parameter in found.parameters.items()
        if not parameter.requires_grad and (parameter.is_floating_point() or parameter.is_complex())
    ]
    for name in changed:
        found.parameters[name].requires_grad_(True)
    still = {name: module for name, module in found.statistics.items() if _stands_still(module)}
    for module in dict.fromkeys(still.values()):
        _release(module)
    return [*changed, *still]


@contextmanager
def frozen(net: nn.Module | Module, patterns: Sequence[str], *, batchnorm: bool) -> Generator[list[str]]:
    """The context; see `statedict.frozen`."""
    found = _found(net, patterns)
    before = [(parameter, parameter.requires_grad) for parameter in found.parameters.values()]
    still = [(module, _stands_still(module)) for module in dict.fromkeys(found.statistics.values())]
    try:
        yield freeze(net, patterns, batchnorm=batchnorm)
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)
        for module, stood in still:
            if not stood:
                _release(module)


def _found(net: nn.Module | Module, patterns: Sequence[str]) -> _Frozen:
    tree = live_tree(live_module(net))
    entries = [entry for entry in named_tensors(tree) if isinstance(entry.tensor, LiveParameter) or _moves(entry)]
    names = [entry.name for entry in entries]
    if not patterns:
        raise PatternError('say what: patterns such as "features.**"; `"**"` is all')
    wanted = matching(names, patterns, lambda: _modules(tree))
    found = _Frozen({}, {})
    seen: set[int] = set()
    for entry in (entry for entry in entries if entry.name in wanted):
        tensor: Any = live(entry)
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if isinstance(entry.tensor, LiveParameter):
            found.parameters[entry.name] = tensor
        else:
            found.statistics[entry.name] = _owner(entry)
    return found


def _modules(tree: Module) -> set[str]:
    return {name for name, _ in tree.named_modules()}


def _owner(entry: NamedTensor) -> nn.Module:
    owner = entry.owner
    assert isinstance(owner, LiveModule)  # noqa: S101 - so are all of a live tree
    return owner.live


def _moves(entry: NamedTensor) -> bool:
    """Whether a buffer is one of the statistics that a norm of PyTorch's keeps while it trains."""
    statistic = entry.name.rpartition(".")[2] in _STATISTICS
    return statistic and isinstance(_owner(entry), nn.modules.batchnorm._NormBase)


# In `forward` alone: `train()` and `eval()` may be called at any time, and what they said is true again afterwards.


def _begin(module: nn.Module, _inputs: Any) -> None:
    if module.training:
        module.training = False
        module.__dict__[_WAS_TRAINING] = True


def _end(module: nn.Module, _inputs: Any, _output: Any) -> None:
    if module.__dict__.pop(_WAS_TRAINING, False):
        module.training = True


def _stands_still(module: nn.Module) -> bool:
    return _begin in module._forward_pre_hooks.values()


def _release(module: nn.Module) -> None:
    tables = cast("tuple[dict[int, Any], ...]", (module._forward_pre_hooks, module._forward_hooks))
    for table in tables:
        for key in [key for key, hook in table.items() if hook in (_begin, _end)]:
            del table[key]
            module._forward_hooks_always_called.pop(key, None)
