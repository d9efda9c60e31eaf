"""Which lists of modules are run one after the other. A `ModuleList` has no such marks, and stays nameless."""
# pyright: reportPrivateUsage=false

from itertools import pairwise

from statedict.narrow import is_number
from statedict.tree.infer.places import Place
from statedict.tree.infer.weights import channels_of, inputs_of


def kind(place: Place) -> str | None:
    """Sequential, of a numbered list of unlike layers, or of one with gaps whose layers fit together; or None."""
    if place.shapes or not place.below or not all(is_number(child.name) for child in place.below):
        return None
    layers = [child for child in place.below if child.kind is not None and child.shapes and not child.below]
    kinds = {layer.kind for layer in layers}
    if len(kinds) > 1:
        return "Sequential"
    return "Sequential" if layers and _has_gaps(place) and _fit(layers) else None


def _has_gaps(place: Place) -> bool:
    """Whether some have no tensors: activations, pools."""
    return any(not (child.shapes or child.below) for child in place.below) or len(place.below) <= max(
        int(child.name) for child in place.below
    )


def _fit(layers: list[Place]) -> bool:
    """Whether each takes as many channels as the one before gives, and they are not all alike."""
    sizes = [(inputs_of(layer), channels_of(layer)) for layer in layers]
    return len(set(sizes)) > 1 and all(before[1] == after[0] is not None for before, after in pairwise(sizes))
