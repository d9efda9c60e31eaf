"""Weights that the configuration beside a model ties, and that differ in the file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from statedict.narrow import is_dict
from statedict.ops.check.finding import Finding
from statedict.ops.fingerprint import fingerprints
from statedict.ops.select import NamedTensor
from statedict.tree.module import Module

_INPUTS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "shared", "word_embedding")
_OUTPUTS = ("lm_head", "embed_out", "output_projection", "predictions.decoder")


def broken_ties(model: Module, entries: Sequence[NamedTensor]) -> Iterator[Finding]:
    """The output weight of a language model that `tie_word_embeddings` says is its embedding, and that is another."""
    if not _are_tied(model.attributes.get("config")):
        return
    first, head = (_only(entries, names) for names in (_INPUTS, _OUTPUTS))
    if first is None or head is None or first.tensor is head.tensor:
        return
    digests = fingerprints({"first": first.tensor, "head": head.tensor})
    if digests.get("first") == digests.get("head"):
        return
    yield Finding(
        "ties",
        head.name,
        "warning",
        f"it differs from `{first.name}`, though `config.json` says that they are one (`tie_word_embeddings`)",
        "what loads it will take one for both: set `tie_word_embeddings` to false, or drop the wrong one",
        {"tied_to": first.name, "dtypes": [first.info.dtype.name, head.info.dtype.name]},
    )


def _are_tied(config: Any) -> bool:
    if not is_dict(config):
        return False
    inner: Any = config.get("text_config")
    held: Mapping[Any, Any] = inner if is_dict(inner) and "tie_word_embeddings" not in config else config
    return held.get("tie_word_embeddings") is True


def _only(entries: Sequence[NamedTensor], names: tuple[str, ...]) -> NamedTensor | None:
    """The one weight of a module of these names; None where there is none, or several."""
    found = [each for each in entries if f".{each.name}".endswith(tuple(f".{name}.weight" for name in names))]
    return found[0] if len({id(each.tensor) for each in found}) == 1 else None
