"""The KV cache of a language model, told by its `config.json`: bytes for each token that it has read or written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from statedict.dtypes import DTYPES, DType, dtype
from statedict.narrow import is_dict, is_list
from statedict.opaque import Opaque
from statedict.tree.module import Module

_PARTS = ("text_config", "decoder", "llm_config", "language_config", "thinker_config")
"""Where models of several parts keep the configuration of the one that writes text."""
_LAYERS = ("decoder_layers", "num_decoder_layers", "num_hidden_layers", "n_layer", "num_layers", "n_layers")
HEADS = (
    "decoder_attention_heads",
    "num_decoder_attention_heads",
    "num_attention_heads",
    "attention_heads",
    "n_head",
    "num_heads",
    "n_heads",
)
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
_HEAD_SIZES = ("head_dim", "d_kv", "attention_head_dim", "kv_channels")
_SIZES = ("hidden_size", "d_model", "n_embd", "dim")
_WRITERS = ("CausalLM", "ConditionalGeneration", "LMHead", "Generation")
"""Parts of the names of classes that write one token after the other; others keep no cache."""
_WINDOWED = ("sliding_attention", "chunked_attention")
_WITHOUT = ("linear_attention", "conv", "mamba", "recurrent", "ssm", "mlp")
"""Kinds of layers that keep a state of one size, or nothing."""


@dataclass(frozen=True, slots=True)
class Cache:
    """What attention keeps of each token."""

    per_token: int
    """Bytes, of all layers."""
    layers: int
    """How many layers keep something."""
    width: int
    """Elements that each of them keeps: keys and values of all heads, or what multi-head latent attention keeps."""
    dtype: DType
    windowed: int = 0
    """How many of the layers keep only the last `window` tokens."""
    window: int | None = None

    def nbytes(self, tokens: int) -> int:
        """Bytes after so many tokens of one sequence."""
        each = self.dtype.nbytes(self.width)
        kept = tokens if self.window is None else min(tokens, self.window)
        return each * ((self.layers - self.windowed) * tokens + self.windowed * kept)


def cache_of(model: Module, kept_as: DType | None = None) -> Cache | None:
    """The KV cache of a model whose attribute `config` tells its heads; None where there is none, or it keeps no cache.

    Elements are `kept_as` that type; else what the configuration names, or bfloat16.
    """
    config = _fields(model.attributes.get("config"))
    if config is None or not _writes(config):
        return None
    whole = config
    for part in _PARTS:
        config = _fields(config.get(part)) or config
    layers, width = _layers(config), _width(config)
    if layers is None or width is None or config.get("per_layer_config"):
        return None  # or the layers differ, in ways that only the model's code knows
    kept_as = kept_as or _dtype(config) or _dtype(whole) or DTYPES["bfloat16"]
    kinds = config.get("layer_types")
    window = config.get("sliding_window") or config.get("attention_chunk_size")
    windowed = sum(kind in _WINDOWED for kind in kinds[:layers]) if is_list(kinds) else 0
    if is_list(kinds):
        layers = sum(kind not in _WITHOUT for kind in kinds)
    shared = _number(config, ("num_kv_shared_layers",)) or 0
    layers -= shared
    if not isinstance(window, int):
        windowed, window = 0, None
    per_token = layers * kept_as.nbytes(width)
    return Cache(per_token, layers, width, kept_as, windowed, window if windowed else None)


def _fields(config: Any) -> Mapping[str, Any] | None:
    """A configuration as a dict: that of a file, or of the object that a live model keeps."""
    if isinstance(config, Opaque):
        return config.attributes
    return config if is_dict(config) else None


def _writes(config: Mapping[str, Any]) -> bool:
    classes = config.get("architectures")
    if config.get("is_decoder") is True or not (is_list(classes) and classes):
        return True
    return any(word in str(name) for name in classes for word in _WRITERS)


def _layers(config: Mapping[str, Any]) -> int | None:
    return _number(config, _LAYERS)


def _width(config: Mapping[str, Any]) -> int | None:
    """Elements that one layer keeps of one token."""
    latent, rotary = _number(config, ("kv_lora_rank",)), _number(config, ("qk_rope_head_dim",))
    if latent and rotary:
        return latent + rotary
    heads, size = _number(config, HEADS), _number(config, _HEAD_SIZES)
    if heads is None:
        return None
    if size is None:
        hidden = _number(config, _SIZES)
        if not hidden:
            return None
        size = hidden // heads
    kept = 1 if config.get("multi_query") is True and not config.get("new_decoder_architecture") else None
    return 2 * (kept or _number(config, KV_HEADS) or heads) * size


def _number(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The first of those fields that is a positive number."""
    found = (config.get(name) for name in names)
    return next((value for value in found if type(value) is int and value > 0), None)


def _dtype(config: Mapping[str, Any]) -> DType | None:
    named = config.get("dtype") or config.get("torch_dtype")
    if isinstance(named, DType):
        return named
    try:
        return dtype(named) if isinstance(named, str) else None
    except ValueError:
        return None
