"""Optimizers' states under their parameters' names, told only where the checkpoint proves it."""

import io
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.ops.optimizer import optimizer_parameters
from tests.seed_net import Net


def trained(kind: type[torch.optim.Optimizer], net: nn.Module, **options: Any) -> torch.optim.Optimizer:
    optimizer = kind(net.parameters(), lr=0.1, **options)  # type: ignore[call-arg]
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def found(value: Any) -> dict[str, str]:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return optimizer_parameters(sd.open(buffer.getvalue()))


OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "AdamW": (torch.optim.AdamW, {"amsgrad": True}),
    "SGD": (torch.optim.SGD, {"momentum": 0.9}),
    "RMSprop": (torch.optim.RMSprop, {"centered": True}),
    "Adagrad": (torch.optim.Adagrad, {}),
    "Adadelta": (torch.optim.Adadelta, {}),
    "Adamax": (torch.optim.Adamax, {}),
    "NAdam": (torch.optim.NAdam, {}),
    "Rprop": (torch.optim.Rprop, {}),
    "ASGD": (torch.optim.ASGD, {}),
}


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_every_state_is_that_of_its_parameter(kind: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
    net = Net()
    optimizer = trained(kind, net, **options)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    order = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    expected = {
        f"optim.state.{index}.{local}": names[id(parameter)]
        for index, parameter in enumerate(order)
        for local, value in optimizer.state[parameter].items()
        if isinstance(value, torch.Tensor)
    }
    assert expected
    assert found({"model": net.state_dict(), "optim": optimizer.state_dict()}) == expected


def test_lightnings_layout() -> None:
    net = Net()
    states = [trained(torch.optim.Adam, net).state_dict()]
    names = found({"state_dict": net.state_dict(), "optimizer_states": states, "epoch": 1})
    first = next(name for name, _ in net.named_parameters())
    assert names["optimizer_states.0.state.0.exp_avg"] == first


def test_two_copies_of_a_model_prove_the_same() -> None:
    net = Net()
    saved = {"ema": net.state_dict(), "model": net.state_dict(), "optim": trained(torch.optim.Adam, net).state_dict()}
    assert set(found(saved).values()) == {name for name, _ in net.named_parameters()}


def test_nothing_is_said_without_proof() -> None:
    net, other = Net(), nn.Linear(3, 4)
    optim = trained(torch.optim.Adam, net).state_dict()
    assert found({"optim": optim}) == {}
    assert found({"model": other.state_dict(), "optim": optim}) == {}
    renamed = {name.replace("weight", "kernel"): value for name, value in net.state_dict().items()}
    assert found({"model": net.state_dict(), "other": renamed, "optim": optim}) == {}
    assert found(optim) == {}


def test_nothing_is_said_where_a_shape_differs() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    optim = trained(torch.optim.Adam, net).state_dict()
    assert found({"model": net.state_dict(), "optim": optim})
    optim["state"][2]["exp_avg"] = torch.zeros(2, 3)
    assert found({"model": net.state_dict(), "optim": optim}) == {}


@pytest.mark.parametrize("params", [[3, 0, 1, 2], [0, 1], ["a", "b", "c", "d"], None, []])
def test_indices_that_are_no_positions(params: Any) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    optim = trained(torch.optim.Adam, net).state_dict()
    optim["param_groups"][0]["params"] = params
    assert found({"model": net.state_dict(), "optim": optim}) == {}


def test_groups_that_hold_tensors_are_modules() -> None:
    net = nn.Linear(2, 2)
    optim = trained(torch.optim.Adam, net).state_dict()
    optim["param_groups"][0]["lr"] = torch.tensor(0.1)
    assert found({"model": net.state_dict(), "optim": optim})["optim.state.1.exp_avg"] == "bias"
