"""The weight of a layer, under whichever names it is stored."""
# pyright: reportPrivateUsage=false

from typing import TYPE_CHECKING

from statedict.tree.infer.places import Place, Shape

if TYPE_CHECKING:
    from statedict.tree.module import Module

_EXTRAS = frozenset(
    {"bias", "gain", "weight_g", "weight_u", "weight_mask", "bias_mask", "bias_orig", "e_score_correction_bias"}
)
"""What a layer of one weight may hold beside it: a bias, what weight normalisation, spectral normalisation and pruning
add, and the gain of scaled convolutions."""
_NAMES = ("weight", "weight_v", "weight_orig")


def weight_of(place: Place) -> Shape | None:
    """The shape of the one weight of a layer that has nothing but a weight and, perhaps, a bias; None for any other."""
    name = next((name for name in _NAMES if name in place.shapes), None)
    if name is None:
        return _parametrized(place.module) if place.shapes.keys() <= {"bias"} else None
    return place.shapes[name] if place.shapes.keys() <= {name, *_EXTRAS} else None


def bias_of(place: Place) -> Shape | None:
    """The shape of its bias, if it has one."""
    return place.shapes.get("bias", place.shapes.get("bias_orig"))


def channels_of(place: Place) -> int | None:
    """How many channels come out of a convolution or a linear layer."""
    return _side(place, 0)


def inputs_of(place: Place) -> int | None:
    """How many channels go into a convolution or a linear layer: into each of its groups."""
    return _side(place, 1)


def _side(place: Place, side: int) -> int | None:
    weight = weight_of(place)
    if not weight or len(weight) < 2:
        return None
    transposed = (place.kind or "").startswith(("ConvTranspose", "Conv1D"))
    return weight[1 - side if transposed else side]


def _parametrized(module: "Module") -> Shape | None:
    """The weight that PyTorch's parametrizations keep in a child: whole, or as a direction after its length."""
    child: Module | None = module
    for name in ("parametrizations", "weight"):
        child = child._modules.get(name) if child is not None else None
    if child is None:
        return None
    found = next((child._parameters[name] for name in ("original1", "original") if name in child._parameters), None)
    return found.info.shape if found is not None else None
