"""What is done with the parameters of a live PyTorch model: groups for optimizers, freezing, pruning, a summary."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from statedict.extras import needed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from statedict.interop.groups import ParamGroups, Rules
    from statedict.interop.pruning import LivePruning
    from statedict.interop.shrinking import ShrunkLive
    from statedict.interop.summarizing import ModelSummary
    from statedict.ops.prune.amounts import Amount
    from statedict.ops.prune.choosing import Protected
    from statedict.tree.module import Module


def param_groups(
    net: "nn.Module | Module", rules: "Rules" = (), *, include_frozen: bool = False, **defaults: Any
) -> "ParamGroups":
    """The parameters of a live model in groups for any optimizer of `torch.optim`: a list of dicts, each with names.

    `rules` say which options which parameters get beside the `defaults`: a mapping, or pairs, of a pattern (or a tuple
    of several, `no_decay`, or a function of a name and a parameter) to options. Every parameter is in exactly one
    group: that of the first rule that fits one of its names, or a last one for all the others. An option may be
    `1e-3 * layer_decay(0.75)`: then a rule has one group for each depth. Tied parameters count once. Those that require
    no gradient are left out unless `include_frozen`. Printed, the list is a table of what each group holds.

    Raises PatternError, with the closest names, for a rule that fits nothing, or nothing that earlier ones left;
    StatedictError where there is nothing to train; TypeError for what is no live model, or no rule.
    """
    _need_torch()
    from statedict.interop import groups

    return groups.param_groups(net, rules, include_frozen=include_frozen, defaults=defaults)


def no_decay(net: "nn.Module | Module") -> list[str]:
    """The names of the parameters that weight decay usually spares; as a rule of `param_groups`, those themselves.

    They are those of norms and embeddings, told by the classes of their modules, all biases, all others with fewer than
    two dimensions, and what the model's author marked: by `_no_weight_decay` on a parameter, or in timm's way by a
    method `no_weight_decay`. Given alone among the rules it stands for `(no_decay, {"weight_decay": 0.0})`.
    """
    _need_torch()
    from statedict.interop import groups

    return groups.not_decayed(groups.live_module(net))


def freeze(net: "nn.Module | Module", *patterns: str, batchnorm: bool = True) -> list[str]:
    """The names of what was frozen of a live model: the parameters that patterns fit; `"**"` is all.

    They require no gradient any more, so that no optimizer changes them. Running statistics that patterns fit stop,
    too, unless `batchnorm` is false: their module computes as in evaluation, whatever `train()` says, and they are
    among the names. What was frozen before is not. `unfreeze` takes the names, or patterns, and undoes it.

    Raises PatternError, with the closest names, for a pattern that fits nothing that can be frozen, and for no pattern.
    """
    _need_torch()
    from statedict.interop import freezing

    return freezing.freeze(net, patterns, batchnorm=batchnorm)


def unfreeze(net: "nn.Module | Module", *patterns: str) -> list[str]:
    """The names of what requires gradients again, or, of running statistics, moves again; see `freeze`."""
    _need_torch()
    from statedict.interop import freezing

    return freezing.unfreeze(net, patterns)


def frozen(net: "nn.Module | Module", *patterns: str, batchnorm: bool = True) -> AbstractContextManager[list[str]]:
    """A context in which what the patterns fit is frozen, as `freeze` does; after it, all is as it was before.

    What it enters with is the list of names that were frozen. What was frozen before stays so, also when an exception
    ends the context.
    """
    _need_torch()
    from statedict.interop import freezing

    return freezing.frozen(net, patterns, batchnorm=batchnorm)


def prune_live(
    net: "nn.Module | Module",
    *patterns: str,
    amount: "Amount | Mapping[str, Amount] | None" = None,
    method: str = "magnitude",
    scope: str = "global",
    protect: "Sequence[Protected]" = ("norms", "biases", "embeddings", "first", "last"),
    seed: int = 0,
    steps: int | None = None,
    initial: float = 0.0,
    masks: "Module | None" = None,
) -> "LivePruning":
    """A pruning of a live model's weights that training does not undo: zero now, and until `finalize`.

    `patterns` say which weights (all, when there is none), without those that `protect` names. `amount` is a share, a
    whole number, or one of these for each of several patterns, and exact: ties are broken in the order of the tree.
    `method` is "magnitude", "random" (by `seed`), "rows", "columns" or "channels" (whole ones, with the smallest root
    mean square; a channel's bias goes with it), or N:M such as "2:4", which needs no amount, nor does "mask": what is
    zero in `masks`, a tree of them under the parameters' names, as `statedict.masks` gives it and a file holds it. With
    the `scope` "global" all weights are ranked together, with "tensor" each one alone.

    With `steps`, nothing but `initial` is pruned at first; each `step()`, when you call it, prunes more, as Zhu and
    Gupta's cubic schedule says (2017), until it is `amount`. Masks are in `masks`, and follow the model to its device;
    parameters, state dict and optimizers stay as they are.

    Raises PatternError for a pattern that fits nothing; StatedictError for an amount, method, scope or schedule that is
    none, where all that was chosen is protected, for a mask of no parameter or of another shape, and for weights that
    are to be ranked and hold NaN.
    """
    _need_torch()
    from statedict.interop import pruning

    return pruning.prune_live(
        net, patterns, amount, method,
        scope=scope, protect=protect, seed=seed, steps=steps, initial=initial, given=masks,
    )  # fmt: skip


def shrink_live(
    net: "nn.Module | Module",
    example: Any,
    *,
    amount: float,
    norm: str = "l1",
    scope: str = "tensor",
    keep: "Sequence[str]" = (),
) -> "ShrunkLive":
    """A copy of a live model with fewer channels, and what size, work and speed were and are; the model stays.

    `torch-pruning` (the extra `prune`) follows one pass of `example` (a tensor, a tuple of arguments or a mapping of
    named ones) and finds which channels go together, across branches, groups and norms (Fang et al. 2023, "DepGraph").
    `amount` is the share that goes of each layer, or with the `scope` "global" of all; those with the smallest L1 or L2
    norm over all that goes with them, or by `norm` "batchnorm" the smallest scale. The outputs of the last layer that
    is called stay, and those of the modules that the patterns in `keep` fit. Masks of `prune_live` are not copied:
    finalize it first.

    Raises MissingExtraError without torch-pruning, PatternError for a pattern that fits nothing, and StatedictError for
    settings that are none, and where the smaller model does not run, or gives other shapes.
    """
    _need_torch()
    from statedict.interop import shrinking

    return shrinking.shrink_live(net, example, amount, norm=norm, scope=scope, keep=keep)


def summary(
    net: "nn.Module | Module",
    *,
    input_size: Any = None,
    example: Any = None,
    dtype: Any = None,
    depth: int | None = 3,
) -> "ModelSummary":
    """What a live model is, layer by layer: kinds, shapes in and out, parameters, multiply-accumulates, memory.

    `example` is what goes in: a tensor, a tuple of arguments or a mapping of named ones. `input_size` asks for zeros:
    the size of a tensor with its batch, a list of several sizes, or a mapping of names to sizes; their type is `dtype`,
    or that of the parameters. Shapes alone go through the model, which takes no memory, unless it asks for elements;
    nothing in it changes. Without either there are no shapes. Parameters that are tied, or of shared modules, count
    once. Multiply-accumulates are those that `torch.utils.flop_counter` counts: of matrix products and convolutions.
    Printed, it is a table, `depth` levels deep (None: all).

    Raises StatedictError for sizes that are none, and for lazy modules that know no shapes yet; and what the model
    raises when the input does not fit it.
    """
    _need_torch()
    from statedict.interop import summarizing

    return summarizing.summary(net, input_size, example, dtype, depth)


def _need_torch() -> None:
    needed("torch", "torch", "what is done with a live torch.nn.Module needs PyTorch")
