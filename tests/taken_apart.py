"""A live module as the reader of a pickle would describe it: plain values, and inert ones for all the rest."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from statedict.dtypes import DTYPES, DType, dtype
from statedict.opaque import Opaque
from statedict.tree.layers import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping

_INTERNAL = {*vars(nn.Module())} - {"training"}


def taken_apart(module: nn.Module) -> Layer:
    """What `statedict.tree.layers` is told of a module and, by name, of its children."""
    kind = type(module)
    return Layer(
        f"{kind.__module__}.{kind.__qualname__}",
        {name: _plain(value) for name, value in vars(module).items() if name not in _INTERNAL},
        _registered(module),
        {name: taken_apart(child) for name, child in module.named_children()},
    )


def _registered(module: nn.Module) -> dict[str, object]:
    """Parameters and buffers, those registered as None included, which PyTorch's public methods leave out."""
    tensors: Mapping[str, torch.Tensor | None] = {**vars(module)["_parameters"], **vars(module)["_buffers"]}
    return {name: None if value is None else _stored(value) for name, value in tensors.items()}


@dataclass(frozen=True)
class Stored:
    """What a layer may know of a tensor."""

    shape: tuple[int, ...] | None
    dtype: DType = DTYPES["float32"]


def _stored(tensor: torch.Tensor) -> Stored:
    lazy = isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer)
    return Stored(None if lazy else tuple(tensor.shape), dtype(str(tensor.dtype)))


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, cast("list[Any]", value))) if type(value) in {tuple, list} else tuple(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in cast("dict[Any, Any]", value).items()}
    if isinstance(value, torch.dtype):
        return dtype(str(value))
    if isinstance(value, torch.Tensor):
        return _stored(value)
    if hasattr(value, "__qualname__"):
        return Opaque(f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}")
    return Opaque(f"{type(value).__module__}.{type(value).__qualname__}", (), state=getattr(value, "__dict__", None))
