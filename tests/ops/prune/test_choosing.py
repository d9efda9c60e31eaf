"""Which tensors are pruned, and what protects the others."""

from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.errors import PatternError, StatedictError
from statedict.ops.prune.choosing import PROTECTED, Chosen, choose, fitting
from statedict.ops.prune.methods import method_of
from statedict.ops.select import named_tensors
from tests.seed_net import Net


def chosen(model: nn.Module, *patterns: str, amount: Any = 0.5, protect: Any = PROTECTED) -> Chosen:
    return choose(named_tensors(sd.open(model)), patterns, amount, protect)


def names(found: Chosen) -> list[list[str]]:
    return [[entry.name for entry in entries] for entries, _ in found.shares]


def test_what_is_protected() -> None:
    found = chosen(Net())
    assert names(found) == [["features.4.weight", "classifier.0.weight"]]
    assert {word: sorted(n for n, w in found.left_out.items() if w == word) for word in found.left_out.values()} == {
        "first": ["features.0.weight"],
        "last": ["classifier.3.weight"],
        "norms": ["features.1.bias", "features.1.weight", "features.5.bias", "features.5.weight"],
        "biases": ["classifier.0.bias", "classifier.3.bias", "features.0.bias", "features.4.bias"],
    }


def test_what_protects_can_be_changed() -> None:
    assert names(chosen(Net(), protect=()))[0] == [name for name, _ in Net().named_parameters()]
    assert names(chosen(Net(), protect=("norms", "biases")))[0] == [
        "features.0.weight", "features.4.weight", "classifier.0.weight", "classifier.3.weight",
    ]  # fmt: skip
    assert names(chosen(Net(), protect="last")) == names(chosen(Net(), protect=["last"]))
    with pytest.raises(StatedictError, match="`heads` in `protect` is not known; expected some of norms, biases"):
        chosen(Net(), protect=("heads",))


def test_where_an_embedding_takes_the_input_it_is_the_first() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 5))
    assert names(chosen(model)) == [["1.weight", "2.weight"]]
    model[3].weight = model[0].weight
    assert names(chosen(model)) == [["1.weight"]]


def test_amounts_by_pattern_of_which_the_first_counts() -> None:
    found = chosen(Net(), amount={"classifier.0.*": 0.9, "**": 0.1}, protect=("norms", "biases"))
    assert [(entry.name, amount) for entries, amount in found.shares for entry in entries] == [
        ("classifier.0.weight", 0.9), ("features.0.weight", 0.1), ("features.4.weight", 0.1),
        ("classifier.3.weight", 0.1),
    ]  # fmt: skip


def test_patterns() -> None:
    assert names(chosen(Net(), "features.**")) == [["features.4.weight"]]
    with pytest.raises(PatternError, match=r"`feature\.\*\*` matches no name; closest:"):
        chosen(Net(), "feature.**")
    with pytest.raises(PatternError, match=r"matches no name"):
        chosen(Net(), amount={"nothing": 0.5})
    with pytest.raises(StatedictError, match=r"nothing is left to prune: `features\.0\.weight` .*\(first, biases\)"):
        chosen(Net(), "features.0.*")


def test_what_holds_no_floating_point_numbers_is_left_out() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(3, 3, dtype=torch.int64), requires_grad=False)

    with pytest.raises(StatedictError, match=r"int64, no plain floating-point numbers"):
        chosen(Counting())
    with pytest.raises(StatedictError, match=r"there is nothing to prune: no parameters"):
        chosen(nn.ReLU())


def test_shapes_that_do_not_fit_are_left_out() -> None:
    found = fitting(chosen(Net()), method_of("2:4"))
    assert names(found) == [["classifier.0.weight"]]
    assert found.left_out["features.4.weight"] == "the shape [9, 6, 3, 3] has no multiple of 4 in dimension 1"
    with pytest.raises(StatedictError, match="nothing is left to prune"):
        fitting(chosen(Net(), "features.4.*"), method_of("2:4"))
