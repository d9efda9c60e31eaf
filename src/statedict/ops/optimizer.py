"""Which parameter each state of an optimizer belongs to, where the checkpoint's order and shapes prove it."""
# pyright: reportPrivateUsage=false

from collections.abc import Iterator, Mapping, Sized
from itertools import combinations
from typing import Any, NamedTuple

from statedict.narrow import is_dict, is_list
from statedict.ops.select import is_optimizer, named_modules, own_buffers, own_modules, own_parameters
from statedict.tree.module import Module
from statedict.tree.tensor import Tensor

Shape = tuple[int, ...] | None
_States = dict[int, dict[str, Tensor]]
"""The tensors of an optimizer's state, by the index of the parameter that they are of."""
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
_OF_ONE = _OF_ITS_SHAPE | {"row_var", "col_var", "variance", "exp_avg_sq_row", "exp_avg_sq_col"}
"""The same, and what those of Adafactor keep for each in other shapes."""


def optimizer_parameters(model: Module) -> dict[str, str]:
    """The name of the parameter that each tensor of an optimizer's states belongs to, by that tensor's full name.

    An optimizer that was made of `named_parameters()` has saved the names. Others number their parameters in the order
    in which they got them, which is compared with those of the state dicts beside the optimizer: only where one has as
    many, and every state of every index has the shape of its parameter, is it said; and not where two fit under
    different names, or two groups could be exchanged. Groups may divide the parameters by shape, as biases and norms
    are spared weight decay: then the order is each group's. Names are those within that state dict.
    """
    found: dict[str, str] = {}
    above: dict[int, tuple[Module, ...]] = {id(model): ()}
    for name, module, _ in named_modules(model):
        for _, child in own_modules(module):
            above.setdefault(id(child), (*above[id(module)], module))
        if is_optimizer(module):
            states = _states(module)
            names = _names(module, states, above[id(module)]) if states else {}
            for index, tensors in states.items() if names else ():
                prefix = f"{name}.state.{index}." if name else f"state.{index}."
                found |= dict.fromkeys((prefix + local for local in tensors), names[index])
    return found


def _names(optimizer: Module, states: _States, above: tuple[Module, ...]) -> dict[int, str]:
    """The names of an optimizer's parameters, by index; nothing where it has none and nothing near it proves them."""
    groups = _groups(optimizer)
    indices = [index for group in groups for index in group.indices]
    if indices != list(range(len(indices))) or max(states) >= len(indices):
        return {}
    told = [name for group in groups for name in group.names]
    if len(told) == len(indices):
        return dict(zip(indices, told, strict=True))
    for parent in reversed(above):
        fitting = [names for each in _candidates(parent, optimizer) if (names := _ordered(each, states, groups))]
        if fitting:
            return fitting[0] if all(names == fitting[0] for names in fitting) else {}
    return {}


def _candidates(parent: Module, optimizer: Module) -> Iterator[dict[str, Tensor]]:
    """The parameters of each state dict in `parent`, by name in order, a tied one once."""
    for _, child in own_modules(parent):
        if child is not optimizer and not any(map(is_optimizer, child.modules())):
            yield dict(child.named_parameters())


def _ordered(parameters: dict[str, Tensor], states: _States, groups: "list[_Group]") -> dict[int, str]:
    """The names by index, where all parameters in their order fit the states, or those of each shape do."""
    if len(parameters) != sum(len(group.indices) for group in groups):
        return {}
    shapes = [{tensor.shape} for tensor in parameters.values()]
    if all(_shapes(tensors) == shapes[index] for index, tensors in states.items()):
        rows: list[list[set[Shape]]] = [[shapes[index] for index in group.indices] for group in groups]
        return {} if _exchangeable(rows) else dict(enumerate(parameters))
    return _ordered_by_shape(parameters, states, groups)


def _exchangeable(rows: list[list[set[Shape]]]) -> bool:
    """Whether two groups of these shapes could be the other way round, as groups have an order of their own."""
    return any(first + second == second + first for first, second in combinations(filter(None, rows), 2))


def _ordered_by_shape(parameters: dict[str, Tensor], states: _States, groups: "list[_Group]") -> dict[int, str]:
    """The names by index, where each shape is one group's alone, which has all parameters of it, and in their order."""
    places: dict[Shape, list[int]] = {}
    homes: dict[Shape, int] = {}
    for home, group in enumerate(groups):
        for index in group.indices:
            found = _shapes(states.get(index, {}))
            if len(found) != 1 or homes.setdefault(shape := found.pop(), home) != home:
                return {}
            places.setdefault(shape, []).append(index)
    named: dict[Shape, list[str]] = {}
    for name, tensor in parameters.items():
        named.setdefault(tensor.shape, []).append(name)
    if _counts(named) != _counts(places):
        return {}
    names = {at: name for shape, held in places.items() for at, name in zip(held, named[shape], strict=True)}
    position = {name: at for at, name in enumerate(parameters)}
    rows = ([position[names[index]] for index in group.indices] for group in groups)
    return names if all(row == sorted(row) for row in rows) else {}


def _counts(by_shape: Mapping[Shape, Sized]) -> dict[Shape, int]:
    return {shape: len(held) for shape, held in by_shape.items()}


def _shapes(tensors: Mapping[str, Tensor]) -> set[Shape]:
    """The shapes of what an optimizer keeps in its parameter's shape."""
    return {tensor.shape for local, tensor in tensors.items() if local in _OF_ITS_SHAPE}


def _states(optimizer: Module) -> _States:
    """The tensors of each index's state; nothing where one has no tensor by which it could be told."""
    states: _States = {}
    state = optimizer._modules["state"]
    for index, child in own_modules(state) if state is not None else ():
        tensors = dict([*own_parameters(child), *own_buffers(child)])
        if not index.isdecimal() or not tensors.keys() & _OF_ONE:
            return {}
        states[int(index)] = tensors
    return states


class _Group(NamedTuple):
    """One of an optimizer's groups."""

    indices: list[Any]
    names: list[str]
    """Those of its parameters; none where it was not given them."""


def _groups(optimizer: Module) -> list[_Group]:
    """What the groups list; nothing where one lists no parameters."""
    groups = optimizer._modules.get("param_groups")
    held: Any = optimizer.attributes.get("param_groups")
    if groups is not None:
        held = [child.attributes for _, child in own_modules(groups)]
    found: list[_Group] = []
    for group in held if is_list(held) else ():
        params, names = (group.get("params"), group.get("param_names")) if is_dict(group) else (None, None)
        if not is_list(params):
            return []
        told = is_list(names) and len(names) == len(params) and all(isinstance(name, str) for name in names)
        found.append(_Group(params, names if told and is_list(names) else []))
    return found
