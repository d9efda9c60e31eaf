"""What a dotted name in a checkpoint means: a tensor, a module, or an attribute, however deep in dicts and lists."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from statedict.errors import PatternError
from statedict.narrow import is_dict, is_list, is_tuple
from statedict.opaque import Opaque
from statedict.ops.patterns import suggestion
from statedict.ops.select import NamedTensor, named_modules, named_tensors
from statedict.tree.module import Module
from statedict.tree.tensor import Tensor


class NamedModule(NamedTuple):
    """One name of a module."""

    name: str
    module: Module


class NamedAttribute(NamedTuple):
    """One value that a module, or something in its attributes, holds under a name."""

    name: str
    value: Any
    owner: Module


def find(model: Module, name: str) -> NamedTensor | NamedModule | NamedAttribute:
    """What `name` names in `model`: a tensor before a module before an attribute; "" is the model itself.

    An attribute's name goes on into dicts, lists (by position) and pickled objects: `hyper_parameters.optimizer.lr`.
    Raises PatternError, with the closest names, when there is nothing of that name.
    """
    for entry in named_tensors(model):
        if entry.name == name:
            return entry
    modules = {path: module for path, module, _ in named_modules(model)}
    if name in modules:
        return NamedModule(name, modules[name])
    for path, rest in _splits(name):
        if path in modules:
            for value in _within(modules[path].attributes, rest):
                return NamedAttribute(name, value, modules[path])
    raise PatternError(f"there is no `{name}`{suggestion(name, _names(model, modules))}")


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """`name` as a module's name and the rest, the longest module's name first."""
    parts = name.split(".")
    for at in range(len(parts) - 1, -1, -1):
        yield ".".join(parts[:at]), ".".join(parts[at:])


def _within(value: Any, name: str) -> Iterator[Any]:
    """What `value` holds under `name`; keys may have dots themselves."""
    entries = dict(entries_of(value) or ())
    if name in entries:
        yield entries[name]
    for at, character in enumerate(name):
        if character == "." and name[:at] in entries:
            yield from _within(entries[name[:at]], name[at + 1 :])


def entries_of(value: Any) -> list[tuple[str, Any]] | None:
    """What a value of a file holds, each under a name or position; None where it is no dict, list or object."""
    if is_dict(value):
        return [(_key(key, at), held) for at, (key, held) in enumerate(value.items())]
    if is_list(value) or is_tuple(value):
        return [(str(at), held) for at, held in enumerate(value)]
    if isinstance(value, Opaque) and (value.attributes or value.items):
        return [*value.attributes.items(), *(entries_of(value.items) or ())]
    return None


def _key(key: Any, at: int) -> str:
    """The name of a dict's entry; its position where the key is nothing that a name could be."""
    return key if isinstance(key, str) else str(key) if isinstance(key, int | float) else str(at)


def _names(model: Module, modules: Mapping[str, Module]) -> Iterator[str]:
    yield from filter(None, modules)
    yield from (entry.name for entry in named_tensors(model))
    for path, module in modules.items():
        yield from (f"{path}.{name}" if path else name for name in module.attributes)


def first_values(tensor: Tensor, count: int = 8) -> list[Any]:
    """The first elements of a tensor as Python numbers, row by row; reads few bytes more than theirs.

    Raises TypeError and ValueError as `Tensor.numpy` does, where elements cannot be had.
    """
    view = tensor.dequantize() if tensor.dtype.block_bytes else tensor
    while view.ndim > 1 and view.shape and view.numel() and view.numel() // view.shape[0] >= count:
        view = view[0]
    if view.shape and view.numel() > count:
        rest = view.numel() // view.shape[0]
        view = view[: -(-count // rest)]
    values = view.numpy().reshape(-1)[:count]
    return [Tensor(values[at : at + 1]).item() for at in range(len(values))]
