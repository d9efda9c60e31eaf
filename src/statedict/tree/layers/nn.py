"""How each class of `torch.nn` prints: one row a family. `tests/tree/test_layers.py` compares with the classes.

A class in no row prints no attributes. Names that PyTorch has given up stay, since old files hold them.
"""

from collections.abc import Callable
from typing import Literal, cast, get_args

from statedict.opaque import Opaque
from statedict.tree.layers.parts import (
    MISSING,
    Layer,
    Parts,
    bare,
    flag,
    has,
    named,
    quoted,
    unless,
    unless_all,
    unless_has,
)
from statedict.tree.layers.values import written

Container = Literal["Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"]
CONTAINERS: dict[str, Container] = {
    **{f"torch.nn.{kind}": kind for kind in get_args(Container)},
    **{f"torch.nn.modules.container.{kind}": kind for kind in get_args(Container)},
    "torch.nn.utils.parametrize.ParametrizationList": "ModuleList",
}


def _upsample(layer: Layer) -> str | None:
    for path in ("scale_factor", "size"):
        value = layer.get(path)
        if value is not MISSING and value is not None:
            return f"{path}={written(value)}"
    return None if layer.get("size") is MISSING else "size=None"


_TYPENAMES = {
    "float64": "Double",
    "float32": "Float",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "complex128": "ComplexDouble",
    "complex64": "ComplexFloat",
    "complex32": "ComplexHalf",
    "int64": "Long",
    "int16": "Short",
    "int8": "Char",
    "int32": "Int",
    "uint8": "Byte",
}


def _typename(dtype: object) -> str:
    """The class that PyTorch names a CPU tensor of that element type by: "torch.FloatTensor"."""
    name = str(dtype).removeprefix("torch.")
    plain = _TYPENAMES.get(name) or name.removeprefix("q").capitalize().replace("Uint", "UInt")
    return f"torch.quantized.Q{plain}Tensor" if name.startswith("q") else f"torch.{plain}Tensor"


def _dtype(dtype: object) -> str:
    return f"torch.{str(dtype).removeprefix('torch.')}"


def _entry(layer: Layer, name: str, written_dtype: Callable[[object], str]) -> str:
    """One line of a parameter list or dict. A tensor that is a mere attribute was never registered as a parameter."""
    value = layer.get(name)
    shape = layer.shape(name)
    if shape is None:
        kind = value.kind if isinstance(value, Opaque) else type(value).__name__
        if name in layer.children:
            kind = (layer.children[name].class_name or "Module").rpartition(".")[2]
        return f"  ({name}): Object of type: {kind}"
    role = "Tensor" if name in layer.attributes else "Parameter"
    dtype = written_dtype(getattr(value, "dtype", None))
    return f"  ({name}): {role} containing: [{dtype} of size {'x'.join(map(str, shape))}]"


def _parameter_list(layer: Layer) -> str:
    names = {name for name in (*layer.tensors, *layer.attributes, *layer.children) if name.isdecimal()}
    size = layer.get("_size")
    if isinstance(size, int):  # since PyTorch 1.12: what is behind it was assigned by name
        names &= {str(number) for number in range(min(size, len(names)))}
    return "\n".join(_entry(layer, name, _dtype) for name in sorted(names, key=lambda name: (len(name), name)))


def _parameter_dict(layer: Layer) -> str:
    keys = layer.get("_keys")
    ordered = cast("dict[object, None]", keys) if isinstance(keys, dict) else layer.tensors
    names = [
        name for name in ordered if isinstance(name, str) and (name in layer.children or layer.get(name) is not MISSING)
    ]
    return "\n".join(_entry(layer, name, _typename) for name in names)


_CONV: Parts = (
    bare("in_channels"),
    bare("out_channels"),
    "kernel_size",
    "stride",
    unless_all("padding", 0),
    unless_all("dilation", 1),
    unless_all("output_padding", 0),
    unless("groups", 1),
    unless_has("bias"),
    unless("padding_mode", "zeros"),
)
_NORM: Parts = (
    bare("num_features"),
    "eps",
    "momentum",
    "affine",
    has("bias"),
    "track_running_stats",
)
_RNN: Parts = (
    bare("input_size"),
    bare("hidden_size"),
    unless("proj_size", 0),
    unless("num_layers", 1),
    unless("bias", True),
    unless("batch_first", False),
    unless("dropout", 0),
    unless("bidirectional", False),
)

