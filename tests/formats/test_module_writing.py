"""Whole models as they are written: torch loads what it saved, module for module."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.tree.module import Module
from tests.seed_net import Net


class Shared(nn.Module):
    """One module under two names, tied parameters, a buffer that no state dict has, an element type as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.same = self.one
        self.tied = nn.Linear(3, 3, bias=False)
        self.tied.weight = self.one.weight
        self.register_buffer("fleeting", torch.arange(3.0), persistent=False)
        self.nothing = None
        self.dtype = torch.float16
        self.act = nn.functional.gelu
        self.sizes = {"a": (1, [2.5, "three"])}

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.tied(self.act(self.same(self.one(values)))) + self.fleeting


def opened(net: nn.Module) -> Module:
    file = io.BytesIO()
    torch.save(net, file)
    return sd.open(file.getvalue())


def rewritten(net: nn.Module, folder: Path) -> Any:
    """What torch loads of what is written for the model that it saved."""
    sd.save(opened(net), folder / "whole.pt", whole=True, verify=True)
    return torch.load(folder / "whole.pt", weights_only=False)


@pytest.mark.parametrize(
    ("net", "inputs"),
    [
        (Net().eval(), torch.randn(1, 3, 38, 38)),
        (Shared(), torch.randn(2, 3)),
        (nn.LSTM(3, 4, 2), torch.randn(5, 1, 3)),
        (nn.TransformerEncoderLayer(8, 2, 16).eval(), torch.randn(4, 1, 8)),
        (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).bfloat16().eval(), torch.ones(4, 3).bfloat16()),
    ],
)  # fmt: skip
def test_torch_runs_what_is_written(net: nn.Module, inputs: torch.Tensor, tmp_path: Path) -> None:
    made = rewritten(net, tmp_path)

    assert repr(made) == repr(net)
    assert made.training == net.training
    state = dict(net.state_dict())
    assert {name: torch.equal(value, state[name]) for name, value in made.state_dict().items()} == dict.fromkeys(
        state, True
    )
    want, got = net(inputs), made(inputs)
    torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_what_is_shared_stays_shared(tmp_path: Path) -> None:
    made = rewritten(Shared(), tmp_path)

    assert made.one is made.same
    assert made.tied.weight is made.one.weight
    assert made.fleeting.tolist() == [0, 1, 2]
    assert "fleeting" not in made.state_dict()
    assert (made.dtype, made.act, made.sizes) == (torch.float16, nn.functional.gelu, {"a": (1, [2.5, "three"])})


def test_gradients_are_wanted_as_before(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)

    assert [parameter.requires_grad for parameter in rewritten(net, tmp_path).parameters()] == [
        False,
        False,
        True,
        True,
    ]


def test_it_trains_and_is_saved_again(tmp_path: Path) -> None:
    made = rewritten(Net(), tmp_path)

    made(torch.randn(2, 3, 38, 38)).sum().backward()
    torch.optim.SGD(made.parameters(), 0.1).step()
    torch.save(made, tmp_path / "again.pt")
    assert repr(sd.open(tmp_path / "again.pt")) == repr(made)


class Odd(nn.Module):
    """A module with an attribute that is an object of a class."""

    def __init__(self) -> None:
        super().__init__()
        self.path = re.compile("x")


@pytest.mark.parametrize(
    ("tree", "name", "said"),
    [
        (opened(Odd()), "odd.pt", "attribute `path` is a"),
        (sd.open(nn.Linear(2, 2).state_dict()), "net.pt", "module `` has no class that is known"),
        (opened(Net()), "net.safetensors", "a whole model is a PyTorch file"),
        (opened(Net()), "folder", "a whole model is a PyTorch file"),
    ],
)
def test_what_cannot_be_written_is_told(tree: Module, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(sd.StatedictError, match=re.escape(said)):
        sd.save(tree, tmp_path / name, whole=True)
    assert not list(tmp_path.iterdir())
