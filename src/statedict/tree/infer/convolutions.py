"""Layers whose weight has three to five dimensions: convolutions, and transposed ones."""

import re

from statedict.tree.infer.places import Place, Shape
from statedict.tree.infer.weights import bias_of

_TRANSPOSED = re.compile(r"transpose|deconv|convt|conv_t\d*$")
_LARGER = re.compile(r"(^|_)up_?(sampl|scale|conv)|(^|_)ups?\d*$|fpn\d$")
"""Names of what makes a picture larger: by a transposed convolution, or by stretching it before a plain one."""
_SMALLER = re.compile(r"down|patch|merg|stem|reduc|(^|_)sr$|pool|stride")
_CONVOLUTION = re.compile(r"conv|patch|stem|down|proj|kernel|embed")
_NO_CONVOLUTION = re.compile(r"linear|expert|router|gate")
_LONGEST = 64
"""The longest kernel that is one without a name that says so; longer ones are likely stacks of matrices."""


def kind(place: Place, weight: Shape) -> str | None:
    """Conv2d, ConvTranspose2d, ... or None."""
    if not 3 <= len(weight) <= 5 or 0 in weight or not _is_convolution(place, weight):
        return None
    transposed = _is_transposed(place, weight)
    return None if transposed is None else f"Conv{'Transpose' * transposed}{len(weight) - 2}d"


def _is_convolution(place: Place, weight: Shape) -> bool:
    """Not a stack of matrices, as experts are, nor the weight of a bilinear layer."""
    title, bias = place.title, bias_of(place)
    _, inputs, length, *more = weight
    if more:
        return bool(title) if bias is None else len(bias) == 1
    if _CONVOLUTION.search(title) and not _NO_CONVOLUTION.search(title):
        return True
    if bias is not None:
        return len(bias) == 1 and length < _LONGEST and not _is_bilinear(title, inputs, length)
    return bool(title) and not _NO_CONVOLUTION.search(title) and length < _LONGEST


def _is_bilinear(title: str, inputs: int, length: int) -> bool:
    """Whether it could be: kernels are seldom longer than there are channels."""
    return "bilinear" in title or 1 < inputs < length


def _is_transposed(place: Place, weight: Shape) -> bool | None:
    """By the side on which the outputs are, where a bias tells their number; else by name and kernel.

    None: it could be either. Transposed ones, which make pictures larger by whole steps, mostly have even kernels.
    """
    bias = bias_of(place)
    if bias is not None and bias[0] != weight[0]:
        return True if bias[0] % weight[1] == 0 else None
    if bias is not None and 1 < weight[1] != weight[0]:
        return False
    above = place.above.title if place.above is not None else ""
    if _TRANSPOSED.search(place.title):
        return True
    even = all(size % 2 == 0 for size in weight[2:])
    if not even:
        return False
    if _LARGER.search(place.title) or _LARGER.search(above):
        return True
    if _SMALLER.search(place.title) or _SMALLER.search(above) or len(weight) == 3 or weight[0] != weight[1]:
        return False
    return None
