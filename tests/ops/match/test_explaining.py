"""`explained`: the line at the end of PyTorch's error that says what was meant, and none where nothing is known."""

import pytest
import torch

import statedict as sd
from statedict.ops.match.explaining import explained


def tree(*names: str, size: int = 3) -> sd.Module:
    return sd.open({name: torch.zeros(size + at) for at, name in enumerate(names)})


@pytest.mark.parametrize(
    ("given", "wanted", "said"),
    [
        (("a", "b"), ("a", "b"), []),
        (("m.a", "m.b"), ("a", "b"), ["All 2 names of the model are in the checkpoint's part `m`: pass `key='m'`."]),
        (
            ("x.y.a", "x.y.b", "x.y.z"),
            ("a", "b", "c"),
            ["2 of the 3 names of the model are in the checkpoint's part `x.y`: pass `key='x.y'`."],
        ),
        (("a", "b"), ("m.a", "m.b"), ["All 2 tensors are found with `match=True`, by `* = m.*`."]),
        (("a", "b", "c"), ("a", "b", "c", "d"), []),
    ],
)
def test_what_was_meant(given: tuple[str, ...], wanted: tuple[str, ...], said: list[str]) -> None:
    assert explained(tree(*given), tree(*wanted), None) == said


def test_what_was_tried_is_not_proposed_again() -> None:
    source, target = tree("fc.weight", "fc.bias"), tree("fc.weight", "fc.bias", "head.weight", "head.bias")
    found = sd.match(source, target)
    assert explained(source, target, found) == ["No tensor of the checkpoint is `head.weight`, `head.bias`."]