_FAMILIES: tuple[tuple[str, Parts], ...] = (
    ("Linear LazyLinear NonDynamicallyQuantizableLinear _LinearWithBias", ("in_features", "out_features", has("bias"))),
    ("Bilinear", ("in1_features", "in2_features", "out_features", has("bias"))),
    ("_ConvNd _ConvTransposeNd _ConvTransposeMixin", _CONV),
    ("Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d", _CONV),
    ("LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d", _CONV),
    ("_NormBase _BatchNorm BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm", _NORM),
    ("_LazyNormBase LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d", _NORM),
    ("_InstanceNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d", _NORM),
    ("LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d", _NORM),
    ("LayerNorm", (bare("normalized_shape"), "eps", "elementwise_affine", has("bias"))),
    ("RMSNorm", (bare("normalized_shape"), "eps", "elementwise_affine")),
    ("GroupNorm", (bare("num_groups"), bare("num_channels"), "eps", "affine", has("bias"))),
    ("LocalResponseNorm CrossMapLRN2d", (bare("size"), "alpha", "beta", "k")),
    (
        "Embedding",
        (
            bare("num_embeddings"),
            bare("embedding_dim"),
            unless("padding_idx", None),
            unless("max_norm", None),
            unless("norm_type", 2),
            unless("scale_grad_by_freq", False),
            unless("sparse", False),
        ),
    ),
    (
        "EmbeddingBag",
        (
            bare("num_embeddings"),
            bare("embedding_dim"),
            unless("max_norm", None),
            unless("norm_type", 2),
            unless("scale_grad_by_freq", False),
            quoted("mode"),
            unless("padding_idx", None),
        ),
    ),
    ("RNNBase RNN LSTM GRU", _RNN),
    (
        "RNNCellBase RNNCell LSTMCell GRUCell",
        (bare("input_size"), bare("hidden_size"), unless("bias", True), unless("nonlinearity", "tanh")),
    ),
    ("_DropoutNd Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout", ("p", "inplace")),
    ("ReLU ReLU6 SELU SiLU Mish", (flag("inplace"),)),
    ("ELU CELU", ("alpha", flag("inplace"))),
    ("LeakyReLU", ("negative_slope", flag("inplace"))),
    ("RReLU", ("lower", "upper", flag("inplace"))),
    ("Hardtanh", ("min_val", "max_val", flag("inplace"))),
    ("Threshold", ("threshold", "value", flag("inplace"))),
    ("PReLU", ("num_parameters",)),
    ("GELU", (quoted("approximate"),)),
    ("Softplus", ("beta", "threshold")),
    ("Hardshrink Softshrink", (bare("lambd"),)),
    ("GLU Softmax Softmin LogSoftmax", ("dim",)),
    ("_MaxPoolNd MaxPool1d MaxPool2d MaxPool3d", ("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
    ("_AvgPoolNd AvgPool1d AvgPool2d AvgPool3d", ("kernel_size", "stride", "padding")),
    ("_MaxUnpoolNd MaxUnpool1d MaxUnpool2d MaxUnpool3d", ("kernel_size", "stride", "padding")),
    ("_LPPoolNd LPPool1d LPPool2d LPPool3d", ("norm_type", "kernel_size", "stride", "ceil_mode")),
    ("_AdaptiveAvgPoolNd AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d", ("output_size",)),
    ("_AdaptiveMaxPoolNd AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d", ("output_size",)),
    ("_ConstantPadNd ConstantPad1d ConstantPad2d ConstantPad3d", ("padding", "value")),
    ("ZeroPad1d ZeroPad2d ZeroPad3d", (bare("padding"),)),
    ("_CircularPadNd CircularPad1d CircularPad2d CircularPad3d", (bare("padding"),)),
    ("_ReflectionPadNd ReflectionPad1d ReflectionPad2d ReflectionPad3d", (bare("padding"),)),
    ("_ReplicationPadNd ReplicationPad1d ReplicationPad2d ReplicationPad3d", (bare("padding"),)),
    ("Upsample UpsamplingNearest2d UpsamplingBilinear2d", (_upsample, quoted("mode"))),
    ("PixelShuffle", ("upscale_factor",)),
    ("PixelUnshuffle", ("downscale_factor",)),
    ("ChannelShuffle", ("groups",)),
    ("Flatten", ("start_dim", "end_dim")),
    ("Unflatten", ("dim", "unflattened_size")),
    ("Fold", ("output_size", "kernel_size", "dilation", "padding", "stride")),
    ("Unfold", ("kernel_size", "dilation", "padding", "stride")),
    (
        "LinearCrossEntropyLoss",
        (
            named("linear.in_features", "in_features"),
            "num_classes",
            "out_features",
            has("linear.bias", "bias"),
            "reduction",
            "ignore_index",
            "label_smoothing",
            "options",
        ),
    ),
    ("ParameterList", (_parameter_list,)),
    ("ParameterDict", (_parameter_dict,)),
)
NN: dict[str, Parts] = {name: parts for names, parts in _FAMILIES for name in names.split()}
