"""The attributes of live modules as ours, and ours as PyTorch's: element types, functions, devices."""
# pyright: reportUnknownMemberType=false

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn

from statedict.dtypes import DTYPES, DType
from statedict.errors import StatedictError
from statedict.narrow import is_container, is_dict, is_set
from statedict.opaque import Opaque
from statedict.tree.tensor import Tensor, is_array

_DICTS: frozenset[type] = frozenset({dict, OrderedDict})
_ROWS: frozenset[type] = frozenset({list, tuple, set, frozenset})
_PLAIN = frozenset({str, int, float, bool, complex, bytes, type(None)})
_MOST_NESTED = 200
_DEVICE = re.compile(r"(cpu|cuda|meta|mps|xpu)(:\d{1,3})?")
_DEEPEST = 6
"""Levels of an attribute that are described: a live object may lead to everything else in the program."""
_FUNCTIONS = """
    celu cosine_similarity elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax
    logsigmoid mish pairwise_distance prelu relu relu6 rrelu selu sigmoid silu softmax softmin softplus softshrink
    softsign tanh tanhshrink threshold
"""
_HOMES: Mapping[str, Any] = {
    "torch.nn.functional": nn.functional,
    "torch._C._nn": cast("Any", torch)._C._nn,
    "torch": torch,
    "torch._VariableFunctionsClass": torch,
    "torch._C._VariableFunctionsClass": torch,
}
"""Where a pickle and `__qualname__` say that they are."""


def ours(value: Any, live: Callable[[Any], Any], depth: int = 0) -> Any:
    """An attribute's value: plain ones and lists of them as they are, functions and other objects described.

    `live` gives ours for a tensor or a module.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, torch.Tensor | nn.Module):
        return live(value)
    if isinstance(value, torch.dtype):
        return DTYPES[str(value).removeprefix("torch.")]
    if is_array(value, "numpy", "ndarray"):
        return Tensor(value)
    if depth > _DEEPEST:
        return Opaque(_full_name(type(value)), ())
    if is_container(value) or is_set(value):
        return _contents(value, live, depth + 1)
    return _described(value, live, depth + 1)


def _contents(value: Any, live: Callable[[Any], Any], depth: int) -> Any:
    """The container itself, so that edits reach it, where all in it is plain; else another of what it holds."""
    held: list[Any] = [*value, *value.values()] if is_dict(value) else list(value)
    if type(value) in (dict, list, tuple, set, frozenset) and all(type(each) in _PLAIN for each in held):
        return value
    if is_dict(value):
        made: dict[Any, Any] = {ours(key, live, depth): ours(each, live, depth) for key, each in value.items()}
        return made
    kind: Any = next(kind for kind in (list, tuple, frozenset, set) if isinstance(value, kind))
    return kind(ours(each, live, depth) for each in held)


def _described(value: Any, live: Callable[[Any], Any], depth: int) -> Opaque:
    if isinstance(value, torch.device):
        return Opaque("torch.device", (str(value),))
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return Opaque(_full_name(value))
    state = getattr(value, "__dict__", None)
    described = {name: ours(held, live, depth) for name, held in state.items()} if is_dict(state) else None
    return Opaque(_full_name(type(value)), (), state=described)


def _full_name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _functions() -> dict[str, Any]:
    """Functions that layers call, by each name that a pickle may have for them: nothing else is looked up by name."""
    found: dict[str, Any] = {}
    for home, library in _HOMES.items():
        found |= {f"{home}.{name}": getattr(library, name) for name in _FUNCTIONS.split() if hasattr(library, name)}
    return found


FUNCTIONS: Mapping[str, Any] = _functions()


def theirs(value: Any, tensor: Callable[[Tensor], Any] | None = None, depth: int = 0) -> Any:
    """What PyTorch's modules hold for an attribute of ours; `tensor` gives the `torch.Tensor` for one of ours.

    What is only described and is none of the functions that PyTorch's layers call becomes one that raises when called.
    Raises StatedictError for what is nested without end.
    """
    if type(value) in _PLAIN:
        return value
    if depth > _MOST_NESTED:
        raise StatedictError("an attribute is a list or dict nested without end, which no module of PyTorch holds")
    if isinstance(value, DType):
        return getattr(torch, value.name, None) or Unknown(Opaque(f"torch.{value.name}"))
    if isinstance(value, Tensor):
        return tensor(value) if tensor else value.torch()
    if isinstance(value, Opaque):
        return _meant(value)
    kind: Any = cast("object", type(value))
    if kind in _DICTS:
        return kind((theirs(key, tensor, depth + 1), theirs(held, tensor, depth + 1)) for key, held in value.items())
    if kind in _ROWS:
        return kind(theirs(held, tensor, depth + 1) for held in value)
    return value


def _meant(value: Opaque) -> Any:
    name, args = value.name, value.args
    if name.endswith("getattr") and args and len(args) == 2 and isinstance(args[0], Opaque):
        name, args = f"{args[0].name}.{args[1]}", None  # as pickle writes what PyTorch's C++ brings
    if args is None and name in FUNCTIONS:
        return FUNCTIONS[name]
    if name == "torch.device" and args and _is_device(args):
        return torch.device(*args)
    return Unknown(value)


def _is_device(args: tuple[Any, ...]) -> bool:
    """Whether they are what PyTorch pickles of a device: its kind, and perhaps its number."""
    kind, *index = args
    return isinstance(kind, str) and bool(_DEVICE.fullmatch(kind)) and [type(each) for each in index] in ([], [int])


class Unknown:
    """What stands for an object that a file only describes, and that must not be looked up by name."""

    def __init__(self, described: Opaque) -> None:
        self.described = described

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise StatedictError(
            f"`{self.described.name}` is only described in the checkpoint and was not looked up; "
            "assign the function itself to the module's attribute"
        )

    def __repr__(self) -> str:
        return repr(self.described)
