"""What may be registered in a module, under which names, and what becomes of an array that takes a tensor's place."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from statedict.tree.tensor import Buffer, Parameter, Tensor, can_have_gradients, is_tensor_like

if TYPE_CHECKING:
    from statedict.tree.module import Module

_LEGACY = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "bool": "Bool",
    "int8": "Char",
    "uint8": "Byte",
    "int16": "Short",
    "int32": "Int",
    "int64": "Long",
    "complex32": "ComplexHalf",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
    **{f"uint{bits}": f"UInt{bits}" for bits in (16, 32, 64)},
}
"""The element types in the names of PyTorch's old tensor classes."""


def check_name(module: "Module", role: str, name: Any, registered: Mapping[str, Any]) -> None:
    """Nothing, where `name` may be registered. Raises TypeError and KeyError as PyTorch does."""
    if not isinstance(name, str):
        raise TypeError(f"{role} name should be a string. Got {type_name(name)}")
    taken = hasattr(module, name) and name not in registered
    if "." in name and not (taken and role == "module"):
        raise KeyError(f'{role} name can\'t contain "."' + (f", got: {name}" if role == "module" else ""))
    if name == "":
        raise KeyError(f'{role} name can\'t be empty string ""')
    if taken:
        raise KeyError(f"attribute '{name}' already exists")


def parameter_for(name: str, value: Any, old: Parameter | None) -> Parameter | None:
    """What takes the place of the parameter `old`: PyTorch refuses a plain tensor, we wrap it. Raises TypeError."""
    if value is None:
        return None
    _check_tensor(value, "parameter", name, "torch.nn.Parameter or None")
    new = Parameter(value, requires_grad=False)
    new.requires_grad = can_have_gradients(new.dtype) and (old is None or old.requires_grad)
    return new


def buffer_for(name: str, value: Any, persistent: bool) -> Tensor | None:
    """What takes the place of a buffer: a tensor itself, or an array as one. Raises TypeError."""
    if value is None or isinstance(value, Tensor):
        return value
    _check_tensor(value, "buffer", name, "torch.nn.Buffer, torch.Tensor or None")
    return Buffer(value, persistent=persistent)


def _check_tensor(value: Any, role: str, name: str, wanted: str) -> None:
    if not is_tensor_like(value):
        raise TypeError(f"cannot assign '{type_name(value)}' as {role} '{name}' ({wanted} expected)")


def type_name(value: Any) -> str:
    """The name of a value's class as PyTorch's messages give it: "torch.FloatTensor", "torch.nn.Linear", "int"."""
    if isinstance(value, Tensor):
        device = "" if value.device == "cpu" else value.device.partition(":")[0] + "."
        kind = _LEGACY.get(value.dtype.name, value.dtype.name.capitalize())
        return f"torch.{device}{kind}Tensor"
    if isinstance(described := getattr(value, "class_name", None), str):
        return described
    kind = cast("type[object]", type(value))
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
