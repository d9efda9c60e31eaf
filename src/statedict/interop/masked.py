"""A parameter of a live model that is pruned in part: its gradient has no such part, and what is written there goes."""
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from statedict.errors import StatedictError
from statedict.ops.select import NamedTensor

if TYPE_CHECKING:
    from statedict.interop.live import LiveModule


class Masked:
    """One parameter of a live model, and which of its elements stay."""

    def __init__(self, name: str, owner: nn.Module, entry: NamedTensor | None = None) -> None:
        self.name = name
        self.entry = entry
        self.holder: object = None
        """What must live as long as the parameter, whose hook holds this."""
        self.owner = owner
        self._local = name.rpartition(".")[2]
        self._parameter = self._now()
        self.stays = torch.ones_like(self._parameter, dtype=torch.bool, requires_grad=False)
        self._hook = self._hooked(self._parameter)

    def _hooked(self, parameter: nn.Parameter) -> RemovableHandle:
        required = parameter.requires_grad
        parameter.requires_grad_(True)  # without which PyTorch takes no hook: a frozen one may be trained later
        hook = cast("RemovableHandle", parameter.register_hook(self._without))
        parameter.requires_grad_(required)
        return hook

    def _now(self) -> nn.Parameter:
        parameter = self.owner._parameters.get(self._local)
        if parameter is None or (hasattr(self, "stays") and parameter.shape != self.stays.shape):
            raise StatedictError(
                f"parameter `{self.name}` was taken away, or replaced by one of another shape, while it is pruned; "
                "call `finalize()` before that"
            )
        return parameter

    def parameter(self) -> nn.Parameter:
        """PyTorch's own, which `to` may have exchanged for another."""
        parameter = self._now()
        if parameter is not self._parameter:
            self._hook.remove()
            self._parameter = parameter
            self._hook = self._hooked(parameter)
        return parameter

    def on(self, device: torch.device) -> torch.Tensor:
        """What stays, on the device where the parameter is now."""
        if self.stays.device != device:
            self.stays = self.stays.to(device)
        return self.stays

    # A product takes a third of the time of `masked_fill`, which is for the few times that it must be a plain zero.

    def _without(self, gradient: torch.Tensor) -> torch.Tensor:
        strided = gradient.layout is torch.strided
        return gradient * self.on(gradient.device) if strided else gradient

    def repair(self) -> None:
        """Set to zero what an optimizer has moved of what is gone."""
        parameter = self.parameter()
        with torch.no_grad():
            parameter.mul_(self.on(parameter.device))

    def apply(self) -> None:
        """Set to zero what is gone, of the parameter and of a gradient that it has already, whatever is there."""
        parameter = self.parameter()
        gone = ~self.on(parameter.device)
        with torch.no_grad():
            parameter.masked_fill_(gone, 0)
            if parameter.grad is not None and parameter.grad.layout is torch.strided:
                parameter.grad.masked_fill_(gone, 0)

    def release(self) -> None:
        """Take the hook away."""
        self._hook.remove()

    def slices(self, dim: int) -> torch.Tensor:
        """Of each slice along a dimension whether some of it stays."""
        return self.stays.movedim(dim, 0).flatten(1).any(1) if self.stays.ndim > 1 else self.stays


def masked(entry: NamedTensor) -> Masked:
    """A parameter of a live model's tree, all of which stays."""
    return Masked(entry.name, cast("LiveModule", entry.owner).live, entry)


def after_steps(holder: Any) -> Callable[[], object]:
    """Have `holder.repair` called after each step of any optimizer, as long as it lives; returns what ends that."""
    reference = weakref.ref(holder)

    def repair(_optimizer: Any, _arguments: Any, _named: Any) -> None:
        if (found := reference()) is not None:
            found.repair()

    handle = register_optimizer_step_post_hook(repair)
    end = weakref.finalize(holder, handle.remove)
    end.atexit = False
    return end
