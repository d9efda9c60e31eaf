"""The dict that a checkpoint was, entry by entry: what PyTorch would have as `torch.load` returned it."""
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001  The tree's own files look inside a `Module`.

from collections import OrderedDict
from typing import Any

from statedict.narrow import is_number
from statedict.tree.module import Module
from statedict.tree.tensor import Tensor


def entries(root: Module) -> dict[str, Any]:
    """Tensors and other values by the texts of the keys that they had; of a model, its state dict.

    Lists and dicts within are such again. A module of a model stays a `Module`. Its `_metadata` is a state dict's.
    """
    state = root.state_dict()
    if root.container != "dict" or not root._keys:
        return state
    found: OrderedDict[str, Any] = OrderedDict((str(key), value) for key, value in _dict(root).items())
    vars(found)["_metadata"] = state._metadata
    return found


def _dict(module: Module) -> dict[Any, Any]:
    tensors: dict[str, Tensor] = module.state_dict()
    names = module._keys or {name: name for name in tensors}
    return {key: tensors[name] if name in tensors else _other(module, name) for name, key in names.items()}


def _other(module: Module, name: str) -> Any:
    return module.attributes[name] if name in module.attributes else _value(module.get_submodule(name))


def _value(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if not isinstance(value, Module) or value.container is None:
        return value
    if value.container == "dict":
        return _dict(value)
    held: dict[str, Any] = {**value.attributes, **value._parameters, **value._buffers, **value._modules}
    row = [_value(held[name]) for name in sorted(filter(is_number, held), key=int)]
    return tuple(row) if value.container == "tuple" else row
