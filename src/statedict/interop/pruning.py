"""Pruning a live model for training: what is pruned stays zero, whatever gradients and optimizers do.

The parameters stay the very objects that they are, under their own names: an optimizer that has them, a state dict and
tied weights see nothing new, where a parametrization would rename them and multiply at each use. Instead a hook on each
one's gradient hides the pruned part, so that norms and clipping count what is trained alone; and after each step of any
optimizer, whose momentum and weight decay know no masks, the pruned part is set to zero again.
"""
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from statedict.errors import StatedictError
from statedict.interop.groups import classes, live_module, parameters
from statedict.interop.live import live_tree
from statedict.interop.masked import Masked, after_steps, masked
from statedict.ops.prune.amounts import Amount, counted, cubic
from statedict.ops.prune.choosing import Chosen, Protected, choose, chosen_by_masks, fitting
from statedict.ops.prune.masks import masks
from statedict.ops.prune.methods import WHOLE, Method, method_of, units
from statedict.ops.select import named_tensors
from statedict.tree.module import Module

if TYPE_CHECKING:
    from statedict.ops.select import NamedTensor

_SCOPES = ("global", "tensor")
_MASK = "mask"
_SAY_AMOUNTS = ("n:m", _MASK)


class LivePruning:
    """What is pruned of a live model, and stays so until `finalize`. Printed, a table."""

    def __init__(
        self,
        net: nn.Module,
        chosen: Chosen,
        method: Method,
        *,
        scope: str,
        seed: int,
        steps: int | None,
        initial: float,
        given: Mapping[str, torch.Tensor],
    ) -> None:
        self.net = net
        self.left_out = chosen.left_out
        """Why what was chosen is not pruned, by name."""
        self.steps = steps
        self.taken = 0
        """Steps of the schedule that were taken."""
        self._method, self._seed, self._initial, self._given = method, seed, initial, given
        self._shares = [
            ([masked(entry) for entry in row], amount)
            for entries, amount in chosen.shares
            for row in ([entries] if scope == "global" else [[entry] for entry in entries])
        ]
        self._biases = self._with_biases() if method.name == "channels" else {}
        self._every = [*(each for row, _ in self._shares for each in row), *self._biases.values()]
        for each in self._every:
            each.holder = self
        self._forget = after_steps(self)

    def _with_biases(self) -> dict[str, Masked]:
        """The bias of each weight whose channels are pruned, by the weight's name: it goes with them."""
        found: dict[str, Masked] = {}
        for weight in (each for row, _ in self._shares for each in row):
            if weight.owner._parameters.get("bias") is not None:
                head = weight.name.rpartition(".")[0]
                found[weight.name] = Masked(f"{head}.bias" if head else "bias", weight.owner)
        return found

    @property
    def masks(self) -> dict[str, torch.Tensor]:
        """Which elements stay, as tensors of bool by the parameters' names."""
        return {each.name: each.stays.clone() for each in self._every}

    @property
    def pruned(self) -> int:
        """Elements that are gone."""
        return sum(int((~each.stays).sum()) for each in self._every)

    @property
    def sparsity(self) -> float:
        """The share of all elements of the pruned tensors that are gone."""
        return self.pruned / max(1, sum(each.stays.numel() for each in self._every))

    def step(self) -> float:
        """The sparsity after the next step of the schedule, which prunes more; nothing more after the last one.

        Raises StatedictError where there is no schedule.
        """
        if self.steps is None:
            raise StatedictError("there is no schedule; give `steps` to prune gradually, or call `prune(amount)`")
        if self.taken < self.steps:
            self.taken += 1
            self._prune_to([cubic(self.taken, self.steps, self._initial, amount) for _, amount in self._shares])
        return self.sparsity

    def prune(self, amount: Amount) -> float:
        """The sparsity after pruning by another amount, for each row of tensors that are ranked together.

        What is pruned already is among it. Raises StatedictError for an amount below that, for N:M, and for masks.
        """
        if self._method.name in _SAY_AMOUNTS:
            raise StatedictError(f"{self._method.said} says the amount itself")
        self._prune_to([amount] * len(self._shares))
        return self.sparsity

    def begin(self) -> None:
        """Prune for the first time: all of it, or what the schedule begins with."""
        self._prune_to([self._initial if self.steps else amount for _, amount in self._shares])

    def _prune_to(self, amounts: Sequence[Amount]) -> None:
        for (row, _), amount in zip(self._shares, amounts, strict=True):
            self._prune_row(row, amount)
        for each in self._every:
            if each.name in self._biases:
                self._biases[each.name].stays = each.slices(_dimension(each, self._method))
        self.apply()

    def _prune_row(self, row: Sequence[Masked], amount: Amount) -> None:
        if self._given:
            for each in row:
                each.stays = self._given[each.name].to(each.stays.device)
            return
        entries = [cast("NamedTensor", each.entry) for each in row]
        total = sum(units(entry, self._method) for entry in entries)
        wanted, gone = 0, sum(_units_gone(each, self._method) for each in row)
        if self._method.name != "n:m":
            wanted = counted(amount, total)
            if wanted < gone:
                raise StatedictError(
                    f"`{row[0].name}`: {gone:,} of {total:,} are pruned already, and an amount of {amount} is "
                    f"{wanted:,}; amounts can only grow"
                )
        before = [each.stays.cpu().numpy() for each in row] if gone else None
        for each, stays in zip(row, masks(entries, self._method, wanted, self._seed, before), strict=True):
            each.stays = torch.from_numpy(stays.copy()).to(each.stays.device)

    def repair(self) -> None:
        """Set what is pruned to zero after an optimizer's step."""
        for each in self._every:
            each.repair()

    def apply(self) -> None:
        """Set what is pruned to zero whatever else has written there: a `load_state_dict`, say."""
        for each in self._every:
            each.apply()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here: the masks, and the steps that were taken."""
        return {"taken": self.taken, "masks": self.masks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned. Raises StatedictError for masks of other names or shapes."""
        stored = cast("Mapping[str, torch.Tensor]", state["masks"])
        mine = {each.name: each for each in self._every}
        for name in (*mine, *stored):
            if name not in mine or name not in stored or stored[name].shape != mine[name].stays.shape:
                raise StatedictError(f"the mask of `{name}` is missing on one side, or has another shape")
        for name, each in mine.items():
            each.stays = stored[name].to(each.stays.device, torch.bool, copy=True)
        self.taken = int(state["taken"])
        self.apply()

    def finalize(self) -> nn.Module:
        """The model with plain parameters: what is pruned is zero, and from now on trained like the rest."""
        self.apply()
        for each in self._every:
            each.release()
        self._forget()
        return self.net

    def __str__(self) -> str:
        from statedict.views.lines import plain
        from statedict.views.pruning import pruning_lines

        rows = [(each.name, each.stays.numel(), int((~each.stays).sum())) for each in self._every]
        return plain(pruning_lines(rows, self.left_out)).removesuffix("\n")

    def __repr__(self) -> str:
        return str(self)


