"""The rules, in the order in which they are asked: from those that tensors' names decide to those of shapes alone."""

from statedict.narrow import is_number
from statedict.tree.infer import attention, batches, convolutions, matrices, norms, recurrent
from statedict.tree.infer.places import Place
from statedict.tree.infer.weights import weight_of

UNSURE = "?"
"""What the name of a kind begins with that only the neighbours can confirm."""


def alone(place: Place) -> str | None:
    """The kind that a module's own name and tensors tell; begun by `UNSURE` where neighbours have a say; or None."""
    shapes = place.shapes
    if found := recurrent.kind(shapes) or attention.kind(shapes) or batches.kind(place):
        return found
    if place.above is not None and place.above.name == "parametrizations":
        return "ParametrizationList"
    weight = weight_of(place)
    if weight is None:
        return "ParameterList" if shapes and all(map(is_number, shapes)) else None
    if len(weight) == 2:
        return matrices.kind(place, weight)
    return norms.kind(place) if len(weight) == 1 else convolutions.kind(place, weight)


def among(place: Place) -> str | None:
    """The kind of a module that its neighbours have a say in; still begun by `UNSURE` where they do not tell."""
    return _AMONG[place.kind](place) if place.kind in _AMONG else place.kind


def as_around(place: Place) -> str | None:
    """The kind of a module of which nothing is known but that it is like others around it; or None."""
    return norms.AS_AROUND[place.kind](place) if place.kind in norms.AS_AROUND else None


_AMONG = {**matrices.AMONG, **batches.AMONG, **norms.AMONG}
