"""`select`: the tensors of a tree whose names fit patterns and whose facts fit a condition."""
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001  It walks modules as `Module` itself does.

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from statedict.errors import LimitError
from statedict.index import EMPTY, TensorInfo
from statedict.ops.patterns import matching
from statedict.tree.deferred import recipe_of
from statedict.tree.module import Module
from statedict.tree.roles import Role
from statedict.tree.tensor import Tensor
from statedict.tree.walking import require_tree

Optimizer = Literal["optimizer"] | None
"""The role of all tensors in an optimizer's state; None: each has its own."""

_ROLES: tuple[tuple[str, Role], ...] = (("_parameters", "parameter"), ("_buffers", "buffer"))
_SPARE_NAMES = 100_000


class NamedTensor(NamedTuple):
    """One name of one tensor, and the module that registered it."""

    name: str
    tensor: Tensor
    owner: Module
    role: Role

    @property
    def info(self) -> TensorInfo:
        """What the tensor is and where it lies."""
        return self.tensor.info


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
    holds = None if where is None else _condition(where)
    if patterns := tuple(patterns):
        entries = _fitting(model, entries, patterns)
    return entries if holds is None else [entry for entry in entries if holds(facts(entry))]


def _condition(where: str) -> Callable[[Mapping[str, Any]], bool]:
    from statedict.ops.where import compile_where  # most selections need no parser of conditions

    return compile_where(where)


def named_tensors(model: Module) -> Iterator[NamedTensor]:
    """Every name of every parameter and buffer, in the order of the tree: a module's own, then its children's."""
    for head, module, optimizer in _heads(model):
        yield from own_tensors(head, module, optimizer)


def shown_tensors(model: Module, head: str = "") -> Iterator[NamedTensor]:
    """What `named_tensors` yields of a tree that nothing was done to, and in which nothing has a second name.

    Blocks that are not built are so only for this, one after the other: of a model of any size few are there at a time.
    """
    yield from own_tensors(head, model, None)
    for local, child in own_modules(model):
        recipe = recipe_of(child)
        yield from shown_tensors(recipe.show() if recipe else child, f"{head}{local}.")


def named_modules(model: Module) -> Iterator[tuple[str, Module, Optimizer]]:
    """Every name of every module, parents first, and whether it belongs to an optimizer; cycles are entered once.

    Raises LimitError when modules shared within shared modules have far more names than there are modules.
    """
    for head, module, role in _heads(model):
        yield head[:-1], module, role


def _heads(model: Module) -> Iterator[tuple[str, Module, Optimizer]]:
    """What `named_modules` yields, but with what stands before the names of a module's members: "features.0."."""
    require_tree(model)
    seen: set[int] = set()
    optimizer: str | None = None
    for names, (head, module) in enumerate(model._descend("", set(), again=True)):
        seen.add(id(module))
        if names > 10 * len(seen) + _SPARE_NAMES:
            raise LimitError(
                f"modules shared within shared modules have more than {names:,} names, `{head[:40]}…` is one"
            )
        if optimizer is None or not head.startswith(optimizer):
            optimizer = head if is_optimizer(module) else None
        yield head, module, None if optimizer is None else "optimizer"


def is_optimizer(module: Module) -> bool:
    """Whether a module is what `Optimizer.state_dict` returned: an entry `state`, and one `param_groups`."""
    children = module.__dict__.get("_modules", EMPTY)
    return "state" in children and ("param_groups" in children or "param_groups" in module.attributes)


def own_modules(module: Module) -> list[tuple[str, Module]]:
    """The children of a module, every name of each: PyTorch's `named_children` gives one."""
    return _own(module, "_modules")


def own_tensors(prefix: str, module: Module, optimizer: Optimizer) -> list[NamedTensor]:
    """The tensors that a module itself registered, every name of each, after `prefix`."""
    found: list[NamedTensor] = []
    held = module.__dict__
    for table, role in _ROLES:
        if table in held:
            for name, tensor in held[table].items():  # no comprehension: a frame for each module shows
                if tensor is not None:
                    found.append(NamedTensor(prefix + name, tensor, module, optimizer or role))
    return found


def own_parameters(module: Module) -> list[tuple[str, Tensor]]:
    """The parameters that a module itself registered, every name of each."""
    return _own(module, "_parameters")


def own_buffers(module: Module) -> list[tuple[str, Tensor]]:
    """The buffers that a module itself registered, every name of each."""
    return _own(module, "_buffers")


def _own(module: Module, table: str) -> list[tuple[str, Any]]:
    entries = module.__dict__.get(table)
    return [(name, held) for name, held in entries.items() if held is not None] if entries else []


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


def _fitting(model: Module, entries: list[NamedTensor], patterns: tuple[str, ...]) -> list[NamedTensor]:
    """Those of `entries` that fit; a pattern that is only a module's name is answered with the one to write."""
    found = matching([entry.name for entry in entries], patterns, lambda: {name for name, *_ in named_modules(model)})
    return [entry for entry in entries if entry.name in found]