def prune_live(
    net: nn.Module | Module,
    patterns: Sequence[str],
    amount: Amount | Mapping[str, Amount] | None,
    method: str,
    *,
    scope: str,
    protect: Sequence[Protected],
    seed: int,
    steps: int | None,
    initial: float,
    given: Module | None,
) -> LivePruning:
    """The pruning; see `statedict.prune_live`."""
    model, way = live_module(net), Method(_MASK) if method == _MASK else method_of(method)
    _check_use(method, way, amount, scope, given)
    tree = live_tree(model)
    known = cache(lambda: {name for name, _ in tree.named_modules()})
    if given is not None:
        chosen = chosen_by_masks(list(parameters(tree)), patterns, given, known)
    else:
        chosen = choose(parameters(tree), patterns, 0.0 if amount is None else amount, protect, known, classes)
        if not patterns and not isinstance(amount, Mapping):
            chosen = fitting(chosen, way)
    _check_schedule(steps, initial, chosen, way)
    held = {} if given is None else _read(given, chosen)
    made = LivePruning(model, chosen, way, scope=scope, seed=seed, steps=steps, initial=initial, given=held)
    try:
        made.begin()
    except BaseException:
        made.finalize()
        raise
    return made


def _check_use(method: str, way: Method, amount: object, scope: str, given: object) -> None:
    """Raise StatedictError for settings that are none together."""
    if scope not in _SCOPES:
        raise StatedictError(f"`scope` is {scope!r}; expected one of {', '.join(_SCOPES)}")
    itself = way.name in _SAY_AMOUNTS
    if (amount is None) != itself:
        says = "says the amount itself; leave `amount` out" if itself else "needs an `amount`, such as 0.5"
        raise StatedictError(f"`{method}` {says}")
    if (given is None) == (way.name == _MASK):
        says = "needs `masks`, a checkpoint of them" if given is None else "takes no `masks`; use the method `mask`"
        raise StatedictError(f"`{method}` {says}")


def _read(given: Module, chosen: Chosen) -> dict[str, torch.Tensor]:
    """What stays of each parameter that is chosen, as masks say it: what is not zero in them."""
    found = {entry.name: entry.tensor for entry in named_tensors(given)}
    names = [entry.name for entries, _ in chosen.shares for entry in entries]
    return {name: torch.as_tensor(found[name].numpy() != 0) for name in names}


def _check_schedule(steps: int | None, initial: float, chosen: Chosen, way: Method) -> None:
    """Raise StatedictError where a schedule makes no sense."""
    if steps is None:
        return
    if steps < 1 or way.name in _SAY_AMOUNTS:
        raise StatedictError(
            f"`steps` is {steps}; expected at least 1, and no schedule for N:M and masks, which are all or nothing"
        )
    for _, share in chosen.shares:
        if not isinstance(share, float) or not 0 <= initial <= share:
            raise StatedictError(
                f"a schedule leads from a share to a larger one; got from {initial!r} to {share!r}: expected such as "
                "`amount=0.9, initial=0.0`"
            )


def _dimension(each: Masked, method: Method) -> int:
    return method.dimension(type(each.owner).__name__, each.stays.ndim)


def _units_gone(each: Masked, method: Method) -> int:
    """How many of the things that a method counts are gone."""
    stays = each.slices(_dimension(each, method)) if method.name in WHOLE else each.stays
    return int((~stays).sum())
