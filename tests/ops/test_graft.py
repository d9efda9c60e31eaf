"""`graft`: tensors of one tree in another."""

from pathlib import Path

import pytest
import torch
from torch import nn

import statedict as sd


@pytest.fixture
def two(tmp_path: Path) -> tuple[sd.Module, sd.Module]:
    backbone = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    whole = nn.ModuleDict({"0": nn.Linear(2, 5), "head": nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4, bias=False))})
    torch.save(backbone, tmp_path / "backbone.pt")
    torch.save(whole, tmp_path / "whole.pt")
    return sd.open(tmp_path / "backbone.pt"), sd.open(tmp_path / "whole.pt")


def test_modules_come_with_their_tensors(two: tuple[sd.Module, sd.Module]) -> None:
    made = sd.graft(*two, "head.**")
    assert [name for name, _ in made.named_modules()] == ["", "0", "1", "head", "head.0", "head.1"]
    assert (made.get_submodule("head.0").kind, made.get_submodule("head.1").in_features) == ("BatchNorm1d", 3)
    assert [name for name, _ in made.named_buffers()][-3:] == [
        f"head.0.{local}" for local in ("running_mean", "running_var", "num_batches_tracked")
    ]
    assert made.get_submodule("0").weight.shape == (3, 2)
    assert made.get_submodule("head.0").weight.info.extent is two[1].get_submodule("head.0").weight.info.extent


def test_tensors_of_the_same_name_are_replaced_in_their_places(two: tuple[sd.Module, sd.Module]) -> None:
    made = sd.graft(*two, "0.*")
    assert list(made.state_dict()) == list(two[0].state_dict())
    assert made.get_submodule("0").weight.tolist() == two[1].get_submodule("0").weight.tolist()
    assert two[0].get_submodule("0").weight.shape == (3, 2)


def test_all(two: tuple[sd.Module, sd.Module]) -> None:
    assert set(sd.graft(*two).state_dict()) == set(two[0].state_dict()) | set(two[1].state_dict())


def test_a_tie_of_the_other_stays_one() -> None:
    weight = torch.ones(2)
    made = sd.graft(sd.open({"x": torch.zeros(1)}), sd.open({"a": weight, "b": weight}))
    assert made.a is made.b


def test_replacing_one_name_of_a_tied_tensor_parts_it() -> None:
    weight = torch.zeros(1)
    made = sd.graft(sd.open({"a": weight, "b": weight}), sd.open({"b": torch.ones(1)}))
    assert (made.a.item(), made.b.item()) == (0.0, 1.0)


def test_a_pattern_that_fits_nothing(two: tuple[sd.Module, sd.Module]) -> None:
    with pytest.raises(sd.PatternError, match=r"^`head` is a module; `head.\*\*` matches the tensors in it$"):
        sd.graft(*two, "head")
