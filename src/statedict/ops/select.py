"""`select`: the tensors of a tree whose names fit patterns and whose facts fit a condition."""
# pyright: reportPrivateUsage=false

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from statedict.errors import LimitError, PatternError
from statedict.module import Module
from statedict.ops.patterns import matching
from statedict.ops.where import compile_where
from statedict.tensor import Tensor

Role = Literal["parameter", "buffer", "optimizer"]
"""What a tensor is for; "optimizer": part of an optimizer's state in a training checkpoint."""

_Link = tuple[Module, Any]
_Optimizer = Literal["optimizer"] | None
_SPARE_NAMES = 100_000


class NamedTensor(NamedTuple):
    """One name of one tensor, and the module that registered it."""

    name: str
    tensor: Tensor
    owner: Module
    role: Role


def select(model: Module, *patterns: str, where: str | None = None) -> dict[str, Tensor]:
    """The tensors of `model` whose names fit one of `patterns` (all, when there is none) and that `where` holds for.

    Names are full, in the order of the tree, every name of a tied tensor included. `patterns.compile_pattern` says what
    a pattern may hold, `where.compile_where` what a condition may.

    Raises PatternError for a malformed pattern or condition, and for a pattern that matches nothing.
    """
    return {entry.name: entry.tensor for entry in selected(model, patterns, where)}


def selected(model: Module, patterns: Iterable[str] = (), where: str | None = None) -> list[NamedTensor]:
    """What `select` finds, with owner and role. Raises as `select` does."""
    return chosen(model, list(named_tensors(model)), patterns, where)


def chosen(
    model: Module, entries: list[NamedTensor], patterns: Iterable[str] = (), where: str | None = None
) -> list[NamedTensor]:
    """Those of `entries`, which are `named_tensors` of `model`, that fit. Raises as `select` does."""
    holds = None if where is None else compile_where(where)
    if patterns := tuple(patterns):
        entries = _fitting(model, entries, patterns)
    return entries if holds is None else [entry for entry in entries if holds(facts(entry))]


def named_tensors(model: Module) -> Iterator[NamedTensor]:
    """Every name of every parameter and buffer, in the order of the tree: a module's own, then its children's."""
    for name, module, role in named_modules(model):
        prefix = name + "." if name or module is not model else ""
        for local, parameter in own_parameters(module):
            yield NamedTensor(prefix + local, parameter, module, role or "parameter")
        for local, buffer in own_buffers(module):
            yield NamedTensor(prefix + local, buffer, module, role or "buffer")


def named_modules(model: Module) -> Iterator[tuple[str, Module, _Optimizer]]:
    """Every name of every module, parents first, and whether it belongs to an optimizer; cycles are entered once.

    Raises LimitError when modules shared within shared modules have far more names than there are modules.
    """
    seen: set[int] = set()
    names = 0
    stack: list[tuple[str, Module, _Link | None, _Optimizer]] = [("", model, None, None)]
    while stack:
        name, module, above, role = stack.pop()
        if id(module) in seen and _is_above(module, above):
            continue
        seen.add(id(module))
        names += 1
        if names > 10 * len(seen) + _SPARE_NAMES:
            raise LimitError(
                f"modules shared within shared modules have more than {names:,} names, `{name[:40]}…` is one"
            )
        role = role or ("optimizer" if is_optimizer(module) else None)
        yield name, module, role
        prefix = name + "." if above is not None else ""
        link = (module, above)
        if module._modules:
            stack.extend((prefix + local, child, link, role) for local, child in reversed(own_modules(module)))


def is_optimizer(module: Module) -> bool:
    """Whether a module is what `Optimizer.state_dict` returned: an entry `state`, and one `param_groups`."""
    children = module._modules
    return "state" in children and ("param_groups" in children or "param_groups" in module.attributes)


def own_modules(module: Module) -> list[tuple[str, Module]]:
    """The children of a module, every name of each: PyTorch's `named_children` gives one."""
    children = module._modules
    return [(name, child) for name, child in children.items() if child is not None] if children else []


def own_parameters(module: Module) -> list[tuple[str, Tensor]]:
    """The parameters that a module itself registered, every name of each."""
    entries = module._parameters
    return [(name, tensor) for name, tensor in entries.items() if tensor is not None] if entries else []


def own_buffers(module: Module) -> list[tuple[str, Tensor]]:
    """The buffers that a module itself registered, every name of each."""
    entries = module._buffers
    return [(name, tensor) for name, tensor in entries.items() if tensor is not None] if entries else []


def facts(entry: NamedTensor) -> Mapping[str, Any]:
    """The values of `where.FIELDS` for one tensor."""
    name, tensor, owner, role = entry
    shape = tensor.shape
    return {
        "name": name,
        "dtype": tensor.dtype.name,
        "shape": shape,
        "ndim": None if shape is None else len(shape),
        "numel": tensor.numel(),
        "nbytes": tensor.nbytes,
        "kind": owner.kind,
        "role": role,
        "requires_grad": tensor.requires_grad,
        "device": tensor.device,
    }


def _is_above(module: Module, link: _Link | None) -> bool:
    while link is not None:
        if link[0] is module:
            return True
        link = link[1]
    return False


def _fitting(model: Module, entries: list[NamedTensor], patterns: tuple[str, ...]) -> list[NamedTensor]:
    """Those of `entries` that fit; a pattern that is only a module's name is answered with the one to write."""
    names = [entry.name for entry in entries]
    try:
        found = matching(names, patterns)
    except PatternError as error:
        modules = {name for name, *_ in named_modules(model)}
        for pattern in patterns:
            if pattern in modules and f"`{pattern}` matches" in str(error):
                raise PatternError(f"`{pattern}` is a module; `{pattern}.**` matches the tensors in it") from None
        raise
    return [entry for entry in entries if entry.name in found]
