"""What PyTorch's classes are called, which are containers, and how the quantised layers print."""

import importlib
import pkgutil
import warnings
from typing import Any, cast

import pytest
import torch
from torch import nn

from statedict.tree import layers
from tests.taken_apart import taken_apart

_CONTAINERS = [nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict]


def _classes_of(package: str) -> list[type[nn.Module]]:
    """Every module class that the package defines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = importlib.import_module(package)
        found = pkgutil.walk_packages(root.__path__, f"{package}.")
        modules = [root, *(importlib.import_module(each.name) for each in found)]
    members = {member for module in modules for member in vars(module).values() if isinstance(member, type)}
    classes = [each for each in members if issubclass(each, nn.Module) and each.__module__.startswith(package)]
    return sorted(classes, key=_full_name)


def _full_name(kind: type[nn.Module]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


CLASSES = [*_classes_of("torch.nn.modules"), *_classes_of("torch.ao.nn")]
each_class = pytest.mark.parametrize("kind", CLASSES, ids=_full_name)


def test_there_are_classes() -> None:
    assert len(CLASSES) > 250


@each_class
def test_names_are_torchs(kind: type[nn.Module]) -> None:
    getter = cast("Any", kind)._get_name
    stand_in = type(kind.__name__, (), {})()  # the name is all that the method reads of a module
    name = _full_name(kind)
    assert layers.name(name) == (getter() if hasattr(getter, "__self__") else getter(stand_in))
    assert layers.name(name.replace("torch.ao.nn.", "torch.nn.", 1)) == layers.name(name)  # where it was until 1.12


@each_class
def test_containers_are_torchs(kind: type[nn.Module]) -> None:
    expected = next((each.__name__ for each in _CONTAINERS if issubclass(kind, each)), None)
    assert layers.container(_full_name(kind)) == expected


@pytest.mark.parametrize("kind", _CONTAINERS, ids=lambda kind: kind.__name__)
def test_containers_are_known_by_their_short_names_too(kind: type[nn.Module]) -> None:
    assert layers.container(f"torch.nn.{kind.__name__}") == kind.__name__
    assert layers.container(f"elsewhere.{kind.__name__}") is None
    assert layers.container(None) is None


@each_class
def test_packed_weights_are_hidden_as_in_torch(kind: type[nn.Module]) -> None:
    printer = cast("Any", kind.__repr__).__qualname__
    hiding = printer in {"Linear.__repr__", "Embedding.__repr__", "RNNBase.__repr__"}
    assert layers.hides_children(_full_name(kind)) == hiding


def _quantized() -> list[nn.Module]:
    from torch.ao import quantization
    from torch.ao.nn import qat, quantizable, quantized
    from torch.ao.nn.intrinsic import qat as fused
    from torch.ao.nn.quantized import dynamic, reference

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = cast("Any", quantization).default_qat_qconfig
        made: list[Any] = [
            qat.Conv2d(2, 3, 3, padding=1, bias=False, qconfig=config),
            qat.Linear(2, 3, qconfig=config),
            fused.ConvBn2d(2, 3, 3, qconfig=config),
            fused.ConvBnReLU1d(2, 3, 3, qconfig=config),
            fused.LinearReLU(2, 3, qconfig=config),
            fused.LinearBn1d(2, 3, qconfig=config),
            quantizable.LSTM(2, 3),
            quantizable.MultiheadAttention(4, 2),
            reference.Linear(2, 3),
            reference.Conv2d(2, 3, 3),
            reference.Embedding(4, 2),
            reference.LSTM(2, 3, num_layers=2),
            quantized.BatchNorm2d(3),
            quantized.Hardswish(1.0, 0),
            quantized.ELU(1.0, 0),
            quantized.LeakyReLU(1.0, 0),
            quantized.QFunctional(),
            quantized.FloatFunctional(),
            quantized.Conv2d(2, 3, 3, padding=1, dilation=2),
            quantized.LayerNorm(3, None, None, 1.0, 0),
            dynamic.LSTM(2, 3, num_layers=2, bidirectional=True),
            dynamic.GRUCell(2, 3),
            dynamic.Linear(2, 3, dtype=torch.float16),
            quantization.PlaceholderObserver(torch.float16),
        ]
    return cast("list[nn.Module]", made)


@pytest.mark.parametrize("module", _quantized(), ids=lambda module: type(module).__name__)
def test_quantized_layers_print_as_torch_prints_them(module: nn.Module) -> None:
    assert layers.extra_repr(*taken_apart(module)) == module.extra_repr()


def test_what_only_packed_weights_and_values_know_is_left_out() -> None:
    from torch.ao.nn import quantized

    linear = cast("Any", quantized.Linear)(2, 3)
    assert linear.extra_repr() == layers.extra_repr(*taken_apart(linear)) + ", qscheme=torch.per_tensor_affine"
    quantize = cast("Any", quantized.Quantize)(1.0, 0, torch.quint8)
    assert quantize.extra_repr() == "scale=tensor([1.]), zero_point=tensor([0]), " + layers.extra_repr(
        *taken_apart(quantize)
    )
