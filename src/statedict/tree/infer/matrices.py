"""Layers whose weight has two dimensions: linear ones, embeddings, and transformers' `Conv1D`, which is transposed."""

import re

from statedict.tree.infer.places import TRANSPOSED, Place, Shape, nearest
from statedict.tree.infer.weights import bias_of

_EMBEDDING = re.compile(
    r"embed|embd|(^|_)emb(s|$|_)|^wte$|^wpe$|codebook|relative_attention_bias|(^|_)tokens?$|^shared$|lookup"
    r"|quer(y|ies)_(feat|features|pos)|reference_points|bias_values|position_table"
)
_NO_EMBEDDING = re.compile(
    r"proj|linear|dense|conv|mlp|fc\d?$|gate|router|head|mapping|unembed|embed_out|^lm|out_embed|patch|decoder$"
)
_SQUARE = "?Linear"


def kind(place: Place, weight: Shape) -> str | None:
    """Linear, Embedding, Conv1D (transformers' class), or None."""
    bias = bias_of(place)
    rows, columns = weight
    if bias is None:
        return _without_bias(place)
    if len(bias) != 1 or bias[0] not in weight:
        return None
    if rows == columns:
        return _SQUARE
    return "Linear" if bias[0] == rows else "Conv1D"


def _without_bias(place: Place) -> str | None:
    title = place.title
    if not title:
        return None
    return "Embedding" if _EMBEDDING.search(title) and not _NO_EMBEDDING.search(title) else "Linear"


def _square(place: Place) -> str | None:
    """A square one is transposed where the layers around it are."""
    of_gpt2 = place.name.startswith("c_") or place.name == "q_attn"
    return "Conv1D" if of_gpt2 and nearest(place, TRANSPOSED) else "Linear"


AMONG = {_SQUARE: _square}
