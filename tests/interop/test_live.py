"""`open(nn.Module)`: the tree of a live model is the model, and both see what is done to the other."""

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import statedict as sd
from tests import architectures
from tests.same import assert_same_model, groups
from tests.test_whole_models import Holder, nested_containers, shared_module, tied
from tests.torch_layers import every_layer

LAYERS = every_layer()


@pytest.mark.parametrize("number", range(len(LAYERS)), ids=[f"{i}-{type(m).__name__}" for i, m in enumerate(LAYERS)])
def test_every_torch_nn_class(number: int) -> None:
    assert_same_model(sd.open(LAYERS[number]), LAYERS[number])


@pytest.mark.parametrize("make", [tied, shared_module, nested_containers, Holder])
def test_trees_of_every_shape(make: Callable[[], nn.Module]) -> None:
    model = make()
    assert_same_model(sd.open(model), model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bert", "whisper", "deepseek_v3", "wav2vec2", "mixtral"])
def test_transformers(name: str) -> None:
    model = architectures.make(name)
    assert_same_model(sd.open(model), model)


def net() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ModuleList([nn.ReLU()]))


def test_views_are_one_object_each_time() -> None:
    ours: Any = sd.open(net())
    assert groups([*ours.named_modules(), *ours.named_modules()])[0] == ["", ""]
    assert ours[0] is ours[0]
    assert ours[0].weight is dict(ours.named_parameters())["0.weight"]


def test_what_happens_to_the_model_is_seen() -> None:
    model = net()
    ours: Any = sd.open(model)
    weight = ours[0].weight
    with torch.no_grad():
        model[0].weight.fill_(7)
    assert weight.numpy().tolist() == [[7.0] * 3] * 4
    model.add_module("last", nn.Linear(2, 1))
    assert [name for name, _ in ours.named_children()] == ["0", "1", "2", "last"]
    assert_same_model(ours, model)
    model[0].weight = nn.Parameter(torch.zeros(4, 3))
    assert ours[0].weight is not weight
    del model[0]
    assert_same_model(ours, model)
    model.eval()
    assert not ours.training
    model[0].eps = 0.5
    assert ours[0].eps == 0.5


def test_moving_the_model_to_another_dtype_is_seen() -> None:
    model = net()
    ours: Any = sd.open(model)
    before = ours.state_dict()
    weight = ours[0].weight
    assert (weight.dtype, weight.nbytes) == (sd.dtype("float32"), 48)
    model.half()
    assert ours[0].weight is weight
    assert (weight.dtype, weight.nbytes) == (sd.dtype("float16"), 24)
    assert_same_model(ours, model)
    assert before["0.weight"].dtype == sd.dtype("float32")  # as in PyTorch, a detached tensor stays what it was


def test_what_is_assigned_in_the_tree_is_in_the_model() -> None:
    model = net()
    ours: Any = sd.open(model)
    ours[0].weight = np.ones((4, 3), "f4")
    assert isinstance(model[0].weight, nn.Parameter)
    assert model[0].weight.tolist() == [[1.0] * 3] * 4
    ours[1].running_mean = np.full(4, 2, "f4")
    assert model[1].running_mean.tolist() == [2.0] * 4
    ours[0].bias = None
    assert model[0].bias is None
    ours.scale = sd.Parameter(np.zeros(2, "f4"))
    ours.register_buffer("steps", np.array(3), persistent=False)
    assert next(iter(dict(model.named_parameters()))) == "scale"
    assert model.get_buffer("steps").item() == 3
    assert "steps" not in model.state_dict()
    ours[1].momentum = 0.25
    assert model[1].momentum == 0.25
    del ours[1].running_mean
    assert "1.running_mean" not in model.state_dict()
    ours.eval().requires_grad_(False)
    assert not model[1].training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert_same_model(ours, model)


