"""Every class of `torch.nn`, built, taken apart and printed: PyTorch itself says what is right."""

import importlib
import warnings
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from statedict.dtypes import DTYPES
from statedict.tree import layers
from statedict.tree.layers.nn import NN
from tests.hostile_values import values
from tests.taken_apart import Stored, taken_apart
from tests.torch_layers import every_layer

LAYERS = every_layer()
each_layer = pytest.mark.parametrize(
    "module", LAYERS, ids=lambda module: f"{type(module).__name__}({module.extra_repr()})"[:60]
)


def test_the_table_of_layers_covers_torch() -> None:
    exported = (getattr(nn, name) for name in dir(nn))
    classes = {each for each in exported if isinstance(each, type) and issubclass(each, nn.Module)}
    assert classes - {type(layer) for layer in LAYERS} == set()


@each_layer
def test_extra_repr_is_torchs(module: nn.Module) -> None:
    for each in module.modules():
        assert layers.extra_repr(*taken_apart(each)) == each.extra_repr()


def test_abstract_classes_print_as_those_that_inherit_them() -> None:
    pairs = [(parent, type(module)) for module in LAYERS for parent in type(module).__mro__ if parent.__name__ in NN]
    assert len(pairs) > len(LAYERS)
    for parent, kind in pairs:
        if cast("type[nn.Module]", parent).extra_repr is kind.extra_repr:
            assert NN[parent.__name__] == NN[kind.__name__]


@pytest.mark.parametrize(
    ("class_name", "attributes", "expected"),
    [
        ("torch.nn.modules.activation.GELU", {}, ""),  # before 1.11 it had no `approximate`
        ("torch.nn.modules.rnn.LSTM", {"input_size": 3, "hidden_size": 4}, "3, 4"),  # before 1.8: no `proj_size`
        ("torch.nn.modules.conv.Conv2d", {"in_channels": 3, "groups": 2, "padding": (0, 0)}, "3, groups=2, bias=False"),
        ("torch.nn.modules.linear._LinearWithBias", {"in_features": 2}, "in_features=2, bias=False"),
        ("torch.nn.Linear", {"in_features": 2}, "in_features=2, bias=False"),
        ("torch.nn.modules.upsampling.Upsample", {"mode": "nearest"}, "mode='nearest'"),
    ],
)
def test_what_an_older_pytorch_did_not_write_is_not_printed(
    class_name: str, attributes: dict[str, object], expected: str
) -> None:
    tensors = {} if class_name.endswith("LSTM") else {"weight": None, "bias": None}
    assert layers.extra_repr(class_name, attributes, tensors) == expected


def test_parameters_of_an_older_pytorch_have_no_list_of_their_keys() -> None:
    line = "): Parameter containing: ["
    tensors = {"10": Stored((1,)), "2": Stored((2, 3))}
    printed = layers.extra_repr("torch.nn.modules.container.ParameterList", {}, tensors)
    assert printed == f"  (2{line}torch.float32 of size 2x3]\n  (10{line}torch.float32 of size 1]"
    printed = layers.extra_repr("torch.nn.modules.container.ParameterDict", {}, {"b": Stored(()), "a": Stored((2,))})
    assert printed == f"  (b{line}torch.FloatTensor of size ]\n  (a{line}torch.FloatTensor of size 2]"


def test_a_parameter_dict_names_every_element_type_as_torch_does() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some types are experimental, some deprecated
        tensors = {f"of_{name}": torch.empty(1, dtype=getattr(torch, name)) for name in DTYPES if hasattr(torch, name)}
    assert len(tensors) > 40
    module = nn.ParameterDict({name: nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()})
    assert layers.extra_repr(*taken_apart(module)) == module.extra_repr()


def _reparametrized() -> list[nn.Module]:
    from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older of two ways is deprecated
        made: list[Any] = [
            cast("Any", prune).l1_unstructured(nn.Linear(3, 4), "bias", 2),
            cast("Any", prune).l1_unstructured(nn.Conv2d(3, 4, 2), "weight", 2),
            weight_norm(nn.Linear(3, 4), "bias"),
            spectral_norm(nn.Conv1d(3, 4, 2)),
            parametrizations.weight_norm(nn.Linear(3, 4, bias=False)),
            parametrizations.weight_norm(nn.Conv2d(3, 4, 2), "bias"),
            parametrizations.orthogonal(nn.LSTM(3, 4), "weight_hh_l0"),
        ]
    return made


@pytest.mark.parametrize("module", _reparametrized(), ids=lambda module: repr(type(module)))
def test_pruned_and_parametrized_layers_print_as_torch_prints_them(module: nn.Module) -> None:
    for each in module.modules():
        assert layers.extra_repr(*taken_apart(each)) == each.extra_repr()


