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


def groups_by_decay(net: nn.Module) -> list[dict[str, Any]]:
    """Matrices in one group, all else in another, as training programs spare biases and norms weight decay."""
    parameters = list(net.parameters())
    return [
        {"params": [each for each in parameters if each.ndim >= 2], "weight_decay": 0.1},
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]


def test_groups_that_divide_parameters_by_shape_are_each_in_order() -> None:
    net = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(3)], nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(groups_by_decay(net))
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    order = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    assert order != list(names.values())

    told = found({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "iter_num": 3})
    assert [told[f"optimizer.state.{index}.exp_avg"] for index in range(len(order))] == order


def test_groups_of_which_two_have_one_shape_prove_nothing() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 2)
    optimizer = torch.optim.AdamW([{"params": second.parameters()}, {"params": first.parameters()}])
    for parameter in [*first.parameters(), *second.parameters()]:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    saved = {"model": nn.Sequential(first, second).state_dict(), "optimizer": optimizer.state_dict()}
    assert set(found(saved).values()) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    saved["optimizer"]["state"][1] = saved["optimizer"]["state"][3]  # now both groups have a vector of three
    assert found(saved) == {}


def test_groups_that_could_be_exchanged_prove_nothing() -> None:
    net = nn.Sequential(*[nn.Linear(3, 3) for _ in range(2)], nn.Linear(3, 1))
    for order, proved in (((0, 1, 2), False), ((1, 0, 2), False), ((2,), True)):
        rest = [each for at, each in enumerate(net) if at not in order]
        optimizer = torch.optim.Adam(
            [
                *([{"params": [p for each in rest for p in each.parameters()]}] if rest else []),
                *({"params": net[at].parameters()} for at in order),
            ]
        )
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        assert bool(found({"model": net.state_dict(), "optimizer": optimizer.state_dict()})) is proved


def test_one_group_in_another_order_proves_nothing() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    optimizer = torch.optim.AdamW([*net[1].parameters(), *net[0].parameters()])
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert found({"model": net.state_dict(), "optimizer": optimizer.state_dict()}) == {}


def test_an_optimizer_of_named_parameters_tells_them_itself() -> None:
    net = Net()
    for kind in (torch.optim.AdamW, torch.optim.Adafactor):
        optimizer = kind(net.named_parameters(), lr=0.1)  # type: ignore[arg-type]
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        told = found(optimizer.state_dict())
        assert set(told.values()) == {name for name, _ in net.named_parameters()}
        assert told["state.0.step"] == "features.0.weight"


@pytest.mark.parametrize("names", [["a"], ["a", 3], "ab", None, {}])
def test_names_that_are_none_are_not_taken(names: Any) -> None:
    optim = trained(torch.optim.Adam, nn.Linear(2, 2)).state_dict()
    optim["param_groups"][0]["param_names"] = names
    assert found(optim) == {}
