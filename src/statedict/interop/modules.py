"""From a tree whose file names classes back to live PyTorch modules, of which only PyTorch's own are looked up."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NoReturn, cast

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from statedict.errors import StatedictError
from statedict.interop import values
from statedict.interop.live import LiveModule
from statedict.interop.torch import to_torch as tensor_to_torch
from statedict.tree.module import Module
from statedict.tree.tensor import Tensor

_HOOKS = ("_load_hook", "_initialize_hook")
"""What a lazy module keeps to take its hooks away once it knows its shapes."""


class Holder(nn.Module):
    """The weights, attributes and children of a module whose class was not at hand: it has no `forward`."""

    class_name: str = ""
    """The full name of the class that the file names."""

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Nothing but NotImplementedError that names the class."""
        raise NotImplementedError(
            f"`{self.class_name}` is no class of torch.nn, so this only holds its weights; call the modules in it, or "
            f'give the class: `to_torch({{"{self.class_name}": {type(self).__name__}}})`'
        )


def holders(model: nn.Module) -> dict[str, str]:
    """The full name of the class of each module that is only a `Holder`, by the module's name; empty: all can run."""
    found = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())
    return {name: module.class_name for name, module in found if isinstance(module, Holder)}


def to_torch(module: Module, classes: Mapping[str, type[nn.Module]]) -> nn.Module:
    """The live module that `module` describes; see `Module.to_torch`."""
    if module.class_name is None:
        raise StatedictError(_nameless(module))
    for name, kind in classes.items():
        if not (isinstance(cast("object", kind), type) and issubclass(kind, nn.Module)):
            raise TypeError(f"`{kind!r}`, given for `{name}`, is no subclass of torch.nn.Module")
    return _Building({**allowed(), **classes}).module(module)


def _nameless(module: Module) -> str:
    parts = [name for name, part in module.named_modules() if part.class_name is not None]
    if parts:
        return f"a {module.container or 'dict'} of a checkpoint is no module; take the part `{parts[0]}` that is one"
    return (
        "this checkpoint holds tensors and no classes, as a state dict does; build the model's class in PyTorch, and "
        "give it these weights: `net.load_state_dict({name: t.torch() for name, t in model.state_dict().items()})`"
    )


@cache
def allowed() -> Mapping[str, type[nn.Module]]:
    """The classes of `torch.nn` by full name: those that it exports, and those that these are made of."""
    libraries = [nn, *(module for name, module in sys.modules.items() if name.startswith("torch.nn.modules."))]
    found: dict[str, type[nn.Module]] = {}
    for library in libraries:
        for value in vars(library).values():
            if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__.startswith("torch.nn."):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


class _Building:
    """The modules and tensors made so far, by the `id` of ours: what was shared or tied stays so."""

    def __init__(self, classes: Mapping[str, type[nn.Module]]) -> None:
        self._classes = classes
        self._modules: dict[int, nn.Module] = {}
        self._tensors: dict[tuple[int, bool], torch.Tensor] = {}
        self._foreign: dict[str, type[Holder]] = {}

    def module(self, module: Module) -> nn.Module:
        """The live module of one of ours, with all below it."""
        if id(module) in self._modules:
            return self._modules[id(module)]
        if isinstance(module, LiveModule):
            return module.live
        kind = self._classes.get(module.class_name or "") or self._holder(module)
        made = self._modules[id(module)] = object.__new__(kind)
        nn.Module.__init__(made)
        parameters = {name: self._registered(tensor, parameter=True) for name, tensor in module._parameters.items()}
        buffers = {name: self._registered(tensor, parameter=False) for name, tensor in module._buffers.items()}
        children = {name: None if child is None else self.module(child) for name, child in module._modules.items()}
        attributes = {name: values.theirs(value, self._tensor) for name, value in module.attributes.items()}
        state: dict[str, Any] = {
            **{name: held for name, held in vars(made).items() if name not in attributes},
            **{name: held for name, held in attributes.items() if name not in _HOOKS},
            "training": module.training,
            "_parameters": parameters,
            "_buffers": buffers,
            "_modules": children,
            "_non_persistent_buffers_set": set(module._non_persistent_buffers_set),
        }
        made.__setstate__(state)  # which also brings what older versions of PyTorch saved up to date
        if isinstance(made, LazyModuleMixin):
            _make_lazy(made)
        return made

    def _holder(self, module: Module) -> type[Holder]:
        name = module.class_name or ""
        found = self._foreign.get(name)
        if found is None:
            kind = name.rpartition(".")[2]
            kind = kind if kind.isidentifier() else "Module"  # a file may have any name
            found = self._foreign[name] = type(kind, (Holder,), {"class_name": name, "__module__": __name__})
        return found

    def _registered(self, tensor: Tensor | None, *, parameter: bool) -> torch.Tensor | None:
        if tensor is None:
            return None
        key = id(tensor), parameter
        if key not in self._tensors:
            self._tensors[key] = tensor_to_torch(tensor.info, tensor.requires_grad, parameter=parameter)
        return self._tensors[key]

    def _tensor(self, tensor: Tensor) -> torch.Tensor:
        """What an attribute holds: the very parameter or buffer, where it is one that is registered, too."""
        for parameter in (True, False):
            if (found := self._tensors.get((id(tensor), parameter))) is not None:
                return found
        return tensor.torch()


def _make_lazy(made: Any) -> None:
    """Have a lazy module find out its shapes, as its `__init__` would have."""
    made._load_hook = made._register_load_state_dict_pre_hook(made._lazy_load_hook)
    made._initialize_hook = made.register_forward_pre_hook(made._infer_parameters, with_kwargs=True)
