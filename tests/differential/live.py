"""A live `torch.nn.Module` as the `Index` that a reader of its pickle would return, without any file format."""

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.interop.torch import describe
from statedict.opaque import Opaque
from statedict.source import BytesSource, Source
from statedict.tree.build import build
from statedict.tree.module import Module

_INTERNALS = set(nn.Module().__dict__)


def tree_of(model: nn.Module) -> Module:
    """The tree of a live model."""
    return build(index_of(model))


def index_of(model: nn.Module) -> Index:
    walk = _Walk()
    walk.module("", model)
    return Index("live", BytesSource(b""), walk.tensors, walk.modules).validate()


class _Walk:
    def __init__(self) -> None:
        self.modules: dict[str, ModuleInfo] = {}
        self.tensors: dict[str, TensorInfo] = {}
        self.infos: dict[int, tuple[torch.Tensor, TensorInfo]] = {}
        self.sources: dict[int, Source] = {}
        self.known: dict[int, ModuleInfo] = {}

    def module(self, path: str, module: nn.Module) -> None:
        if id(module) in self.known:
            self.modules[path] = self.known[id(module)]
            return
        prefix = path + "." if path else ""
        self.modules[path] = self.known[id(module)] = ModuleInfo(
            kind=type(module).__name__,
            class_name=f"{type(module).__module__}.{type(module).__qualname__}",
            attributes={name: self.value(held) for name, held in vars(module).items() if name not in _INTERNALS},
            parameters=tuple(module._parameters),
            buffers=tuple(module._buffers),
            modules=tuple(module._modules),
            non_persistent=frozenset(module._non_persistent_buffers_set),
            training=module.training,
        )
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                self.tensors[prefix + name] = self.tensor(prefix + name, tensor)
        for name, child in module._modules.items():
            if child is not None:
                self.module(prefix + name, child)

    def tensor(self, name: str, tensor: torch.Tensor) -> TensorInfo:
        if id(tensor) not in self.infos:
            self.infos[id(tensor)] = tensor, describe(tensor, name, self.sources)
        return self.infos[id(tensor)][1]

    def value(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self.tensor("", value)
        if isinstance(value, dict):
            made = OrderedDict() if isinstance(value, OrderedDict) else {}
            made.update((key, self.value(held)) for key, held in value.items())
            return made
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return type(value)(self.value(held) for held in value)
        if isinstance(value, str | int | float | complex | bool | torch.Size | None):
            return value
        if isinstance(value, type) or callable(value):
            return Opaque(
                f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
            )
        return Opaque(f"{type(value).__module__}.{type(value).__qualname__}", ())
