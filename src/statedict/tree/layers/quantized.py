"""How PyTorch's quantised layers (`torch.ao.nn`) are called and print: mostly as the layer that they stand for.

What they read from packed weights (the quantisation scheme, whether there is a bias) is not among their attributes and
is left out. Names: "QuantizedConv2d", "DynamicQuantizedLinear", "QuantizedLSTM(Reference)".
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from statedict.tree.layers.nn import NN
from statedict.tree.layers.parts import Parts, bare, named, unless, unless_all

_CONV: Parts = (
    bare("in_channels"),
    bare("out_channels"),
    "kernel_size",
    "stride",
    "scale",
    "zero_point",
    unless_all("padding", 0),
    unless_all("dilation", 1),
    unless_all("output_padding", 0),
    unless("groups", 1),
)
_FEATURES: Parts = ("in_features", "out_features")
_OUTPUT: Parts = ("scale", "zero_point")
_PACKED_EMBEDDING: Parts = ("num_embeddings", "embedding_dim", named("_packed_params.dtype", "dtype"))
_STATIC: dict[str, Parts] = {
    **NN,
    **dict.fromkeys(["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"], _CONV),
    **dict.fromkeys(["Embedding", "EmbeddingBag"], _PACKED_EMBEDDING),
    **dict.fromkeys(["LSTM", "PReLU"], ()),
    "Linear": (*_FEATURES, *_OUTPUT),
    "QFunctional": _OUTPUT,
    "Quantize": (*_OUTPUT, "dtype"),
}
_DYNAMIC: dict[str, Parts] = {
    **_STATIC,
    **{name: NN[name] for name in ("RNNBase", "LSTM", "GRU", "RNNCellBase", "RNNCell", "LSTMCell", "GRUCell")},
    "Linear": (*_FEATURES, named("_packed_params.dtype", "dtype")),
}


class _Place(NamedTuple):
    """Where classes live, how they print, and how they are called."""

    package: str
    rows: Mapping[str, Parts]
    name: str


_PLACES = (
    _Place("torch.ao.nn.intrinsic.modules.", {}, "{}"),
    _Place("torch.ao.nn.intrinsic.qat.", NN, "{}"),
    _Place("torch.ao.nn.intrinsic.quantized.dynamic.", _DYNAMIC, "DynamicQuantized{}"),
    _Place("torch.ao.nn.intrinsic.quantized.", _STATIC, "Quantized{}"),
    _Place("torch.ao.nn.qat.", NN, "{}"),
    _Place("torch.ao.nn.quantizable.", {}, "Quantizable{}"),
    _Place("torch.ao.nn.quantized.dynamic.", _DYNAMIC, "DynamicQuantized{}"),
    _Place("torch.ao.nn.quantized.reference.", NN, "Quantized{}(Reference)"),
    _Place("torch.ao.nn.quantized.", _STATIC, "Quantized{}"),
    _Place("torch.ao.nn.sparse.quantized.dynamic.", {"Linear": _FEATURES}, "SparseQuantizedDynamic{}"),
    _Place("torch.ao.nn.sparse.quantized.", _STATIC, "SparseQuantized{}"),
    _Place("torch.ao.quantization.", {"PlaceholderObserver": ("dtype", "is_dynamic")}, "{}"),
)
_OWN_NAMES = {
    **{name: name for name in ("Sigmoid", "QFunctional", "FloatFunctional", "FXFloatFunctional", "Quantize")},
    **{name: name for name in ("DeQuantize", "PackedParameter", "LinearPackedParams", "EmbeddingPackedParams")},
    **{name: name for name in ("WeightedQuantizedModule", "ReferenceQuantizedModule")},
    "torch.ao.nn.quantized.dynamic.modules.rnn.RNNBase": "DynamicQuantizedRNN",
    "torch.ao.nn.quantized.dynamic.modules.rnn.RNNCellBase": "DynamicQuantizedRNNBase",
    "torch.ao.nn.quantized.reference.modules.rnn.RNNBase": "RNNBase",
    "torch.ao.nn.quantized.reference.modules.sparse.EmbeddingBag": "QuantizedEmbedding(Reference)",
    "torch.ao.nn.sparse.quantized.linear.LinearPackedParams": "SparseQuantizedLinearPackedParams",
}
_FUSED = re.compile(r"(Conv|Linear|BN)(?:Bn|ReLU|Add|Leaky|Tanh)+(\dd)?")
_HIDING = {
    "torch.ao.nn.intrinsic.quantized.dynamic.modules.linear_relu": ("LinearReLU",),
    "torch.ao.nn.intrinsic.quantized.modules.linear_relu": ("LinearReLU", "LinearLeakyReLU", "LinearTanh"),
    "torch.ao.nn.quantized.dynamic.modules.linear": ("Linear",),
    "torch.ao.nn.quantized.dynamic.modules.rnn": ("RNNBase", "LSTM", "GRU"),
    "torch.ao.nn.quantized.modules.embedding_ops": ("Embedding", "EmbeddingBag"),
    "torch.ao.nn.quantized.modules.linear": ("Linear",),
    "torch.ao.nn.sparse.quantized.dynamic.linear": ("Linear",),
    "torch.ao.nn.sparse.quantized.linear": ("Linear",),
}
_OLD_HOMES = re.compile(r"torch\.(quantization|nn\.(?:intrinsic|qat|quantizable|quantized|sparse\.quantized))\.")


def canonical(class_name: str) -> str:
    """The name that PyTorch has for the class today: what was quantised in `torch.nn` is now in `torch.ao.nn`."""
    return _OLD_HOMES.sub(r"torch.ao.\1.", class_name, count=1) if class_name.startswith("torch.") else class_name


def row(class_name: str) -> Parts | None:
    """How a class of that canonical name prints, if it is one of the quantised ones."""
    place = _place(class_name)
    return place.rows.get(_unfused(class_name.rpartition(".")[2]), ()) if place else None


def name(class_name: str) -> str:
    """Under which name a class of that canonical name prints: its last part, unless it is one of the quantised ones."""
    kind = class_name.rpartition(".")[2]
    place = _place(class_name)
    if place is None or kind.startswith("_"):
        return kind
    return _OWN_NAMES.get(class_name) or _OWN_NAMES.get(kind) or place.name.format(kind)


def hides_children(class_name: str) -> bool:
    """Whether a class of that canonical name prints without its children: those are where it packs its weights."""
    module, _, kind = class_name.rpartition(".")
    return kind in _HIDING.get(module, ())


def _place(class_name: str) -> _Place | None:
    if not class_name.startswith("torch.ao."):
        return None
    return next((place for place in _PLACES if class_name.startswith(place.package)), None)


def _unfused(kind: str) -> str:
    """The layer that a fused one extends: Conv2d of ConvBnReLU2d."""
    fused = _FUSED.fullmatch(kind)
    if not fused:
        return {"_ConvBnNd": "_ConvNd"}.get(kind, kind)
    return "Linear" if fused[1] == "Linear" else {"BN": "BatchNorm"}.get(fused[1], fused[1]) + fused[2]
