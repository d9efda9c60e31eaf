"""Whole models as `torch.save(model)` writes them, against live ones: every `torch.nn` class, trees of every shape."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import statedict as sd
from tests.same import assert_same_model, groups
from tests.torch_layers import every_layer

LAYERS = every_layer()


def reopened(model: nn.Module, path: Path, legacy: bool = False) -> sd.Module:
    torch.save(model, path / "model.pt", _use_new_zipfile_serialization=not legacy)
    return sd.open(path / "model.pt")


@pytest.mark.parametrize("number", range(len(LAYERS)), ids=[f"{i}-{type(m).__name__}" for i, m in enumerate(LAYERS)])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "stream"])
def test_every_torch_nn_class(number: int, legacy: bool, tmp_path: Path) -> None:
    assert_same_model(reopened(LAYERS[number], tmp_path, legacy), LAYERS[number])


def tied() -> nn.Module:
    model = nn.ModuleDict({"embed": nn.Embedding(7, 4), "body": nn.Linear(4, 4), "head": nn.Linear(4, 7, bias=False)})
    model["head"].weight = model["embed"].weight  # type: ignore[assignment]
    return model


def shared_module() -> nn.Module:
    block = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    return nn.ModuleList([block, nn.ReLU(), block, nn.Sequential(block)])


def nested_containers() -> nn.Module:
    return nn.Sequential(
        nn.ModuleDict({"a": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), "b": nn.Sequential(nn.ReLU())}),
        nn.ModuleList([nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(3))])]),
        nn.ModuleDict({"p": nn.ParameterDict({"x": nn.Parameter(torch.ones(1))})}),
    )


class Holder(nn.Module):
    """Parameters and buffers of its own, of every standing, beside a child."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_parameter("missing", None)
        self.register_buffer("steps", torch.tensor(5))
        self.register_buffer("cache", torch.ones(2, 2), persistent=False)
        self.register_buffer("nothing", None)
        self.child = nn.Linear(2, 2)
        self.loose = torch.arange(3)
        self.alias = self.child


def frozen_half_precision() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).to(torch.bfloat16).requires_grad_(False).eval()


def lstm_of_one_storage() -> nn.Module:
    return nn.LSTM(3, 4, num_layers=2, bidirectional=True)


def quantized_children() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Identity()).double()


@pytest.mark.parametrize(
    "make",
    [tied, shared_module, nested_containers, Holder, frozen_half_precision, lstm_of_one_storage, quantized_children],
)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "stream"])
def test_trees_of_every_shape(make: Callable[[], nn.Module], legacy: bool, tmp_path: Path) -> None:
    model = make()
    assert_same_model(reopened(model, tmp_path, legacy), model)


def test_a_module_that_holds_its_parent_ends(tmp_path: Path) -> None:
    parent = nn.Sequential(nn.Linear(2, 2))
    parent[0].add_module("up", parent)
    ours = reopened(parent, tmp_path)
    assert groups(ours.named_modules()) == groups(parent.named_modules())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in parent.named_parameters()]


def test_what_registration_left_is_as_in_torch(tmp_path: Path) -> None:
    ours = reopened(Holder(), tmp_path)
    assert ours.missing is None
    assert ours.nothing is None
    assert ours.child is ours.alias
    assert "cache" not in ours.state_dict()
    assert ours.loose.numpy().tolist() == [0, 1, 2]
    assert "loose" not in dict(ours.named_buffers())
