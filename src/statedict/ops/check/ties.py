"""Weights that the configuration beside a model ties, and that differ in the file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from statedict.narrow import is_dict
from statedict.ops.check.finding import Finding
from statedict.ops.fingerprint import fingerprints
from statedict.ops.select import NamedTensor
from statedict.tree.module import Module

_SHARED = "shared"
"""The embedding that encoder and decoder have in common."""
_INPUTS = (
    "decoder.embed_tokens", "embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "word_embedding",
    "tokens_embed", "backbone.embeddings",
)  # fmt: skip
"""Embeddings, the one that is the output's first where a model has several."""
_OUTPUTS = (
    "lm_head", "lm_head.decoder", "embed_out", "output_projection", "predictions.decoder", "proj_out",
    "generator_lm_head", "vocab_projector", "pred_layer.proj",
)  # fmt: skip
_BIASES = (("predictions.decoder.bias", "predictions.bias"), ("lm_head.decoder.bias", "lm_head.bias"))
_DEFAULTS = """
albert bart bert bert-generation big_bird bigbird_pegasus biogpt blenderbot blenderbot-small bloom camembert cohere
cohere2 convbert ctrl deberta deberta-v2 distilbert electra ernie ernie4_5 esm falcon falcon_mamba flaubert fnet
funnel gemma gemma2 gemma3 gpt2 gpt_bigcode gpt_neo gpt_neox_japanese ibert jetmoe layoutlm led lfm2 longformer longt5
luke m2m_100 mamba marian mbart megatron-bert mobilebert moonshine mpnet mpt mra mt5 mvp nllb-moe nystromformer opt
pegasus pegasus_x plbart prophetnet recurrent_gemma roberta roberta-prelayernorm roc_bert roformer smollm3
speech_to_text squeezebert starcoder2 switch_transformers t5gemma trocr vaultgemma whisper xglm xlm xlm-roberta
xlm-roberta-xl xmod yoso zamba zamba2
"""
TIED_UNLESS_SAID = frozenset(_DEFAULTS.split())
"""Those `model_type`s whose embedding is the output's where `config.json` does not say: `transformers` leaves out of it
what is as its class has it by default."""


def broken_ties(model: Module, entries: Sequence[NamedTensor]) -> Iterator[Finding]:
    """What a model of that configuration has once, and the file twice, with different values.

    It is the output weight of a language model and its embedding, the embeddings of an encoder and a decoder, and the
    two names that some output biases have.
    """
    config = model.attributes.get("config")
    if not is_dict(config) or not _are_tied(config):
        return
    said = config.get("tie_word_embeddings") is not None or is_dict(config.get("text_config"))
    for first, other in _pairs(entries):
        if first.tensor is other.tensor:
            continue
        digests = fingerprints({"first": first.tensor, "other": other.tensor})
        if digests.get("first") != digests.get("other"):
            yield _finding(first, other, said=said)


def _finding(first: NamedTensor, other: NamedTensor, *, said: bool) -> Finding:
    why = "(`tie_word_embeddings`)" if said else "(by default, since it has no `tie_word_embeddings`)"
    return Finding(
        "ties",
        other.name,
        "warning",
        f"it differs from `{first.name}`, though `config.json` says that they are one {why}",
        "what loads it will take one for both: set `tie_word_embeddings` to false, or drop the wrong one",
        {"tied_to": first.name, "dtypes": [first.info.dtype.name, other.info.dtype.name]},
    )


def _are_tied(config: Mapping[Any, Any]) -> bool:
    inner: Any = config.get("text_config")
    held: Mapping[Any, Any] = inner if is_dict(inner) and "tie_word_embeddings" not in config else config
    said = held.get("tie_word_embeddings")
    return said is True or (said is None and held.get("model_type") in TIED_UNLESS_SAID)


def _pairs(entries: Sequence[NamedTensor]) -> Iterator[tuple[NamedTensor, NamedTensor]]:
    """What is to be one: an embedding with each that is tied to it, a bias with its other name."""
    shared = _named(entries, [f"{_SHARED}.weight"])
    inputs = next((found for name in _INPUTS if (found := _named(entries, [f"{name}.weight"]))), list[NamedTensor]())
    heads = _named(entries, [f"{name}.weight" for name in _OUTPUTS])
    if len(shared) == 1:
        yield from ((shared[0], each) for each in _named(entries, ["embed_tokens.weight"]))
    embedding = shared or inputs
    if len(embedding) == 1:
        yield from ((embedding[0], head) for head in heads)
    for names in _BIASES:
        other, first = (_named(entries, [name]) for name in names)
        if len(first) == len(other) == 1:
            yield first[0], other[0]


def _named(entries: Sequence[NamedTensor], ends: Sequence[str]) -> list[NamedTensor]:
    """The tensors whose names end so, whole parts, each once."""
    found = {id(each.tensor): each for each in entries if f".{each.name}".endswith(tuple(f".{end}" for end in ends))}
    return list(found.values())
