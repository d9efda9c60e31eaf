"""What the tensors of a layer of known kind say of its arguments, and how it prints."""

# pyright: reportPrivateUsage=false

from collections.abc import Callable
from typing import TYPE_CHECKING

from statedict.tree import layers
from statedict.tree.infer import attention, recurrent
from statedict.tree.infer.places import Shape

if TYPE_CHECKING:
    from statedict.tree.module import Module

_Facts = dict[str, object]


def inferred_attributes(module: "Module") -> dict[str, object]:
    """The arguments of an inferred layer that the shapes of its tensors leave no doubt about, under PyTorch's names.

    `bias` is there only where there is none, as None. A convolution counts as ungrouped, unless it has one channel a
    group: then `in_channels` is left out.
    """
    kind = module.kind or ""
    rule = next((rule for names, rule in _RULES if kind.startswith(names)), None)
    shapes = _shapes(module)
    try:
        return {} if rule is None else rule(shapes)
    except (LookupError, ValueError):  # of the kind, but not stored as usual: parametrised, pruned
        return {}


def inferred_repr(module: "Module") -> str:
    """What stands between the brackets of an inferred layer, as far as it is known."""
    if module.quantization is not None:
        return str(module.quantization)
    name = "transformers.pytorch_utils.Conv1D" if module.kind == "Conv1D" else f"torch.nn.{module.kind}"
    known = inferred_attributes(module)
    text = layers.extra_repr(name, known, {**module._parameters, **module._buffers})
    # PyTorch writes the channels without their names, in first, which are not always known.
    return f"out_channels={text}" if "out_channels" in known and "in_channels" not in known else text


def _shapes(module: "Module") -> dict[str, Shape]:
    tensors = {**module._parameters, **module._buffers}
    return {name: held.info.shape for name, held in tensors.items() if held is not None and held.info.shape is not None}


def _without(shapes: dict[str, Shape], name: str = "bias") -> _Facts:
    return {} if name in shapes else {name: None}


def _linear(shapes: dict[str, Shape]) -> _Facts:
    outputs, inputs = shapes["weight"]
    return {"in_features": inputs, "out_features": outputs, **_without(shapes)}


def _bilinear(shapes: dict[str, Shape]) -> _Facts:
    outputs, first, second = shapes["weight"]
    return {"in1_features": first, "in2_features": second, "out_features": outputs, **_without(shapes)}


def _transposed_linear(shapes: dict[str, Shape]) -> _Facts:
    inputs, outputs = shapes["weight"]
    return {"nf": outputs, "nx": inputs}


def _embedding(shapes: dict[str, Shape]) -> _Facts:
    rows, columns = shapes["weight"]
    return {"num_embeddings": rows, "embedding_dim": columns}


def _convolution(shapes: dict[str, Shape]) -> _Facts:
    outputs, inputs, *kernel = shapes["weight"]
    known: _Facts = {"in_channels": inputs} if inputs > 1 or outputs == 1 else {}
    return {**known, "out_channels": outputs, "kernel_size": tuple(kernel), **_without(shapes)}


def _transposed(shapes: dict[str, Shape]) -> _Facts:
    inputs, per_group, *kernel = shapes["weight"]
    outputs = shapes["bias"][0] if "bias" in shapes else per_group
    grouped: _Facts = {"groups": outputs // per_group} if outputs > per_group else {}
    return {
        "in_channels": inputs,
        "out_channels": outputs,
        "kernel_size": tuple(kernel),
        **grouped,
        **_without(shapes),
    }


def _norm(shapes: dict[str, Shape]) -> _Facts:
    return {"normalized_shape": shapes["weight"], "elementwise_affine": True, **_without(shapes)}


def _rms_norm(shapes: dict[str, Shape]) -> _Facts:
    return {"normalized_shape": shapes["weight"], "elementwise_affine": True}


def _group_norm(shapes: dict[str, Shape]) -> _Facts:
    return {"num_channels": shapes["weight"][0], "affine": True}


def _batch_norm(shapes: dict[str, Shape]) -> _Facts:
    sizes = [shape[0] for shape in shapes.values() if shape]
    return {
        "num_features": sizes[0],
        "affine": "weight" in shapes,
        "track_running_stats": "running_mean" in shapes,
    }


def _prelu(shapes: dict[str, Shape]) -> _Facts:
    return {"num_parameters": shapes["weight"][0]}


_RULES: tuple[tuple[str | tuple[str, ...], Callable[[dict[str, Shape]], _Facts]], ...] = (
    ("Linear", _linear),
    ("Bilinear", _bilinear),
    ("Embedding", _embedding),
    ("ConvTranspose", _transposed),
    ("Conv1D", _transposed_linear),
    ("Conv", _convolution),
    ("LayerNorm", _norm),
    ("RMSNorm", _rms_norm),
    ("GroupNorm", _group_norm),
    (("BatchNorm", "InstanceNorm"), _batch_norm),
    ("PReLU", _prelu),
    (("LSTM", "GRU", "RNN"), recurrent.attributes),
    ("MultiheadAttention", attention.attributes),
)
