"""`rename`: tensors get their names, modules go along, nothing is lost, and no two tensors have one name."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import statedict as sd
from statedict.tree.flat import flatten
from tests.sample_checkpoints import write_all

SAMPLES = ["net.pt", "net_whole.pt", "net.safetensors", "language.pt", "language_whole.pt", "train.ckpt", "lstm.pt"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_all(folder)
    return folder


@pytest.mark.parametrize("name", SAMPLES)
def test_there_and_back(name: str, samples: Path) -> None:
    """A prefix added is found in every name; taken away again, everything is as it was."""
    model = sd.open(samples / name)
    there = sd.rename(model, "**=model.**")
    back = sd.rename(there, "model.**=**")

    assert list(there.state_dict()) == [f"model.{key}" for key in model.state_dict()]
    assert repr(back) == repr(model)
    assert list(back.state_dict()) == list(model.state_dict())
    assert back.state_dict()._metadata == model.state_dict()._metadata
    assert [tensor.info.extent for tensor in back.parameters()] == [tensor.info.extent for tensor in model.parameters()]
    assert [name for name, _ in back.named_buffers()] == [name for name, _ in model.named_buffers()]


def test_as_many_extra_rules_as_one(samples: Path) -> None:
    model = sd.open(samples / "net.pt")
    one = sd.rename(model, "**=a.**", "a.**=b.**")
    assert list(one.state_dict()) == list(sd.rename(model, "**=b.**").state_dict())


def test_modules_go_along_with_what_is_said_of_them(samples: Path) -> None:
    model = sd.open(samples / "language_whole.pt")
    made = sd.rename(model, "layers.{i}.attention.{n}.*=blocks.{i}.attn.{n}.*", "layers.**=rest.**")

    assert made.get_submodule("blocks.0.attn").kind == "ModuleDict"
    assert made.get_submodule("blocks.2.attn.query").kind == "Linear"
    assert made.get_submodule("blocks.2.attn.query").in_features == 8
    assert made.get_submodule("rest.0").kind == "Block"
    assert made.get_submodule("rest").kind == "ModuleList"
    assert made.get_submodule("rest.0.mlp.1").kind == "GELU"  # which has no tensors, between two that have
    assert made.get_submodule("rest.3").kind == "Identity"
    assert made.embedding.weight is made.head.weight
    assert not hasattr(made, "layers")
    assert made.state_dict()._metadata["blocks.0.attn.query"] == {"version": 1}
    assert made.kind == "Language"


def test_versions_move(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    torch.save({f"module.{key}": value for key, value in net.state_dict().items()}, tmp_path / "bare.pt")
    wrapped = nn.Module()
    wrapped.module = net
    torch.save(wrapped.state_dict(), tmp_path / "ddp.pt")

    made = sd.rename(sd.open(tmp_path / "ddp.pt"), "module.**=**")
    assert made.state_dict()._metadata == vars(net.state_dict())["_metadata"]
    assert list(sd.rename(sd.open(tmp_path / "bare.pt"), "module.**=**").state_dict()) == list(net.state_dict())


def test_the_wrapped_module_becomes_the_root(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    torch.save(nn.ModuleDict({"module": net}), tmp_path / "wrapped.pt")
    made = sd.rename(sd.open(tmp_path / "wrapped.pt"), "module.**=**")
    assert repr(made) == repr(net)


def test_roles_and_what_is_registered_as_nothing(tmp_path: Path) -> None:
    net = nn.Module()
    net.fc = nn.Linear(3, 4, bias=False)
    net.norm = nn.BatchNorm1d(4)
    net.register_buffer("scratch", torch.ones(2), persistent=False)
    net.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
    torch.save(net, tmp_path / "net.pt")
    made = sd.rename(sd.open(tmp_path / "net.pt"), "norm.running_mean=norm.weight2", "fc.**=linear.**", "scratch=tmp")

    assert [name for name, _ in made.named_buffers()] == [
        "tmp",
        "norm.weight2",
        "norm.running_var",
        "norm.num_batches_tracked",
    ]
    assert "tmp" not in made.state_dict()
    assert made.linear.bias is None
    assert made.frozen.requires_grad is False
    assert isinstance(made.norm.weight2, sd.Buffer)


def test_a_training_checkpoint_keeps_its_other_values(samples: Path) -> None:
    model = sd.open(samples / "train.ckpt")
    made = sd.rename(model, "model.**=net.**")
    assert made.attributes["epoch"] == 3
    assert list(made.net.state_dict()) == list(model.model.state_dict())
    up = sd.rename(model, "model.**=**")
    assert up.attributes["epoch"] == 3
    assert up.get_submodule("features.0").weight.shape == (6, 3, 3, 3)
    assert sd.optimizer_parameters(made) == sd.optimizer_parameters(model) != {}


def test_shared_modules_stay_shared_where_they_can(tmp_path: Path) -> None:
    net = nn.Module()
    net.a = nn.Sequential(nn.Linear(2, 2))
    net.b = net.a
    torch.save(net, tmp_path / "net.pt")
    model = sd.open(tmp_path / "net.pt")

    both = sd.rename(model, "{a,b}.0.*={a,b}.fc.*")
    assert both.a is both.b
    one = sd.rename(model, "b.0.weight=b.0.w")
    assert one.a is not one.b
    assert one.a[0].weight is one.b[0].w
    assert sorted(one.state_dict()) == ["a.0.bias", "a.0.weight", "b.0.bias", "b.0.w"]


def test_neither_the_model_nor_its_tensors_are_changed(samples: Path) -> None:
    model = sd.open(samples / "net_whole.pt")
    before, text = flatten(model), repr(model)
    sd.rename(model, "features.**=f.**")
    assert list(flatten(model).tensors) == list(before.tensors)
    assert repr(model) == text


def test_all_collisions_are_told_at_once(samples: Path) -> None:
    with pytest.raises(sd.StatedictError) as error:
        sd.rename(sd.open(samples / "lstm.pt"), "weight_{ih,hh}_l{i}=w_l{i}")
    assert str(error.value) == (
        "2 names would be those of several tensors: `w_l0` (`weight_ih_l0` and `weight_hh_l0`), "
        "`w_l1` (`weight_ih_l1` and `weight_hh_l1`); drop or rename all but one of each first"
    )


def test_names_may_be_exchanged() -> None:
    model = sd.open({"a": torch.zeros(1), "b": torch.ones(1)})
    made = sd.rename(model, "a=c", "b=a", "c=b")
    assert {name: tensor.item() for name, tensor in made.state_dict().items()} == {"b": 0.0, "a": 1.0}


def test_two_names_of_one_tensor_may_become_one() -> None:
    weight = torch.ones(1)
    made = sd.rename(sd.open({"a.w": weight, "b.w": weight}), "{a,b}.w=w")
    assert list(made.state_dict()) == ["w"]


def test_no_name_and_no_match() -> None:
    model = sd.open({"a.weight": torch.zeros(1)})
    with pytest.raises(sd.StatedictError, match=r"^tensor `a.weight` would have no name; keep a part of it$"):
        sd.rename(model, "a.weight=")
    with pytest.raises(sd.PatternError, match=r"^`a.wieght` matches no name; closest: `a.weight`$"):
        sd.rename(model, "a.wieght=b")


NAMES = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(".".join), min_size=1, unique=True)


@settings(deadline=None)
@given(NAMES, st.data())
def test_any_new_names(names: list[str], data: st.DataObject) -> None:
    """Whatever names tensors get, each is found under its new one, with its values."""
    news = data.draw(st.lists(NAMES.map(lambda few: few[0]), min_size=len(names), max_size=len(names), unique=True))
    model = sd.open({name: torch.tensor([number]) for number, name in enumerate(names)})
    away = [f"{name}=tmp{number}" for number, name in enumerate(names)]
    made = sd.rename(model, *away, *(f"tmp{number}={new}" for number, new in enumerate(news)))
    assert {name: tensor.item() for name, tensor in made.state_dict().items()} == {
        new: number for number, new in enumerate(news)
    }