def test_modules_can_be_put_in_and_taken_out() -> None:
    model = net()
    ours: Any = sd.open(model)
    ours[2].append(ours[0])
    assert model[2][1] is model[0]
    first = ours[0]
    del ours[0]
    assert len(model) == 2
    ours.insert(0, first)
    assert ours[0] is first
    other = sd.open(nn.Linear(5, 5))
    ours.append(other)
    assert model[3] is other.live
    assert ours[3] is other
    assert_same_model(ours, model)
    assert [type(module) for module in ours[:2].live] == [nn.Linear, nn.BatchNorm1d]
    assert ours[:2][0].live is model[0]


def test_a_parameter_list_and_dict_can_be_edited() -> None:
    model: Any = nn.ModuleDict(
        {"list": nn.ParameterList([torch.ones(2)]), "dict": nn.ParameterDict({"a": torch.ones(1)})}
    )
    ours: Any = sd.open(model)
    ours["list"].append(np.zeros(3, "f4"))
    ours["dict"]["b"] = np.zeros(4, "f4")
    del ours["dict"]["a"]
    assert [tuple(parameter.shape) for parameter in model["list"]] == [(2,), (3,)]
    assert list(model["dict"]) == ["b"]
    assert_same_model(ours, model)


@pytest.mark.parametrize("assign", [False, True])
def test_a_state_dict_is_loaded_into_the_model(assign: bool) -> None:
    model, other = net(), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ModuleList([nn.ReLU()]))
    storage = model[0].weight.data_ptr()
    sd.open(model).load_state_dict(sd.open(other).state_dict(), assign=assign)
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert (model[0].weight.data_ptr() == storage) is not assign
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.weight"):
        sd.open(model).load_state_dict({**other.state_dict(), "0.weight": torch.ones(1, 3)})
    with pytest.raises(RuntimeError, match=r"`0.weight` has the shape \(4, 3\); got elements of \(3,\)"):
        sd.open(model, key="0").weight.copy_(np.zeros(3))


def test_a_lazy_module_takes_its_shape_from_a_state_dict() -> None:
    model: Any = nn.LazyLinear(4)
    sd.open(model).load_state_dict(nn.Linear(3, 4).state_dict())
    assert tuple(model.weight.shape) == (4, 3)


class Pair(NamedTuple):
    first: Any
    second: Any


class Configured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sizes = [1, 2]
        self.mixed = {"dtype": torch.bfloat16, "act": torch.relu, "device": torch.device("cpu")}
        self.table = np.arange(3)
        self.loose = torch.ones(2)
        self.layers = (nn.Linear(1, 1),)  # not registered

    def get_extra_state(self) -> Any:
        return {"step": 3}

    def set_extra_state(self, state: Any) -> None: ...

    def extra_repr(self) -> str:
        return "its own"


def test_attributes_are_the_models() -> None:
    model: Any = Configured()
    ours: Any = sd.open(model)
    assert ours.sizes is model.sizes
    assert str(ours.mixed["dtype"]) == "bfloat16"
    assert "relu" in ours.mixed["act"].name
    assert ours.table.numpy().tolist() == [0, 1, 2]
    assert ours.loose.numpy().tolist() == [1, 1]
    assert ours.layers[0].weight.shape == (1, 1)
    assert set(ours.attributes) == {"sizes", "mixed", "table", "loose", "layers"}
    assert ours.state_dict()["_extra_state"] == {"step": 3}
    assert repr(ours) == repr(model) == "Configured(its own)"
    ours.pair = Pair([1], sd.dtype("int8"))
    assert type(model.pair) is Pair
    ours.mode = sd.dtype("float16")
    assert model.mode is torch.float16
    with pytest.raises(AttributeError, match="'Configured' object has no attribute 'sices'"):
        _ = ours.sices
    with pytest.raises(KeyError):
        _ = ours.attributes["_parameters"]