def _subclass(module: nn.Module) -> layers.Layer:
    """The module taken apart, as one of a class that nobody knows."""
    return taken_apart(module)._replace(class_name="strange.models.Layer")


@each_layer
def test_a_subclass_prints_as_its_base_or_not_at_all(module: nn.Module) -> None:
    layer = _subclass(module)
    found = layers.base(*layer[:3])
    assert layers.extra_repr(*layer) == (module.extra_repr() if found else "")
    if found:
        home, _, kind = found.rpartition(".")
        assert isinstance(module, getattr(importlib.import_module(home), kind))


def test_layers_with_weights_are_recognised_in_a_subclass() -> None:
    missed = {type(module).__name__ for module in LAYERS if not layers.base(*_subclass(module)[:3])}
    assert not [name for name in missed if "Conv" in name or ("Norm" in name and name not in {"LocalResponseNorm"})]
    assert not missed & {"Linear", "Embedding", "EmbeddingBag", "LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "Dropout"}


@pytest.mark.parametrize(
    ("attributes", "tensors"),
    [
        ({}, {}),
        ({"in_features": 3, "out_features": 4}, {}),
        ({"in_features": 3, "out_features": 4}, {"weight": Stored((4, 3))}),
        ({"in_features": True, "out_features": 4}, {"weight": Stored((4, 3)), "bias": None}),
        ({"in_features": 3, "out_features": "4"}, {"weight": Stored((4, 3)), "bias": None}),
        ({"num_embeddings": 3, "embedding_dim": 4}, {"weight": Stored((3, 4))}),
        ({"p": 0.5, "inplace": False, "prob": 1}, {}),
        ({"p": 0.5, "inplace": False}, {"mask": None}),
        ({"eps": 1e-6}, {"weight": Stored((3,))}),
    ],
)
def test_an_unrelated_module_is_not_claimed(attributes: dict[str, object], tensors: dict[str, object]) -> None:
    assert layers.base("strange.models.Layer", attributes, tensors) is None
    assert layers.extra_repr("strange.models.Layer", attributes, tensors) == ""


def test_only_an_unknown_class_has_a_base() -> None:
    _, attributes, tensors, _ = taken_apart(nn.Linear(2, 3))
    assert layers.base("strange.Layer", attributes, tensors) == "torch.nn.modules.linear.Linear"
    assert layers.base("torch.nn.modules.linear.Linear", attributes, tensors) is None
    assert layers.base(None, attributes, tensors) is None
    assert layers.extra_repr(None, attributes, tensors) == ""


@pytest.mark.parametrize(
    ("class_name", "attributes", "tensors", "expected"),
    [
        ("torchvision.ops.stochastic_depth.StochasticDepth", {"p": 0.2, "mode": "row"}, {}, "p=0.2, mode=row"),
        ("torchvision.ops.misc.FrozenBatchNorm2d", {"eps": 1e-5}, {"weight": Stored((64,))}, "64, eps=1e-05"),
        ("timm.layers.drop.DropPath", {"drop_prob": 0.0666666}, {}, "drop_prob=0.067"),
        ("timm.layers.drop.DropPath", {"drop_prob": None}, {}, ""),
        ("elsewhere.LlamaRMSNorm", {"variance_epsilon": 1e-5}, {"weight": Stored((64,))}, ""),
    ],
)
def test_classes_of_libraries_that_are_not_here(
    class_name: str, attributes: dict[str, object], tensors: dict[str, object], expected: str
) -> None:
    assert layers.extra_repr(class_name, attributes, tensors) == expected


_names = sorted(
    {name for module in LAYERS for name in (*taken_apart(module).attributes, "weight", "bias", "0", "_keys")}
)


@given(
    class_name=st.sampled_from([*(f"torch.nn.modules.any.{name}" for name in NN), "transformers.LlamaRMSNorm", "x.Y"]),
    attributes=st.dictionaries(st.sampled_from(_names), values, max_size=12),
    tensors=st.dictionaries(st.sampled_from(["weight", "bias", "0", "²", "a"]), values, max_size=3),
)
def test_no_values_make_it_raise(class_name: str, attributes: dict[str, object], tensors: dict[str, object]) -> None:
    assert isinstance(layers.extra_repr(class_name, attributes, tensors), str)
    assert layers.base(class_name, attributes, tensors) is None or class_name == "x.Y"


@given(values=st.fixed_dictionaries(dict.fromkeys(("num_embeddings", "norm_type", "sparse", "padding_idx"), values)))
def test_no_values_make_a_known_layer_raise(values: dict[str, object]) -> None:
    printed = layers.extra_repr("torch.nn.modules.sparse.Embedding", values)
    assert ("padding_idx=" in printed) == (not isinstance(values["padding_idx"], Stored | None))
