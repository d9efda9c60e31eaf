"""Norms that keep statistics of what they have seen: their tensors tell, and neighbours their dimensions."""

import re

from statedict.tree.infer.places import CONV1, CONV2, CONV3, CONVOLUTIONS, MATRICES, Place, nearest
from statedict.tree.infer.weights import channels_of

_NAMES = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})
_INSTANCE = re.compile(r"instance|^in\d*$|inorm")
_DIMENSIONS = {CONV1: "1d", CONV2: "2d", CONV3: "3d", MATRICES: "1d"}


def kind(place: Place) -> str | None:
    """?BatchNorm or ?InstanceNorm, of as many dimensions as neighbours will tell; None for any other layer."""
    names = place.shapes.keys()
    if not {"running_mean", "running_var"} <= names or not names <= _NAMES:
        return None
    return "?InstanceNorm" if _INSTANCE.search(place.title) else "?BatchNorm"


def batch_norm(place: Place) -> str | None:
    """BatchNorm2d, or without the number where nothing around tells it."""
    return "BatchNorm" + _dimensions(place)


def instance_norm(place: Place) -> str | None:
    """InstanceNorm2d, or without the number where nothing around tells it."""
    return "InstanceNorm" + _dimensions(place)


def _dimensions(place: Place) -> str:
    """Those of the layers beside it that have as many channels, else of the convolutions around it."""
    channels = next((shape[0] for shape in place.shapes.values() if len(shape) == 1), None)
    beside = 0
    for sibling in place.siblings:
        if sibling.own and channels_of(sibling) == channels:
            beside |= sibling.own
    told = beside or nearest(place, CONVOLUTIONS | MATRICES)
    return _DIMENSIONS.get(told) or _DIMENSIONS.get(told & CONVOLUTIONS, "")


AMONG = {"?BatchNorm": batch_norm, "?InstanceNorm": instance_norm}
