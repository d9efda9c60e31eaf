"""`drop` and `keep`: what goes, what stays, and what becomes of modules left empty."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import statedict as sd
from tests.sample_checkpoints import write_all


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_all(folder)
    return folder


def modules(model: sd.Module) -> list[str]:
    return [name for name, _ in model.named_modules()]


def test_modules_left_empty_go_and_those_that_were_stay(samples: Path) -> None:
    model = sd.open(samples / "net_whole.pt")
    made = sd.drop(model, "features.{0,1}.**", "classifier.**")
    assert modules(made) == ["", *(f"features{rest}" for rest in ("", ".2", ".3", ".4", ".5", ".6", ".7"))]
    assert list(made.state_dict()) == [
        name for name in model.state_dict() if name.startswith(("features.4", "features.5"))
    ]
    assert modules(model)[:3] == ["", "features", "features.0"]


def test_the_two_are_opposites(samples: Path) -> None:
    for name in ("net.pt", "language_whole.pt", "net.safetensors"):
        model = sd.open(samples / name)
        kept, dropped = sd.keep(model, "**.bias"), sd.drop(model, "**.bias")
        assert set(kept.state_dict()) | set(dropped.state_dict()) == set(model.state_dict())
        assert all(key.endswith(".bias") for key in kept.state_dict())
        assert not any(key.endswith(".bias") for key in dropped.state_dict())


def test_one_name_of_a_tied_tensor(samples: Path) -> None:
    made = sd.drop(sd.open(samples / "language.pt"), "head.weight")
    assert "embedding.weight" in made.state_dict()
    assert "head" not in modules(made)


def test_values_of_a_training_checkpoint(samples: Path) -> None:
    model = sd.open(samples / "train.ckpt")
    assert list(sd.keep(model, "model.**").attributes) == []
    assert modules(sd.keep(model, "model.**"))[:2] == ["", "model"]
    made = sd.drop(model, "optimizer.**", "hyper_parameters", "args")
    assert made.attributes == {"epoch": 3, "best": float("inf")}
    assert not hasattr(made, "optimizer")
    only = sd.keep(model, "epoch")
    assert (only.attributes, modules(only)) == ({"epoch": 3}, [""])
    steps = sd.drop(model, "optimizer.state.**.step")
    assert "param_groups" in steps.optimizer.attributes


def test_what_is_registered_as_nothing_stays(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 4)), tmp_path / "net.pt")
    made = sd.drop(sd.open(tmp_path / "net.pt"), "1.bias")
    assert made.get_submodule("0").bias is None
    with pytest.raises(AttributeError):
        made.get_submodule("1").__getattr__("bias")


def test_patterns_that_fit_nothing(samples: Path) -> None:
    model = sd.open(samples / "net.pt")
    with pytest.raises(sd.PatternError, match=r"^`features.0.wieght` matches no name; closest: `features.0.weight`"):
        sd.drop(model, "features.0.wieght")
    with pytest.raises(
        sd.PatternError, match=r"^`features.0` is a module; `features.0.\*\*` matches the tensors in it$"
    ):
        sd.keep(model, "features.0")


def test_everything(samples: Path) -> None:
    made = sd.drop(sd.open(samples / "net.pt"), "**")
    assert (list(made.state_dict()), modules(made)) == ([], [""])


@settings(deadline=None)
@given(st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join), min_size=1), st.data())
def test_any_names(names: set[str], data: st.DataObject) -> None:
    model = sd.open({name: torch.tensor([number]) for number, name in enumerate(sorted(names))})
    gone = data.draw(st.sets(st.sampled_from(sorted(names)), min_size=1))
    made = sd.drop(model, *gone)
    left = names - gone
    assert set(made.state_dict()) == left
    assert set(modules(made)) == {
        "",
        *(name.rsplit(".", end)[0] for name in left for end in range(1, name.count(".") + 1)),
    }
    assert all(made.state_dict()[name].item() == model.state_dict()[name].item() for name in left)
