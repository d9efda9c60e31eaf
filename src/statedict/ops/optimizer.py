"""Which parameter each state of an optimizer belongs to, where the checkpoint's order and shapes prove it."""
# pyright: reportPrivateUsage=false

from collections.abc import Iterator
from typing import Any

from statedict.narrow import is_dict, is_list
from statedict.ops.select import is_optimizer, named_modules, own_buffers, own_modules, own_parameters
from statedict.tree.module import Module
from statedict.tree.tensor import Tensor

_OF_ITS_SHAPE = frozenset(
    {
        "acc_delta",
        "ax",
        "exp_avg",
        "exp_avg_diff",
        "exp_avg_sq",
        "exp_inf",
        "max_exp_avg_sq",
        "momentum_buffer",
        "prev",
        "grad_avg",
        "square_avg",
        "state1",
        "state2",
        "step_size",
        "sum",
    }
)
"""What optimizers keep for each parameter in its own shape: those of `torch.optim`, and bitsandbytes' two."""


def optimizer_parameters(model: Module) -> dict[str, str]:
    """The name of the parameter that each tensor of an optimizer's states belongs to, by that tensor's full name.

    PyTorch numbers an optimizer's parameters in the order in which it got them. That order is compared with those of
    the state dicts beside the optimizer: only where one has as many, and every state of every index has the shape of
    its parameter, is it said; and not where two fit under different names. Names are those within that state dict.
    """
    found: dict[str, str] = {}
    above: dict[int, tuple[Module, ...]] = {id(model): ()}
    for name, module, _ in named_modules(model):
        for _, child in own_modules(module):
            above.setdefault(id(child), (*above[id(module)], module))
        if is_optimizer(module):
            states = _states(module)
            names = _names(module, states, above[id(module)]) if states else None
            for index, tensors in states.items() if names else ():
                prefix = f"{name}.state.{index}." if name else f"state.{index}."
                found |= dict.fromkeys((prefix + local for local in tensors), (names or [])[index])
    return found


def _names(optimizer: Module, states: dict[int, dict[str, Tensor]], above: tuple[Module, ...]) -> list[str] | None:
    """The names of an optimizer's parameters, by index; None where nothing near it proves them."""
    count = _count(optimizer)
    if count is None or max(states) >= count:
        return None
    for parent in reversed(above):
        fitting = [names for names in _candidates(parent, optimizer) if _fits(names, states, count)]
        if fitting:
            first = list(fitting[0])
            return first if all(list(names) == first for names in fitting) else None
    return None


def _candidates(parent: Module, optimizer: Module) -> Iterator[dict[str, Tensor]]:
    """The parameters of each state dict in `parent`, by name in order, a tied one once."""
    for _, child in own_modules(parent):
        if child is not optimizer and not any(map(is_optimizer, child.modules())):
            yield dict(child.named_parameters())


def _fits(parameters: dict[str, Tensor], states: dict[int, dict[str, Tensor]], count: int) -> bool:
    shapes = [tensor.shape for tensor in parameters.values()]
    return len(shapes) == count and all(
        tensor.shape == shapes[index]
        for index, tensors in states.items()
        for local, tensor in tensors.items()
        if local in _OF_ITS_SHAPE
    )


def _states(optimizer: Module) -> dict[int, dict[str, Tensor]]:
    """The tensors of each index's state; nothing where one has no tensor by which it could be told."""
    states: dict[int, dict[str, Tensor]] = {}
    state = optimizer._modules["state"]
    for index, child in own_modules(state) if state is not None else ():
        tensors = dict([*own_parameters(child), *own_buffers(child)])
        if not index.isdecimal() or not tensors.keys() & _OF_ITS_SHAPE:
            return {}
        states[int(index)] = tensors
    return states


def _count(optimizer: Module) -> int | None:
    """How many parameters the groups list, where they are numbered in a row from 0."""
    groups = optimizer._modules.get("param_groups")
    held: Any = optimizer.attributes.get("param_groups")
    if groups is not None:
        held = [child.attributes for _, child in own_modules(groups)]
    listed: list[Any] = []
    for group in held if is_list(held) else ():
        params = group.get("params") if is_dict(group) else None
        listed += params if is_list(params) else [None]
    return len(listed) if listed == list(range(len(listed))) and listed else None
