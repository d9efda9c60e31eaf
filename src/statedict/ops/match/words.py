"""What the parts of a name say: words that several libraries have for the same, and those that tell things apart."""

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_TRAILING = re.compile(r"(.*?)[_\-]?(\d{1,9})", re.ASCII)

_ROLES: dict[str, str] = {
    role: said
    for said, roles in {
        "weight": "weight w kernel gamma scale g gain lambda1 lambda data embedding embeddings",
        "bias": "bias b beta offset",
        "running_mean": "running_mean moving_mean mean",
        "running_var": "running_var moving_variance moving_var var",
        "num_batches_tracked": "num_batches_tracked",
    }.items()
    for role in roles.split()
}
_ROLE_ENDS = ("weight", "bias", "kernel", "scale_inv", "scales", "zeros")

_MEANINGS: dict[str, str] = {
    word: said
    for said, words in {
        # which matrix of an attention
        "q": "q query queries wq",
        "k": "k key keys wk",
        "v": "v value values val wv",
        "q k v": "qkv wqkv",
        "k v": "kv wkv",
        "o": "wo",
        "out": "out output o",
        # which of a feed-forward block
        "gate": "gate",
        "up": "up",
        "down": "down",
        # what kind of block
        "attn": "attn attention att mha attentions",
        "mlp": "mlp ffn ff feedforward",
        "norm": "norm ln layernorm rmsnorm bn batchnorm normalization norms",
        "embed": "embed embeddings embedding emb embeds embedder",
        "expert": "expert experts",
        "shared": "shared",
        "router": "router",
        # which of several
        "word": "word words token tokens tok vocab",
        "position": "position positions positional pos wpe",
        "segment": "type segment",
        "head": "head classifier logits score classification",
        "class": "cls class",
        "self": "self",
        "cross": "cross encdec crossattention",
        "encoder": "encoder enc",
        "decoder": "decoder dec",
        "vision": "vision visual image img vit pixel",
        "text": "text language lang",
        "audio": "audio speech",
        "patch": "patch patches",
        "conv": "conv convolution conv1d conv2d depthwise dwconv",
        "downsample": "downsample downsampling shortcut reduction",
        "pre": "pre before input",
        "post": "post after",
        "final": "final last",
        "scale": "gamma ls lambda layerscale",
        # what says little
        "": "layer layers block blocks h module modules model base net network main proj projection dense linear lin "
        "fc c to w the in wrapped orig mod fn backbone transformer",
    }.items()
    for word in words.split()
}
_PHRASES: dict[str, str] = {
    part: said
    for said, parts in {
        "word embed": "wte embed_tokens tok_embeddings token_embedding word_embeddings",
        "position embed": "wpe embed_positions pos_embed pos_embedding positional_embedding",
        "mlp": "feed_forward intermediate DenseReluDense",
        "norm": "layer_norm LayerNorm batch_norm group_norm rms_norm",
        "norm pre attn": "attention_norm attn_norm input_layernorm layernorm_before ln_attn norm_attn attn_ln "
        "attn_layer_norm pre_attention_layernorm",
        "norm pre mlp": "ffn_norm mlp_norm layernorm_after ln_mlp norm_mlp mlp_ln ffn_layer_norm "
        "pre_feedforward_layernorm mlp_layer_norm",
        "norm post": "post_attention_layernorm post_attention_norm",
        "self attn": "self_attn self_attention SelfAttention",
        "cross attn": "encoder_attn EncDecAttention multihead_attn encoder_attention",
        "q k v": "query_key_value in_proj Wqkv c_attn qkv_proj to_qkv qkv",
        "k v": "key_value kv_proj to_kv",
        "gate up": "gate_up_proj gate_up w12 wi_fused gate_and_up_proj",
        "up gate": "up_gate_proj up_gate",
        "gate": "w1 gate_proj wi_0",
        "up": "fc1 c_fc linear1 lin1 fc_in dense_h_to_4h wi fc_1 w3 wi_1",
        "down": "fc2 linear2 lin2 fc_out dense_4h_to_h fc_2 w2",
        "head": "lm_head embed_out",
        "shared expert": "shared_expert shared_experts",
    }.items()
    for part in parts.split()
}
"""Parts of names that mean more, or another thing, than their words."""
_TELLING = (
    frozenset("qkv") | {"o"},
    frozenset({"gate", "up", "down"}),
    frozenset({"word", "position", "segment", "patch", "head", "class"}),
    frozenset({"encoder", "decoder"}),
    frozenset({"self", "cross"}),
    frozenset({"vision", "text", "audio"}),
    frozenset({"attn", "mlp"}),
)
"""Words of which two tensors that are the same cannot have different ones."""
_WEIGHTY = _TELLING[0] | _TELLING[1] | _TELLING[2]
_SLIGHT = 0.25
_FEWEST_LETTERS = 3
_KNOWN = frozenset(word for said in (*_MEANINGS.values(), *_PHRASES.values()) for word in said.split())


class Number(NamedTuple):
    """A number in a name, and which it is among those beside it."""

    value: int
    rank: int
    of: int
    stem: str = ""
    """What stands before it: `norm` in `norm1`."""

    def is_as(self, other: "Number") -> bool:
        """Whether both count the same: by rank where as many are beside them, so that counting from 1 is as from 0."""
        return self.rank == other.rank if self.of == other.of else self.value == other.value

    def is_comparable(self, other: "Number") -> bool:
        """Whether both count the same: as many, or what is called alike; a place in a row is no `norm1`.

        Where there is but one, it tells nothing.
        """
        return max(self.of, other.of) > 1 and (self.of == other.of or meaning(self.stem) == meaning(other.stem))


@cache
def meaning(part: str) -> tuple[str, ...]:
    """The words of a part of a name, in one spelling; without numbers."""
    if part in _PHRASES:
        return tuple(_PHRASES[part].split())
    stem = number_in(part)
    if stem is not None and stem[0]:
        return meaning(stem[0])
    lower = [word.lower() for word in _WORDS.findall(part) if not word.isdigit()]
    phrase = _PHRASES.get("_".join(lower))
    if phrase is not None:
        return tuple(phrase.split())
    return tuple(said for word in lower for said in _said(word))


def _said(word: str) -> list[str]:
    return _MEANINGS.get(word, word).split() or [f"~{word}"]


def weight_of(word: str) -> float:
    """How much it tells: words of no meaning little."""
    if word.startswith("~"):
        return _SLIGHT
    return 2.0 if word in _WEIGHTY else 1.0


def is_short_for(one: str, other: str) -> bool:
    """Whether one word is the begin of another: `dist` of `distillation`. Of words with a meaning none is."""
    few, many = sorted((one, other), key=len)
    return len(few) >= _FEWEST_LETTERS and many.startswith(few) and not {few, many} & _KNOWN


def contradict(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether words say that two tensors are not the same: one is of a query, the other of a key."""
    first, second = set(one), set(other)
    for group in _TELLING:
        here, there = first & group, second & group
        if here and there and not here & there:
            return True
    return False


def role_of(local: str) -> tuple[str, str]:
    """The last part of a name as what it names and the role: `in_proj_weight` is the `weight` of `in_proj`."""
    if local in _ROLES:
        return "", _ROLES[local]
    for end in _ROLE_ENDS:
        if local.endswith(f"_{end}"):
            return local[: -len(end) - 1], _ROLES.get(end, end)
    return local, "weight"


def number_in(part: str) -> tuple[str, int] | None:
    """What stands before the number at the end of a part, and the number; None where it ends with none."""
    found = _TRAILING.fullmatch(part)
    return None if found is None else (found[1], int(found[2]))
