"""Modules, parameters and buffers by their dotted names; a wrong name is answered with the closest ones."""
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001  The tree's own files look inside a `Module`.

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statedict.tree.module import Module
    from statedict.tree.tensor import Parameter, Tensor

_MOST = 3
_MOST_COMPARED = 1_000
"""Comparing names takes some 20 µs each: more of them are not worth the wait for an error's text."""


def submodule(root: "Module", path: Sequence[str], target: str) -> "Module":
    """The module at a path. `target` is the whole name that was asked for. Raises AttributeError as PyTorch does."""
    module = root
    for name in path:
        child = module._modules.get(name)
        if child is None:
            _check_has(module, name, target, root)
            raise AttributeError(f"`{name}` is not an nn.Module")
        module = child
    return module


def parameter(root: "Module", target: str) -> "Parameter":
    """The parameter of that dotted name. Raises AttributeError as PyTorch does."""
    *path, name = target.split(".")
    owner = submodule(root, path, target)
    found = owner._parameters.get(name)
    if found is None:
        _check_has(owner, name, target, root)
        raise AttributeError(f"`{name}` is not an nn.Parameter")
    return found


def buffer(root: "Module", target: str) -> "Tensor":
    """The buffer of that dotted name; None, as in PyTorch, where it was registered as None. Raises AttributeError."""
    *path, name = target.split(".")
    owner = submodule(root, path, target)
    if name not in owner._buffers:
        _check_has(owner, name, target, root)
        raise AttributeError(f"`{name}` is not a buffer")
    return owner._buffers[name]  # pyright: ignore[reportReturnType]  PyTorch does not say so either


def place(root: "Module", target: str, strict: bool) -> "tuple[Module, str]":
    """Owner and local name of the module of that dotted name, which must exist if `strict`. Raises AttributeError."""
    *path, name = target.split(".")
    owner = submodule(root, path, target)
    if strict:
        _check_has(owner, name, target, root)
    if name not in owner._modules and hasattr(owner, name):
        raise AttributeError(f"`{name}` is not an nn.Module")
    return owner, name


def _check_has(module: "Module", name: str, target: str, root: "Module") -> None:
    if not hasattr(module, name):
        raise AttributeError(f"{module._get_name()} has no attribute `{name}`{closest(module, name, target, root)}")


def closest(module: "Module", name: str, target: str, root: "Module") -> str:
    """What to add to the error that `module` has no `name`: names there, else full names in `root` that end alike."""
    import difflib  # no one but a user's mistake needs it

    local = [*module._modules, *module._parameters, *module._buffers]
    found = difflib.get_close_matches(name, local[:_MOST_COMPARED], _MOST)
    if not found and target:
        ending = "." + target
        found = [full for full in _names(root) if full.endswith(ending)][:_MOST]
    listed = ", ".join(f"`{each}`" for each in found)
    return f"; the closest names are {listed}" if found else ""


def _names(root: "Module") -> Iterable[str]:
    for kinds in (root.named_modules(), root.named_parameters(), root.named_buffers()):
        yield from (name for name, _ in kinds)
