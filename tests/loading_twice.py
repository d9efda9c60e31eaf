"""One checkpoint loaded twice, by PyTorch's `load_state_dict` and by `load_into`, to compare what comes of it."""

import copy
import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

import statedict as sd
from tests.same import bits


def scrambled(net: Any) -> Any:
    """A copy with other values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of deprecated classes
        made = pickle.loads(pickle.dumps(net)) if isinstance(net, LazyModuleMixin) else copy.deepcopy(net)
    with torch.no_grad():
        for tensor in made.state_dict(keep_vars=True).values():
            if isinstance(tensor, torch.Tensor) and not torch.nn.parameter.is_lazy(tensor):
                tensor.fill_(3)
    return made


def theirs(net: nn.Module, state: Mapping[str, Any], strict: bool = True) -> Any:
    """What PyTorch's own way returns, or the text of its error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return net.load_state_dict(state, strict=strict)
        except RuntimeError as error:
            return str(error)


def ours(net: nn.Module, checkpoint: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch warns of complex numbers that lose their imaginary part
        try:
            return sd.load_into(net, checkpoint, **options)
        except RuntimeError as error:
            return str(error)


def plain(value: Any) -> Any:
    """A value of a state dict, to be compared."""
    if isinstance(value, torch.Tensor):
        lazy = torch.nn.parameter.is_lazy(value)
        return (
            (value.dtype, None) if lazy else (value.dtype, value.shape, value.stride(), str(value.device), bits(value))
        )
    return value


def assert_same_state(one: nn.Module, other: nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert {name: plain(value) for name, value in first.items()} == {
        name: plain(value) for name, value in second.items()
    }


def holder(tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    made = nn.Module()
    for name, tensor in tensors.items():
        made.register_buffer(name, tensor)
    return made


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.norm = nn.BatchNorm1d(4)
        self.rnn = nn.LSTM(4, 4)
        self.frozen = nn.Parameter(torch.ones(3, dtype=torch.bfloat16), requires_grad=False)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("positions", torch.arange(4), persistent=False)
