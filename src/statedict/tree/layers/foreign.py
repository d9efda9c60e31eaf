"""How the classes of other libraries print, where these say it themselves. The first row that fits counts.

A row fits a class by the pattern of its full name and by attributes or tensors that it has. Printing nothing is a row.
"""

from fnmatch import fnmatchcase
from typing import NamedTuple

from statedict.tree.layers.parts import MISSING, Layer, Part, Parts, has, length_of, named, shape_of


class _Row(NamedTuple):
    pattern: str
    needs: str
    parts: Parts


def foreign(layer: Layer) -> Parts | None:
    """How that layer prints, where its class is in the table."""
    name = layer.class_name or ""
    for pattern, needs, parts in _TABLE:
        if fnmatchcase(name, pattern) and all(layer.get(each) is not MISSING for each in needs.split()):
            return parts
    return None


def _fraction(path: str) -> Part:
    """`path=0.123`: rounded to three digits."""

    def part(layer: Layer) -> str | None:
        value = layer.get(path)
        return f"{path}={value:0.3f}" if isinstance(value, int | float) else None

    return part


_EPS = named("variance_epsilon", "eps")

_TABLE: tuple[_Row, ...] = (
    # Root mean square norms of transformers: siblings that differ in the name of epsilon, or have no weight.
    _Row("transformers.*.MambaRMSNorm", "weight variance_epsilon", (length_of("weight"), _EPS)),
    _Row("transformers.*.Mamba2RMSNorm", "", ()),
    _Row("transformers.*.xLSTMRMSNorm", "", ()),
    _Row("transformers.*UnweightedRMSNorm", "", ()),
    _Row("transformers.*WeightlessRMSNorm", "eps", ("eps",)),
    _Row("transformers.*RMSNorm", "with_scale", ()),
    _Row("transformers.*RMSNorm", "weight variance_epsilon", (shape_of("weight"), _EPS)),
    _Row("transformers.*RMSNorm", "weight eps", (shape_of("weight"), "eps")),
    _Row("transformers.*RMSNorm", "eps", ("eps",)),
    _Row("transformers.*.Llama4TextL2Norm", "eps", ("eps",)),
    # The rest of transformers.
    _Row("transformers.*DropPath", "drop_prob", (named("drop_prob", "p"),)),
    _Row("transformers.*.Conv1D", "nf nx", ("nf", "nx")),
    _Row(
        "transformers.*.IdeficsDecoupledEmbedding",
        "num_additional_embeddings",
        ("num_embeddings", "num_additional_embeddings", "embedding_dim", "partially_freeze"),
    ),
    _Row(
        "transformers.*.IdeficsDecoupledLinear",
        "out_additional_features",
        ("in_features", "out_features", "out_additional_features", has("bias"), "partially_freeze"),
    ),
    _Row(
        "transformers.integrations.gemma_quant.QuantizedLinear",
        "num_bits",
        ("in_features", "out_features", has("bias"), "num_bits"),
    ),
    _Row(
        "transformers.integrations.gemma_quant.QuantizedEmbedding",
        "num_bits",
        ("num_embeddings", "embedding_dim", "num_bits", named("scalar_embed_scale", "embed_scale")),
    ),
    # Other libraries.
    _Row("timm.*.DropPath", "drop_prob", (_fraction("drop_prob"),)),
    _Row("torchvision.ops.*.StochasticDepth", "p mode", ("p", "mode")),
    _Row("torchvision.ops.*.FrozenBatchNorm2d", "weight eps", (length_of("weight"), "eps")),
    _Row("bitsandbytes.nn.*.Linear*", "in_features out_features", ("in_features", "out_features", has("bias"))),
)
