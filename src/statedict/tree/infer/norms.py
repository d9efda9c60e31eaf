"""Layers whose weight has one dimension: norms that keep no statistics, and PReLU."""

import re

from statedict.tree.infer.places import (
    CONVOLUTIONS,
    GROUP_NORMS,
    LAYER_NORMS,
    MATRICES,
    RMS_COMPANIONS,
    RMS_NORMS,
    Place,
    nearest,
)
from statedict.tree.infer.weights import bias_of

_ACTIVATION = re.compile(r"prelu|^act|activation|^relu|nonlin")
_GROUP = re.compile(r"group_?norm|^gn\d*$|conv_norm_out$")
"""The last is that of diffusion models before their last convolution."""
_LAYER = re.compile(r"laye?r_?norm|(^|_)ln(\d|_|$)|^ln")
_RMS = re.compile(r"rms")
_BATCH = re.compile(r"^bn\d*$|batch_?norm")
_INSTANCE = re.compile(r"instance_?norm|^in\d*$")
_NORM = re.compile(r"norm|(^|_)ln(\d|_|$)|^ln|^bn\d*$")
_OTHER = re.compile(r"^grn$|response")
_OF_QUERIES = re.compile(r"(^|_)(q|k|q_a|kv_a|query|key)_(layer)?norm$|^norm_[qk]$")
_NUMBERED = re.compile(r"norm(\d+)")
_BEFORE_TRANSFORMERS = frozenset({"norm", "proj_in", "transformer_blocks", "proj_out"})
"""What diffusion models wrap transformers in, within convolutions."""
_DEPTHWISE = re.compile(r"conv_dw|dw_?conv|depth_?wise")


def kind(place: Place) -> str | None:
    """The norm that a module with a weight for each channel is; begun by "?" where neighbours have a say."""
    weight, bias = place.shapes.get("weight"), bias_of(place)
    if weight is None or (bias is not None and bias != weight):
        return None
    title = place.title
    if place.module.version == 2:
        return "?InstanceNorm" if _INSTANCE.search(title) else "?BatchNorm" if _BATCH.search(title) else None
    if bias is None:
        return _without_bias(title, weight[0])
    if _GROUP.search(title):
        return "GroupNorm"
    if _RMS.search(title) or _OTHER.search(title):
        return None
    if _BATCH.search(title):
        return "?BatchNorm"
    return "?LayerNorm" if _LAYER.search(title) else "?Norm"


def _without_bias(title: str, size: int) -> str | None:
    if _ACTIVATION.search(title) or (size == 1 and not _NORM.search(title)):
        return "PReLU"
    if _RMS.search(title) or _BATCH.search(title) or _OF_QUERIES.search(title):
        return "RMSNorm"  # a BatchNorm would have a bias
    return "?RMSNorm" if _NORM.search(title) else None


def _rms_norm(place: Place) -> str | None:
    """One without bias is an RMSNorm in blocks with gated perceptrons, unless attention and perceptron share it."""
    above = place.above
    if above is None or not above.evidence & RMS_COMPANIONS:
        return "?RMSNorm"
    names = {sibling.name for sibling in above.below}
    normed = any("norm" in sibling.name for sibling in above.below if sibling is not place)
    return "LayerNorm" if not normed and names == {"input_layernorm", "self_attn", "mlp"} else "RMSNorm"


def _norm(place: Place) -> str | None:
    """A norm of no telling name: LayerNorm among linear layers; among convolutions it could be of several kinds."""
    around, title = (place.above.evidence, place.above.title) if place.above is not None else (0, "")
    names = [sibling.name for sibling in place.siblings]
    if "stem" not in title and (_of_a_convolution(place) or _BEFORE_TRANSFORMERS <= set(names)):
        return "GroupNorm"
    if around & MATRICES or any(map(_DEPTHWISE.search, names)):
        return "LayerNorm"
    if around & CONVOLUTIONS:
        return "LayerNorm" if "embed" in title else "?Norm"
    return "LayerNorm" if nearest(place, CONVOLUTIONS | MATRICES) == MATRICES else "?Norm"


def _of_a_convolution(place: Place) -> bool:
    """Whether a convolution beside it has its number, as in residual blocks: one that is not depthwise."""
    numbered = _NUMBERED.fullmatch(place.name)
    name = f"conv{numbered[1]}" if numbered else None
    found = next((each for each in place.siblings if each.name == name), None)
    return found is not None and bool(found.evidence & CONVOLUTIONS) and found.shape("weight")[1:2] != (1,)


def _layer_norm(place: Place) -> str | None:
    """What its name says, but for the speech models that normalise only the first convolution, and that in groups."""
    above = place.above
    if above is None or not above.name.isdecimal() or above.evidence & MATRICES:
        return "LayerNorm"
    alike = [each for each in above.siblings if any(child.name == place.name for child in each.below)]
    return None if above.evidence & CONVOLUTIONS and len(alike) == 1 < len(above.siblings) else "LayerNorm"


def _as_around(place: Place) -> str | None:
    """The only kind of norm that the smallest surroundings with any have."""
    found = nearest(place, LAYER_NORMS | GROUP_NORMS, whole=False)
    return {LAYER_NORMS: "LayerNorm", GROUP_NORMS: "GroupNorm"}.get(found)


def _rms_as_around(place: Place) -> str | None:
    found = nearest(place, RMS_NORMS | LAYER_NORMS | GROUP_NORMS, whole=False)
    return "RMSNorm" if found == RMS_NORMS else None


AMONG = {"?Norm": _norm, "?LayerNorm": _layer_norm, "?RMSNorm": _rms_norm}
AS_AROUND = {"?Norm": _as_around, "?RMSNorm": _rms_as_around}
