"""A live model's parameters as the groups that any of PyTorch's optimizers takes."""
# pyright: reportUnknownMemberType=false

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, cast

import torch
from torch import nn

from statedict.errors import StatedictError
from statedict.interop.live import LiveModule, live_tree
from statedict.interop.live_tensors import Live, LiveParameter
from statedict.narrow import is_tuple
from statedict.ops import depth, families
from statedict.ops.groups import Group, Named, Rule, grouped, named_once
from statedict.ops.select import NamedTensor, named_tensors
from statedict.tree.module import Module

Options = Mapping[str, Any]
Taken = str | tuple[str, ...] | Callable[..., Any]
"""A pattern, several, `no_decay`, or a function of a name and a parameter."""
Rules = Mapping[Taken, Options] | Iterable[tuple[Taken, Options] | Callable[..., Any]]

_NAMED_SINCE = (2, 6)
"""The PyTorch whose optimizers take pairs of a name and a parameter."""


class ParamGroups(list[dict[str, Any]]):
    """Groups of parameters: a list of dicts, as `torch.optim` takes it; printed, a table of what each holds.

    The table stays what it was when an optimizer, which takes the dicts as its own, changes them.
    """

    held: Sequence[Group]
    """What each group holds, with the options that it was made with."""
    frozen: Sequence[Named]
    """The parameters that were left out because they require no gradient."""

    def __init__(self, groups: Iterable[dict[str, Any]], held: Sequence[Group], frozen: Sequence[Named]) -> None:
        super().__init__(groups)
        self.held, self.frozen = held, frozen

    def __str__(self) -> str:
        from statedict.views.groups import group_lines
        from statedict.views.lines import plain

        return plain(group_lines(self.held, self.frozen)).removesuffix("\n")

    def __repr__(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def param_groups(net: nn.Module | Module, rules: Rules, *, include_frozen: bool, defaults: Options) -> ParamGroups:
    """The groups; see `statedict.param_groups`."""
    model = live_module(net)
    tree = live_tree(model)
    named = named_once(parameters(tree))
    frozen = [each for each in named if not include_frozen and not each.entry.tensor.requires_grad]
    groups = grouped(
        named,
        [_rule(*each, model) for each in _pairs(rules)],
        _checked(defaults),
        cache(partial(depth.depths, tree)),
        lambda: {name for name, _ in tree.named_modules()},
        {each.name for each in frozen},
    )
    if not groups:
        why = f"all {len(frozen):,} are frozen" if frozen else "it has none"
        raise StatedictError(f"{type(model).__name__}: there are no parameters to train: {why}")
    return ParamGroups([{"params": _params(group), **group.options} for group in groups], groups, frozen)


def live_module(net: nn.Module | Module) -> nn.Module:
    """The live module itself. Raises TypeError for anything that is none."""
    if isinstance(net, LiveModule):
        return net.live
    if isinstance(net, nn.Module):
        return net
    if isinstance(net, Module):
        raise TypeError(
            "expected a live torch.nn.Module, not what a file holds; `.to_torch()` makes one of a whole model"
        )
    raise TypeError(f"expected a live torch.nn.Module, not {type(net).__name__}")


def parameters(tree: Module) -> Iterator[NamedTensor]:
    """Every name of every parameter of a live model's tree."""
    return (entry for entry in named_tensors(tree) if isinstance(entry.tensor, LiveParameter))


def live(entry: NamedTensor) -> torch.Tensor:
    """PyTorch's own tensor."""
    return cast("Live", entry.tensor).live


def classes(entry: NamedTensor) -> list[str]:
    """The names of the classes that the module inherits which owns a parameter."""
    return [kind.__name__ for kind in type(cast("LiveModule", entry.owner).live).__mro__ if issubclass(kind, nn.Module)]


def not_decayed(model: nn.Module) -> list[str]:
    """The names; see `statedict.no_decay`."""
    said = _said_by_model(model)
    return [
        entry.name
        for entry, names in named_once(parameters(live_tree(model)))
        if families.family(entry, classes(entry)) != "weight"
        or getattr(live(entry), "_no_weight_decay", False)
        or not said.isdisjoint(names)
    ]


def _said_by_model(model: nn.Module) -> frozenset[str]:
    """What a model's own method says is not to be decayed: timm's models have one."""
    method = getattr(model, "no_weight_decay", None)
    return frozenset(cast("Iterable[str]", method())) if inspect.ismethod(method) else frozenset()


def _pairs(rules: Rules) -> Iterator[tuple[Taken, Options]]:
    from statedict.live import no_decay

    given: Iterable[Any] = cast("Any", rules).items() if isinstance(rules, Mapping) else rules
    for each in given:
        if each is no_decay:
            yield no_decay, {"weight_decay": 0.0}
        elif is_tuple(each) and len(each) == 2 and isinstance(each[1], Mapping):
            yield each[0], cast("Options", each[1])
        else:
            raise TypeError(f"`{each!r}` is no rule; expected a pair such as ('**.bias', {{'weight_decay': 0.0}})")


def _rule(taken: Taken, options: Options, model: nn.Module) -> Rule:
    from statedict.live import no_decay

    _checked(options)
    if taken is no_decay:
        spared = frozenset(not_decayed(model))

        def is_spared(each: Named) -> bool:
            return each.name in spared

        return Rule("no_decay", options, takes=is_spared, may_be_idle=True)
    if isinstance(taken, str | tuple):
        patterns = (taken,) if isinstance(taken, str) else tuple(map(str, cast("tuple[str, ...]", taken)))
        return Rule(", ".join(patterns), options, patterns=patterns)
    if not callable(taken):
        raise TypeError(f"a rule is {taken!r}; expected a pattern, a tuple of patterns, or a function")

    def takes(each: Named) -> bool:
        return any(taken(name, live(each.entry)) for name in each.names)

    return Rule(getattr(taken, "__name__", type(taken).__name__), options, takes=takes)


def _checked(options: Options) -> Options:
    if "params" in options:
        raise StatedictError("`params` is what the rules say; options are such as `lr` and `weight_decay`")
    return options


def _params(group: Group) -> list[Any]:
    found = [(each.name, live(each.entry)) for each in group.parameters]
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return found if version >= _NAMED_SINCE else [parameter for _, parameter in found]
