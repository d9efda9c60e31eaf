"""What PyTorch's wrappers leave in names, put away: the names are then those of the module that was wrapped."""

import io
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import statedict as sd
from statedict.errors import StatedictError
from statedict.ops.prefixes import strip_prefixes
from tests.seed_net import Net


def opened(value: Any) -> sd.Module:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return sd.open(buffer.getvalue())


def wrapped() -> nn.Module:
    """A network in all the wrappers that need no processes."""
    net = Net()
    for name, child in list(net.named_children()):
        setattr(net, name, checkpoint_wrapper(child))
    return nn.DataParallel(torch.compile(net, backend="eager"))  # type: ignore[arg-type]


def test_the_names_are_those_of_what_was_wrapped() -> None:
    state = wrapped().state_dict()
    assert any(name.startswith("module._orig_mod.") for name in state)
    before = opened(state)
    after = strip_prefixes(before)
    assert list(after.state_dict()) == list(Net().state_dict())
    assert list(before.state_dict()) == list(state), "the tree itself is not changed"
    assert [id(tensor) for tensor in after.parameters()] == [id(tensor) for tensor in before.parameters()]


def test_within_a_training_checkpoint() -> None:
    after = strip_prefixes(opened({"state_dict": wrapped().state_dict(), "epoch": 3}))
    assert list(after.get_submodule("state_dict").state_dict()) == list(Net().state_dict())
    assert after.epoch == 3


def test_what_has_no_wrappers_stays_as_it_is() -> None:
    before = opened(Net())
    assert repr(strip_prefixes(before)) == repr(before)
    assert list(strip_prefixes(before).state_dict()) == list(before.state_dict())


def test_a_module_of_that_name_beside_others_stays() -> None:
    state = {"module.weight": torch.ones(1), "other.weight": torch.zeros(1)}
    assert list(strip_prefixes(opened(state)).state_dict()) == list(state)


def test_what_a_wrapper_holds_itself_stays() -> None:
    state = {"a._orig_mod.weight": torch.ones(1), "a.scale": torch.zeros(1), "a.inner.weight": torch.zeros(2)}
    assert list(strip_prefixes(opened(state)).state_dict()) == ["a.weight", "a.scale", "a.inner.weight"]


@pytest.mark.parametrize("other", ["a.weight", "a.weight.x"])
def test_two_of_one_name_are_named(other: str) -> None:
    state = {"a._orig_mod.weight": torch.ones(1), other: torch.zeros(1)}
    with pytest.raises(StatedictError, match=r"`a\.weight` and `a\._orig_mod\.weight` would both be `weight`"):
        strip_prefixes(opened(state))


def test_what_is_shared_stays_shared() -> None:
    shared = nn.Linear(2, 2)
    model = nn.ModuleDict({"a": nn.ModuleDict({"_orig_mod": shared}), "b": shared})
    after = strip_prefixes(opened(model))
    assert after.get_submodule("a") is after.get_submodule("b")
    assert [name for name, _ in after.named_parameters()] == ["a.weight", "a.bias"]


def test_a_module_within_itself() -> None:
    loop = sd.Module()
    loop._modules["module"] = loop
    with pytest.raises(StatedictError, match="wraps itself"):
        strip_prefixes(loop)
