"""What values prove: every architecture, and the same model as two versions of a library have it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import statedict as sd
from statedict.ops.match.matching import match
from tests import architectures, naming_pairs, planted
from tests.ops.match.test_matching import FEW, found, score


@pytest.mark.parametrize("plant", planted.PLANTED)
@pytest.mark.parametrize("name", FEW)
def test_all_is_right(name: str, plant: str) -> None:
    target = planted.state(name)
    assert score(planted.PLANTED[plant](target), target, values=True) == (len(target), 0)


CONVERTED = ["mixtral", "vit", "mistral_large4", "kimi_k25", "deepseek_v3", "detr", "voxtral", "segformer", "qwen3_moe"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CONVERTED if name in architectures.names()])
def test_what_transformers_itself_converts(name: str, tmp_path: Path) -> None:
    """Files have the names of whoever trained a model: `transformers` renames, joins, cuts and turns as it loads."""
    live: Any = naming_pairs.randomized(architectures.make(name), 3)
    live.save_pretrained(tmp_path)
    source, state = sd.open(tmp_path), live.state_dict()
    made = match(source, sd.open(dict(state)), values=True)
    tree = made.apply(source).state_dict()
    assert made.proved
    assert [key for key in state if key not in tree or not np.array_equal(tree[key].numpy(), state[key].numpy())] == []


def test_names_that_lie() -> None:
    """Where values say that two are swapped, they are."""
    q, k = torch.randn(8, 8), torch.randn(8, 8)
    made = found({"q.weight": q, "k.weight": k}, {"q.weight": k, "k.weight": q}, values=True)
    assert {line.target: line.sources[0] for line in made.lines} == {"q.weight": "k.weight", "k.weight": "q.weight"}
    assert {line.reason for line in made.lines} == {"equal values"}


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_head_by_head(heads: int) -> None:
    parts = [torch.randn(16, 6) for _ in range(3)]
    whole = torch.stack([part.view(heads, -1, 6) for part in parts], 1).reshape(-1, 6)
    apart = {f"attn.{name}.weight": part for name, part in zip("qkv", parts, strict=True)}
    fused = {"attn.query_key_value.weight": whole}
    for source, target in ((apart, fused), (fused, apart)):
        assert score(source, target, values=True) == (len(target), 0)


def test_another_element_type() -> None:
    target = planted.state("llama")
    source = {name: value.double() for name, value in planted.synonyms(target).items()}
    assert score(source, {name: value.bfloat16().float() for name, value in target.items()}, values=True)[1] > 0
    made = match(sd.open({name: value.bfloat16() for name, value in planted.synonyms(target).items()}),
                 sd.open({name: value.bfloat16().float() for name, value in target.items()}))  # fmt: skip
    assert made.proved
    assert {line.confidence for line in made.lines} == {1.0}


def test_values_of_another_training_prove_nothing() -> None:
    target = planted.state("bert")
    source = {name: torch.randn(value.shape) for name, value in target.items() if value.is_floating_point()}
    made = found(planted.prefixed(source), {name: target[name] for name in source}, values=True)
    assert not made.proved
    assert made.complete


def test_fresh_norms_and_biases_prove_nothing() -> None:
    """Ones and zeros are the same in any model."""
    fresh = {"norm.weight": torch.ones(8), "norm.bias": torch.zeros(8), "fc.weight": torch.randn(8, 8)}
    made = found({f"a.{name}": value for name, value in fresh.items() if "norm" in name}, fresh, values=True)
    assert not made.proved


def test_what_was_trained_on_is_said_to_differ() -> None:
    source = planted.state("llama")
    target = source | {"lm_head.weight": torch.randn(99, 32)}
    line = next(line for line in found(source, target, values=True).lines if line.target == "lm_head.weight")
    assert line.reason == "the same name; values differ"


def test_equal_sums_are_no_proof() -> None:
    """The same elements in another order are another tensor."""
    rows = torch.randn(6, 4)
    z, other = torch.arange(9.0), rows[[1, 0, 2, 3, 4, 5]]
    made = found({"a.weight": rows, "z": z}, {"b.weight": other, "z": z}, values=True)
    assert made.proved
    assert not any("equal" in line.reason for line in made.lines if line.target == "b.weight")
