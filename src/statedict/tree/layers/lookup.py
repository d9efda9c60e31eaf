"""From the full name of a class to its row in the tables; and, for a class that is in none, to what it inherits."""

from collections.abc import Mapping
from types import MappingProxyType

from statedict.tree.layers import quantized
from statedict.tree.layers.foreign import foreign
from statedict.tree.layers.inheritance import base_of
from statedict.tree.layers.nn import CONTAINERS, NN, Container
from statedict.tree.layers.parts import EMPTY, Layer, Parts, render

_NO_CHILDREN: Mapping[str, Layer] = MappingProxyType({})
_FUSED = ("torch.ao.nn.intrinsic.modules.", "torch.ao.nn.intrinsic.qat.")
_PARAMETRIZED = "torch.nn.utils.parametrize.Parametrized"


def extra_repr(
    class_name: str | None,
    attributes: Mapping[str, object] = EMPTY,
    tensors: Mapping[str, object] = EMPTY,
    children: Mapping[str, Layer] = _NO_CHILDREN,
) -> str:
    """What `torch.nn.Module.extra_repr` returns for a module of that class; "" where nothing is known. Never raises.

    `attributes` are those of its `__dict__`, `tensors` its parameters and buffers, None those registered as None,
    `children` what the few classes that print something of a child need to know.
    """
    if class_name is None:
        return ""
    layer = Layer(class_name, attributes, tensors, children)
    parts = _known(layer)
    if parts is None:
        parts = _row(base_of(layer) or "") or ()
    return render(parts, layer)


def container(class_name: str | None) -> Container | None:
    """Which of PyTorch's five containers a class of that full name is or, inside PyTorch, inherits."""
    current = quantized.canonical(class_name or "")
    return "Sequential" if current.startswith(_FUSED) else CONTAINERS.get(current)


def base(class_name: str | None, attributes: Mapping[str, object], tensors: Mapping[str, object]) -> str | None:
    """The full name of the `torch.nn` class that a class nobody knows inherits, told by its attributes and tensors.

    None for a class that the tables have, and where the attributes are not all there.
    """
    layer = Layer(class_name, attributes, tensors)
    return base_of(layer) if class_name is not None and _known(layer) is None else None


def name(class_name: str) -> str:
    """The name under which PyTorch prints a class: its last part ("Conv2d"), but "QuantizedConv2d" where it says so."""
    return quantized.name(quantized.canonical(class_name))


def hides_children(class_name: str | None) -> bool:
    """Whether PyTorch prints a class without its children, as those that keep packed weights in one."""
    return quantized.hides_children(quantized.canonical(class_name or ""))


def _known(layer: Layer) -> Parts | None:
    found = _row(quantized.canonical(layer.class_name or ""))
    return foreign(layer) if found is None else found


def _row(class_name: str) -> Parts | None:
    """The row of a class of PyTorch; an empty one where it has none, since it prints nothing."""
    if class_name.startswith(_PARAMETRIZED):
        return NN.get(class_name.removeprefix(_PARAMETRIZED))
    if class_name.startswith("torch.nn."):
        return NN.get(class_name.rpartition(".")[2], ())
    return quantized.row(class_name)