def test_copies_have_a_model_of_their_own() -> None:
    model = net()
    ours: Any = sd.open(model)
    copied: Any
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(copied.live) is nn.Sequential
        assert_same_model(copied, model)
        copied[0].weight.copy_(np.zeros((4, 3)))
        assert ours[0].weight.numpy().any()
    assert copy.copy(ours).live is model
    weight: Any = copy.deepcopy(ours[0].weight)
    weight.copy_(np.zeros((4, 3)))
    assert model[0].weight.detach().numpy().any()
    assert pickle.loads(pickle.dumps(weight)).numpy().tolist() == [[0.0] * 3] * 4


def test_the_tree_dies_with_its_last_user() -> None:
    model = net()
    dead = weakref.ref(model)
    ours: Any = sd.open(model)
    ours.state_dict()
    del model
    assert dead() is not None
    del ours
    gc.collect()
    assert dead() is None


def test_sparse_and_meta_tensors() -> None:
    model = nn.Module()
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    model.add_module("meta", nn.Linear(2, 2, device="meta"))
    ours: Any = sd.open(model)
    assert ours.sparse.to_dense().numpy().tolist() == torch.eye(3).tolist()
    assert ours.meta.weight.is_meta


def test_views_of_one_storage_stay_views_of_one() -> None:
    model = nn.LSTM(2, 3)
    flat = torch.zeros(200)
    with torch.no_grad():
        at = 0
        for parameter in model.parameters():
            parameter.data = flat[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
    ours: Any = sd.open(model)
    assert len({id(parameter.info.extent.source) for parameter in ours.parameters() if parameter.info.extent}) == 1
    assert [each.storage_offset() for each in ours.parameters()] == [p.storage_offset() for p in model.parameters()]


@pytest.mark.parametrize("prefix", ["", "p.", "p"])
@pytest.mark.parametrize("keep_vars", [False, True])
def test_a_prefix_and_the_tensors_themselves(prefix: str, keep_vars: bool) -> None:
    model = net()
    ours = sd.open(model).state_dict(prefix=prefix, keep_vars=keep_vars)
    theirs = model.state_dict(prefix=prefix, keep_vars=keep_vars)
    assert list(ours) == list(theirs)
    assert ours._metadata == theirs._metadata
    assert [tensor.requires_grad for tensor in ours.values()] == [tensor.requires_grad for tensor in theirs.values()]
    for view in ("named_modules", "named_parameters", "named_buffers"):
        named = [name for name, _ in getattr(sd.open(model), view)(prefix=prefix)]
        assert named == [name for name, _ in getattr(model, view)(prefix=prefix)]


def test_tensors_know_their_names() -> None:
    model = nn.Sequential(net())
    for walk in (sd.Module.named_modules, sd.Module.named_parameters, lambda m, prefix: [m[0][0].weight]):
        ours: Any = sd.open(model)
        list(walk(ours, prefix="x"))
        assert next(parameter.name for parameter in ours[0].parameters()) == "0.0.weight"
        assert ours[0][1].running_mean.name == "0.1.running_mean"


def test_modules_met_before_are_left_out() -> None:
    model = net()
    ours: Any = sd.open(model)
    memo, theirs = {ours[0]}, {model[0]}
    assert [name for name, _ in ours.named_modules(memo)] == [name for name, _ in model.named_modules(theirs)]
    assert {module.live for module in memo} == theirs


def test_a_part_of_a_model() -> None:
    model = net()
    assert sd.open(model, key="2.0").live is model[2][0]
    with pytest.raises(sd.StatedictError, match="Sequential: has no module `3`"):
        sd.open(model, key="3")


def test_operations_leave_the_model_alone() -> None:
    model: Any = nn.Sequential(nn.ModuleDict({"module": nn.Linear(2, 2)}))
    assert list(sd.select(sd.open(model), "**.weight")) == ["0.module.weight"]
    assert list(model.state_dict()) == ["0.module.weight", "0.module.bias"]
