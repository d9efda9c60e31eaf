"""What `Module` does beyond PyTorch's: hints, replacement by arrays, no code to call, reading without torch."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from statedict.tree.containers import ModuleList, Sequential
from statedict.tree.module import Module
from statedict.tree.parameters import ParameterDict, ParameterList
from statedict.tree.tensor import Buffer, Parameter
from tests.differential.live import tree_of
from tests.seed_net import Net


@pytest.fixture
def model() -> Any:
    return tree_of(Net())


def test_calling_says_what_to_do(model: Any) -> None:
    for call in (model, model.forward):
        with pytest.raises(
            NotImplementedError, match=r'Module \[Net\] is missing .* "forward".*weights, not code; build'
        ):
            call(np.zeros(3))


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda m: m.get_submodule("feature.0"), "Net has no attribute `feature`; the closest names are `features`"),
        (
            lambda m: m.get_parameter("features.0.wieght"),
            "Conv2d has no attribute `wieght`; the closest names are `weight`",
        ),
        (
            lambda m: m.get_parameter("3.weight"),
            "Net has no attribute `3`; the closest names are `classifier.3.weight`",
        ),
        (lambda m: m.get_submodule("zzz"), "Net has no attribute `zzz`"),
    ],
)
def test_wrong_names_are_answered_with_the_closest(model: Any, call: Any, hint: str) -> None:
    with pytest.raises(AttributeError) as raised:
        call(model)
    assert str(raised.value) == hint


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (
            lambda key: "module." + key,
            "Every unexpected key begins with `module.`; load `{key.removeprefix('module.'): ...}`",
        ),
        (
            lambda key: key.replace("classifier", "fc"),
            "Perhaps meant: `fc.0.weight` for `classifier.0.weight`, of the same",
        ),
    ],
)
def test_wrong_keys_are_answered_with_what_may_be_meant(model: Any, change: Any, hint: str) -> None:
    state = {change(key): value for key, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="Missing key") as raised:
        model.load_state_dict(state)
    assert hint in str(raised.value)


def test_keys_without_the_prefix_that_the_model_has(model: Any) -> None:
    whole = Module()
    whole.add_module("net", model)
    with pytest.raises(RuntimeError, match=r"Every missing key begins with `net\.`; load `{'net\.' \+ key: \.\.\.}`"):
        whole.load_state_dict(model.state_dict())


def test_every_kind_of_array_loads(model: Any) -> None:
    live = Net().state_dict()
    for state in (live, {key: value.numpy() for key, value in live.items()}, tree_of(Net()).state_dict()):
        expected = torch.as_tensor(np.asarray(state["classifier.3.bias"]))
        model.load_state_dict(state)
        assert torch.equal(model.classifier[3].bias.torch(), expected)


def test_loading_keeps_objects_and_reads_nothing_yet(model: Any) -> None:
    weight, array = model.classifier[3].bias, np.zeros(10)
    model.load_state_dict({"classifier.3.bias": array}, strict=False)
    array[:] = 2
    assert model.classifier[3].bias is weight
    assert (str(weight.dtype), weight.name, weight.tolist()) == ("float32", "classifier.3.bias", [2.0] * 10)


def test_loading_into_meta_warns_and_does_nothing() -> None:
    model = tree_of(nn.Linear(2, 2, device="meta"))
    state = nn.Linear(2, 2).state_dict()
    with pytest.warns(UserWarning, match="which is a no-op"):
        model.load_state_dict(state)
    assert model.weight.is_meta
    model.load_state_dict(state, assign=True)
    assert torch.equal(model.weight.torch(), state["weight"])


def test_what_cannot_be_copied_is_told(model: Any) -> None:
    sparse = {**model.state_dict(), "classifier.3.bias": torch.zeros(10).to_sparse()}
    with pytest.raises(
        RuntimeError, match=r'While copying the parameter named "classifier.3.bias".*sparse_coo\) cannot'
    ):
        tree = tree_of(Net().double())
        tree.load_state_dict(sparse)


def test_arrays_take_the_place_of_parameters_and_buffers(model: Any) -> None:
    layer, norm = model.classifier[0].requires_grad_(False), model.features[1]
    layer.weight, layer.bias = np.ones((128, 576), "f2"), torch.ones(128)
    norm.running_mean = np.zeros(6, "f4")
    assert isinstance(layer.weight, Parameter)
    assert not layer.weight.requires_grad
    assert isinstance(norm.running_mean, Buffer)
    assert [name for name, _ in norm.named_buffers()] == ["running_mean", "running_var", "num_batches_tracked"]
    model.features[4].bias = np.arange(9)
    assert not model.get_parameter("features.4.bias").requires_grad


def test_trees_are_made_by_hand_too() -> None:
    class Tower(Module):
        def __init__(self) -> None:
            super().__init__()
            self.depth = 2
            self.row = Sequential(Module(), ModuleList([Module()]))
            self.scale = Parameter(np.ones(3, "f4"))
            self.cache = Buffer(np.zeros(1), persistent=False)
            self.rows = ParameterList([np.zeros(2, "f4"), 3])
            self.named = ParameterDict({"b": torch.zeros(1), "a": np.zeros(1)})

    tower = Tower()
    assert list(tower.state_dict()) == ["scale", "rows.0", "named.a", "named.b"]
    assert tower.attributes == {"depth": 2}
    assert repr(tower).startswith("Tower(\n  (row): Sequential(\n    (0): Module()\n    (1): ModuleList(")
    assert copy.deepcopy(tower).depth == 2
    with pytest.raises(TypeError, match=r"ParameterList\.extend should be called with an iterable, but got Parameter"):
        tower.rows.extend(tower.scale)  # pyright: ignore[reportArgumentType]
    tower.kind = "Babel"
    assert repr(tower).startswith("Babel(")


def test_assigning_before_init_says_so() -> None:
    class Early(Module):
        def __init__(self) -> None:
            self.weight = Parameter()

    with pytest.raises(AttributeError, match=r"cannot assign parameters before Module.__init__\(\) call"):
        Early()


def test_positional_state_dict_arguments_warn_as_in_torch(model: Any) -> None:
    given: dict[str, Any] = {}
    with pytest.warns(FutureWarning, match="Positional args are being deprecated, use kwargs instead"):
        assert model.state_dict(given, "net.") is given
    assert next(iter(given)) == "net.features.0.weight"
