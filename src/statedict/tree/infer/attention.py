"""PyTorch's own attention, which keeps its three projections in one tensor or three."""

from statedict.tree.infer.places import Shape

_SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
_OTHERS = frozenset({"in_proj_bias", "bias_k", "bias_v"})


def kind(shapes: dict[str, Shape]) -> str | None:
    """MultiheadAttention, or None."""
    fused = shapes.get("in_proj_weight", ())
    if len(fused) == 2 and fused[0] == 3 * fused[1]:
        names = {"in_proj_weight"}
    elif all(len(shapes.get(name, ())) == 2 for name in _SEPARATE):
        names = set(_SEPARATE)
    else:
        return None
    return "MultiheadAttention" if shapes.keys() - names <= _OTHERS else None


def attributes(shapes: dict[str, Shape]) -> dict[str, object]:
    """The arguments of such a layer that its tensors show."""
    if "in_proj_weight" in shapes:
        return {"embed_dim": shapes["in_proj_weight"][1]}
    query, key, value = (shapes[name] for name in _SEPARATE)
    return {"embed_dim": query[0], "kdim": key[1], "vdim": value[1]}
