"""What parts of names mean."""

import pytest

from statedict.ops.match.words import Number, contradict, meaning, role_of

MEANINGS = {
    "q_proj": ["q"],
    "query": ["q"],
    "wq": ["q"],
    "to_k": ["k"],
    "qkv": ["q", "k", "v"],
    "query_key_value": ["q", "k", "v"],
    "LayerNorm": ["norm"],
    "layer_norm1": ["norm"],
    "ln_2": ["norm"],
    "BatchNorm": ["norm"],
    "word_embeddings": ["word", "embed"],
    "wpe": ["position", "embed"],
    "encoder_attn": ["cross", "attn"],
    "gate_up_proj": ["gate", "up"],
    "lm_head": ["head"],
    "zorp": ["zorp"],
}


@pytest.mark.parametrize("part", MEANINGS)
def test_one_spelling(part: str) -> None:
    assert [word for word in meaning(part) if not word.startswith("~")] == MEANINGS[part]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("q_proj", "key", True),
        ("q_proj", "query", False),
        ("encoder", "decoder", True),
        ("lm_head", "embed_tokens", True),
        ("mlp", "ln", False),
        ("qkv", "query", False),
    ],
)
def test_words_that_contradict(one: str, other: str, said: bool) -> None:
    assert contradict(meaning(one), meaning(other)) is said


@pytest.mark.parametrize(
    ("local", "role"),
    [
        ("weight", ("", "weight")),
        ("gamma", ("", "weight")),
        ("beta", ("", "bias")),
        ("moving_mean", ("", "running_mean")),
        ("in_proj_bias", ("in_proj", "bias")),
        ("pos_embed", ("pos_embed", "weight")),
    ],
)
def test_roles(local: str, role: tuple[str, str]) -> None:
    assert role_of(local) == role


def test_numbers_count_from_where_they_begin() -> None:
    assert Number(1, 0, 4).is_as(Number(0, 0, 4))
    assert not Number(1, 0, 4).is_as(Number(1, 1, 4))
    assert Number(1, 0, 2).is_as(Number(1, 1, 4))
