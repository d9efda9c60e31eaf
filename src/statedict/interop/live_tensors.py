"""The tensors of a live model: ours, whose memory, shape and element type are those of PyTorch's at any time."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

import copy
from typing import Any, Self, cast
from weakref import WeakValueDictionary

import torch
from torch.nn.parameter import is_lazy

from statedict.index import TensorInfo
from statedict.interop.torch import describe, to_torch
from statedict.source import Source
from statedict.tree.tensor import Buffer, Parameter, Tensor, info_of

Sources = WeakValueDictionary[int, Source]
"""The storages of tensors that were described, by address: views of one storage have one source."""

_SLOTS = ("_known", "_name", "_sources", "live")


class Live(Tensor):
    """A tensor of a live model: its memory, shape and dtype are those of `live`, whatever becomes of it."""

    __slots__ = ()

    live: torch.Tensor
    """The `torch.Tensor` itself."""
    _sources: Sources
    _name: str
    _known: "tuple[Any, TensorInfo] | None"

    @property
    def info(self) -> TensorInfo:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What it is now; described anew only after `.data` was exchanged, as `half`, `to` and `cuda` do."""
        state = _state(self.live)
        if self._known is None or self._known[0] != state:
            self._known = state, describe(self.live, self._name, self._sources)
        return self._known[1]

    @property
    def requires_grad(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.live.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.live.requires_grad_(value)

    @property
    def data(self) -> Tensor:
        return self.detach()

    def detach(self) -> Tensor:
        """The same memory, without a role; as in PyTorch it keeps that memory if this tensor gets another."""
        return detached(self.live, self._sources, self._name)

    def copy_(self, src: Any) -> Self:
        """This tensor, with the elements of another of its shape written into its memory.

        Raises RuntimeError where the shapes differ.
        """
        new = info_of(src)
        if self.info.shape is not None and new.shape != self.info.shape:
            raise RuntimeError(f"tensor `{self.name}` has the shape {self.info.shape}; got elements of {new.shape}")
        if is_lazy(self.live):
            cast("Any", self.live).materialize(new.shape)
        with torch.no_grad():
            self.live.copy_(to_torch(new))
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = memo[id(self)] = _copied(type(self), copy.deepcopy(self.live, memo), self._name)
        return cast("Self", made)

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (type(self), self.live, self._name)


class LiveTensor(Live):
    """A tensor without a role."""

    __slots__ = _SLOTS


class LiveParameter(Live, Parameter):  # pyright: ignore[reportIncompatibleVariableOverride]  `Live` comes first
    """A parameter of a live model."""

    __slots__ = _SLOTS


class LiveBuffer(Live, Buffer):  # pyright: ignore[reportIncompatibleVariableOverride]  the same
    """A buffer of a live model."""

    __slots__ = _SLOTS


def live_tensor(kind: type[Live], live: torch.Tensor, sources: Sources, name: str) -> Live:
    """A tensor of that role for PyTorch's own."""
    made = object.__new__(kind)
    made.live, made._sources, made._name, made._known = live, sources, name, None
    return made


def detached(live: torch.Tensor, sources: Sources, name: str) -> Live:
    """A tensor without a role over the same memory, which it keeps if PyTorch's gets another."""
    made = object.__new__(LiveTensor)
    made.live = live if is_lazy(live) else live.detach()
    made._sources, made._name, made._known = sources, name, None
    return made


def _copied(kind: type[Live], live: torch.Tensor, name: str) -> Live:
    return live_tensor(kind, live, WeakValueDictionary(), name)


def _state(live: torch.Tensor) -> Any:
    """What differs when a description is no longer right."""
    if is_lazy(live) or live.layout is not torch.strided or live.is_nested:
        return id(type(live)), live._version
    return live.data_ptr(), live.dtype, live.shape, live.stride(), live.requires_grad, live.device
