"""Which `torch.nn` class an unknown one inherits, told by what only the constructor of that class sets.

All of the attributes must be there and be of the right type, and all of the tensors must be registered: a module that
merely happens to have `in_features` is not claimed.
"""

from types import NoneType
from typing import NamedTuple

from statedict.tree.layers.parts import Layer

_Types = type | tuple[type, ...]
_NUMBER = (int, float)
_SIZES = (int, tuple)


class _Signature(NamedTuple):
    class_name: str
    attributes: dict[str, _Types]
    tensors: tuple[str, ...] = ()
    alone: bool = False
    """Whether it may have no other attribute: where its own are words that everyone uses."""


_EMBEDDING: dict[str, _Types] = {
    "num_embeddings": int,
    "embedding_dim": int,
    "padding_idx": (int, NoneType),
    "max_norm": (*_NUMBER, NoneType),
    "norm_type": _NUMBER,
    "scale_grad_by_freq": bool,
    "sparse": bool,
}
_CONV: dict[str, _Types] = {
    "in_channels": int,
    "out_channels": int,
    "kernel_size": tuple,
    "stride": tuple,
    "padding": (tuple, str),
    "dilation": tuple,
    "transposed": bool,
    "output_padding": tuple,
    "groups": int,
}
_RNN: dict[str, _Types] = {
    "mode": str,
    "input_size": int,
    "hidden_size": int,
    "num_layers": int,
    "bias": bool,
    "batch_first": bool,
    "dropout": _NUMBER,
    "bidirectional": bool,
}
_NORM: dict[str, _Types] = {
    "num_features": int,
    "eps": _NUMBER,
    "momentum": (*_NUMBER, NoneType),
    "affine": bool,
    "track_running_stats": bool,
}
_LAYER_NORM: dict[str, _Types] = {"normalized_shape": tuple, "eps": (*_NUMBER, NoneType), "elementwise_affine": bool}
_GROUP_NORM: dict[str, _Types] = {"num_groups": int, "num_channels": int, "eps": _NUMBER, "affine": bool}
_MAX_POOL: dict[str, _Types] = {"kernel_size": _SIZES, "stride": _SIZES, "padding": _SIZES, "dilation": _SIZES}
_AVG_POOL: dict[str, _Types] = {"kernel_size": _SIZES, "stride": _SIZES, "padding": _SIZES, "ceil_mode": bool}

_BOTH = ("weight", "bias")
_SIGNATURES = (
    _Signature("torch.nn.modules.linear.Linear", {"in_features": int, "out_features": int}, _BOTH),
    _Signature("torch.nn.modules.sparse.EmbeddingBag", {**_EMBEDDING, "mode": str, "include_last_offset": bool}),
    _Signature("torch.nn.modules.sparse.Embedding", _EMBEDDING, ("weight",)),
    _Signature("torch.nn.modules.conv._ConvNd", _CONV, _BOTH),
    _Signature("torch.nn.modules.batchnorm._NormBase", _NORM, (*_BOTH, "running_mean", "running_var")),
    _Signature("torch.nn.modules.normalization.LayerNorm", _LAYER_NORM, _BOTH),
    _Signature("torch.nn.modules.normalization.RMSNorm", _LAYER_NORM, ("weight",)),
    _Signature("torch.nn.modules.normalization.GroupNorm", _GROUP_NORM, _BOTH),
    _Signature("torch.nn.modules.rnn.RNNBase", _RNN, ("weight_ih_l0", "weight_hh_l0")),
    _Signature(
        "torch.nn.modules.rnn.RNNCellBase",
        {"input_size": int, "hidden_size": int, "bias": bool},
        ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    ),
    _Signature("torch.nn.modules.pooling._MaxPoolNd", {**_MAX_POOL, "return_indices": bool, "ceil_mode": bool}),
    _Signature("torch.nn.modules.pooling._AvgPoolNd", {**_AVG_POOL, "count_include_pad": bool}),
    _Signature("torch.nn.modules.dropout._DropoutNd", {"p": _NUMBER, "inplace": bool}, alone=True),
)


def base_of(layer: Layer) -> str | None:
    """The full name of the class that the layer inherits; the most general one that prints as the layer does."""
    return next((each.class_name for each in _SIGNATURES if _fits(layer, each)), None)


def _fits(layer: Layer, signature: _Signature) -> bool:
    _, attributes, tensors, alone = signature
    if alone and (layer.tensors or layer.attributes.keys() - attributes.keys() - {"training"}):
        return False
    return all(_is(layer.attributes.get(name, layer), types) for name, types in attributes.items()) and all(
        name in layer.tensors for name in tensors
    )


def _is(value: object, types: _Types) -> bool:
    """Whether the value is of one of the types; True and False are no numbers."""
    return isinstance(value, types) and (not isinstance(value, bool) or types is bool)
