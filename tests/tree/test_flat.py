"""`flatten` is the inverse of `build`: nothing that an index says is lost on the way through the tree."""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.opening import read_index
from statedict.tree.build import build
from statedict.tree.flat import flatten
from statedict.tree.tensor import Tensor
from tests.sample_checkpoints import write_all
from tests.seed_net import Net


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_all(folder)
    torch.save(shared(), folder / "shared.pt")
    torch.save({"nets": [shared(), Net()], "pair": (torch.ones(2), {"k": 3}), 7: torch.ones(1)}, folder / "nested.pt")
    torch.save(nn.ParameterList([torch.ones(2), torch.ones(3)]), folder / "list.pt")
    return folder


def shared() -> nn.Module:
    """Modules and tensors under several names, of all roles; attributes that hold tensors; nothing in places."""
    net = nn.Module()
    net.first = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.BatchNorm1d(3))
    net.second = net.first
    net.third = nn.ModuleList([net.first[0], nn.Linear(3, 3)])
    net.third[1].bias = nn.Parameter(torch.ones(3), requires_grad=False)
    net.register_buffer("saved", torch.ones(2))
    net.register_buffer("scratch", torch.ones(2), persistent=False)
    net.register_buffer("absent", None)
    net.register_module("nobody", None)
    vars(net)["plain"] = [net.third[1].bias, {"deep": (torch.ones(1), 3)}]
    net.third.eval()
    return net


NAMES = [
    *("net.pt", "net_whole.pt", "net.safetensors", "language.pt", "language_whole.pt", "train.ckpt", "lstm.pt"),
    *("hostile.pt", "tensor.pt", "no_tensors.pt", "shared.pt", "nested.pt", "list.pt"),
]


def groups(named: Iterable[tuple[str, object]]) -> list[list[str]]:
    """The names, those of one object together."""
    found: dict[int, list[str]] = {}
    for name, held in named:
        found.setdefault(id(held), []).append(name)
    return list(found.values())


def facts(info: TensorInfo) -> tuple[Any, ...]:
    """What a file says of a tensor: all but the gradient, which a bare state dict does not tell."""
    return info.dtype, info.shape, info.extent, info.stride, info.storage, info.device, info.encoding


def plain(value: Any) -> Any:
    """A value with tensors as facts, so that it can be compared with another tree's."""
    if isinstance(value, Tensor | TensorInfo):
        return facts(value.info if isinstance(value, Tensor) else value)
    if isinstance(value, dict | OrderedDict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return repr(value)


def said(info: ModuleInfo) -> dict[str, Any]:
    """What a file says of a module."""
    return {
        "kind": info.kind, "class": info.class_name, "attributes": plain(dict(info.attributes)),
        "training": info.training, "container": info.container,
        "keys": {str(key): str(at) for key, at in info.keys.items()}, "non persistent": info.non_persistent,
    }  # fmt: skip


@pytest.mark.parametrize("touched", [False, True], ids=["as opened", "looked at"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost(name: str, touched: bool, samples: Path) -> None:
    index = read_index(samples / name)
    model = build(index)
    if touched:
        for _, module in model.named_modules():
            assert module.attributes is not None
            assert repr(module.kind)
    flat = flatten(model)

    assert sorted(flat.tensors) == sorted(name for name, _ in tree_names(model))
    assert groups(flat.tensors.items()) == groups(tree_names(model))
    for path, info in index.tensors.items():
        assert facts(flat.tensors[path]) == facts(info), path
    for path, info in index.modules.items():
        assert said(flat.modules[path]) == said(info), path
        assert flat.modules[path].version in (info.version, build(index).get_submodule(path).version)
    assert flat.metadata == model.metadata


def tree_names(model: sd.Module) -> list[tuple[str, object]]:
    return [
        (f"{path}.{local}" if path else local, tensor)
        for path, module in model.named_modules(remove_duplicate=False)
        for local, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_tree_of_a_tree_is_the_same(name: str, samples: Path) -> None:
    """`build` of what `flatten` gives shows the same views, roles, gradients and text."""
    model = sd.open(samples / name)
    again = build(flatten(model))

    assert repr(again) == repr(model)
    for view in ("named_modules", "named_parameters", "named_buffers"):
        ours, theirs = (list(getattr(each, view)(remove_duplicate=False)) for each in (again, model))
        assert groups(ours) == groups(theirs), view
        if view != "named_modules":
            assert [(facts(x.info), x.requires_grad) for _, x in ours] == [
                (facts(x.info), x.requires_grad) for _, x in theirs
            ]
    assert again.state_dict()._metadata == model.state_dict()._metadata
    assert list(again.state_dict()) == list(model.state_dict())
    for (path, ours), (_, theirs) in zip(again.named_modules(), model.named_modules(), strict=True):
        assert (ours.kind, ours.inferred, ours.training) == (theirs.kind, theirs.inferred, theirs.training), path
        assert plain(ours.attributes) == plain(theirs.attributes), path
        assert (type(ours), ours.container, list(ours._modules)) == (
            type(theirs),
            theirs.container,
            list(theirs._modules),
        )
        assert ours._keys == theirs._keys


@pytest.mark.parametrize("name", NAMES)
def test_twice_is_as_once(name: str, samples: Path) -> None:
    once = flatten(sd.open(samples / name))
    twice = flatten(build(once))
    assert list(twice.tensors) == list(once.tensors)
    assert [facts(info) for info in twice.tensors.values()] == [facts(info) for info in once.tensors.values()]
    assert {path: said(info) for path, info in twice.modules.items()} == {
        path: said(info) for path, info in once.modules.items()
    }


def test_with_state_what_a_state_dict_leaves_out_is_left_out(samples: Path) -> None:
    model = sd.open(samples / "shared.pt")
    assert set(flatten(model).tensors) - set(flatten(model, state=True).tensors) == {"scratch"}


def test_what_was_assigned_is_there(samples: Path) -> None:
    model = sd.open(samples / "net.pt")
    model.get_submodule("features.0").weight = sd.Parameter(torch.ones(6, 3, 3, 3), requires_grad=False)
    model.extra = sd.Buffer(torch.ones(2))
    flat = flatten(model)
    assert flat.tensors["features.0.weight"].name == "features.0.weight"
    assert flat.tensors["features.0.weight"].requires_grad is False
    assert flat.tensors["extra"].shape == (2,)
    assert isinstance(flat, Index)


def test_a_live_model() -> None:
    net = shared()
    flat = flatten(sd.open(net))
    assert groups(flat.tensors.items()) == [
        ["saved"], ["scratch"],
        ["first.0.weight", "second.0.weight", "third.0.weight"],
        *([f"first.2.{local}", f"second.2.{local}"] for local in net.first[2].state_dict()),  # type: ignore[index,union-attr]
        ["third.1.weight"], ["third.1.bias"],
    ]  # fmt: skip
    assert flat.modules["first"] is flat.modules["second"]
    assert (flat.modules["first.2"].kind, flat.modules["third"].training) == ("BatchNorm1d", False)
