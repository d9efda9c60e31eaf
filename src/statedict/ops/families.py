"""What a parameter is for: a weight, a bias, a norm's scale, an embedding; told by the module that owns it."""

from collections.abc import Sequence
from typing import Literal

from statedict.ops.select import NamedTensor

Family = Literal["norm", "bias", "embedding", "vector", "weight"]
"""`vector`: any other with fewer than two dimensions, such as PReLU's slope or a layer's scale."""


def family(entry: NamedTensor, classes: Sequence[str] = ()) -> Family:
    """What a parameter is for, by the kind of its module, then by its own name and dimensions.

    `classes` are the names of all classes that its module inherits, where they are known: a norm of any name that
    inherits `LayerNorm` is one. A file tells the kind alone.
    """
    kinds = (*classes, entry.owner.kind or "")
    shape = entry.tensor.shape
    if any("norm" in kind.lower() for kind in kinds) and _holds_scales(entry, kinds):
        return "norm"
    if any("embedding" in kind.lower() for kind in kinds):
        return "embedding"
    local = entry.name.rpartition(".")[2]
    if local == "bias" or local.startswith("bias_") or local.endswith("_bias"):
        return "bias"
    return "vector" if shape is not None and len(shape) < 2 else "weight"


_NORMS = ("LayerNorm", "RMSNorm", "GroupNorm", "_NormBase", "BatchNorm", "InstanceNorm")


def _holds_scales(entry: NamedTensor, kinds: Sequence[str]) -> bool:
    """Whether it is a norm's own: a block called `PreNormAttention` has matrices, and is none."""
    shape = entry.tensor.shape
    return shape is None or len(shape) < 2 or any(kind.rstrip("123d").endswith(_NORMS) for kind in kinds)
