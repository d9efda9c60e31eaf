"""Which channels can go: those of layers in a row whose rules are known; whatever is not known stays, and is told."""

import copy
import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import statedict as sd
from tests.ops.shrink.networks import (
    least,
    masked,
    opened,
    settle,
)


def test_channels_that_padding_would_tell_stay() -> None:
    net = settle(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3, padding=1)), 0)
    with torch.no_grad():
        net[0].weight[1] = 0  # type: ignore[index]

    assert [row.after for row in sd.shrink(opened(net), dead=True).layers] == [3]
    sigmoid = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Sigmoid(), nn.Conv2d(3, 2, 3, padding=1))
    with pytest.raises(
        sd.StatedictError, match=r"channels of `0` \(Conv2d\) cannot go.*`2` \(Conv2d\).*pads with zeros"
    ):
        sd.shrink(opened(sigmoid), 0.5)


class Branching(nn.Module):
    """A model whose `forward` is code."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + self.body(values)


def test_what_code_does_is_not_guessed() -> None:
    net = Branching().double()
    tree = opened(net)

    with pytest.raises(sd.StatedictError, match=re.escape("the model is a Branching, and what its code does")):
        sd.shrink(tree, 0.5)
    inputs = torch.randn(3, 4, dtype=torch.float64)
    body: Any = net.body
    want = masked(body, list(body), {body[0]: least(body[0], 4, 1)})(inputs) + inputs
    small = sd.shrink(tree, 0.5, chains=["body"]).model.to_torch({f"{__name__}.Branching": Branching})
    torch.testing.assert_close(small(inputs), want)


def _named(**changes: Any) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 1), *changes.values(), nn.Conv2d(4, 1, 1))


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (_named(a=nn.GroupNorm(2, 4)), "`1` (GroupNorm) is no layer whose rule is known"),
        (_named(a=Branching()), "Branching) holds modules of its own"),
        (_named(a=nn.Conv2d(4, 4, 1, groups=4)), "`1` (Conv2d) has groups"),
        (nn.Sequential(nn.Linear(4, 4), nn.MaxPool1d(2), nn.Linear(2, 4)), "how its channels reach `2` (Linear)"),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.Linear(4, 4)), "how its channels reach `1` (Linear)"),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(2), nn.Linear(4, 4)), "flattens other dimensions"),
        (nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4)), "the last layer gives"),
        (nn.Sequential(*[nn.Linear(4, 4)] * 2), "`0` (Linear) is called more than once"),
        (nn.Sequential(nn.Linear(4, 4)), "what the last layer gives is what the chain gives"),
        (nn.Sequential(nn.ReLU()), "there is nothing to shrink"),
    ],
)  # fmt: skip
def test_what_is_not_known_stays(net: nn.Module, said: str) -> None:
    with pytest.raises(sd.StatedictError, match=re.escape(said)):
        sd.shrink(sd.open(net) if "parametrizations" in repr(net) else opened(net), 0.5)


def test_tied_weights_stay() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(3, 1))
    net[2].weight = net[0].weight

    shrunk = sd.shrink(opened(net), 0.5)

    assert [row.name for row in shrunk.layers] == ["3"]
    assert "holds other tensors" not in str(shrunk)


def test_a_state_dict_names_no_layers() -> None:
    with pytest.raises(sd.StatedictError, match="no whole model, which says the kinds of its layers"):
        sd.shrink(sd.open(nn.Linear(2, 2).state_dict()), 0.5)


@pytest.mark.parametrize(
    ("module", "lacking", "wrong"),
    [
        (nn.LeakyReLU(), "negative_slope", "steep"),
        (nn.BatchNorm1d(4), "num_features", 4.5),
        (nn.BatchNorm1d(4), "eps", None),
        (nn.Softplus(), "beta", 0),
    ],
)
def test_what_a_damaged_file_says_is_no_bug(module: nn.Module, lacking: str, wrong: Any) -> None:
    for change in ("gone", wrong):
        tree = opened(nn.Sequential(nn.Linear(4, 4), copy.deepcopy(module), nn.Linear(4, 4)))
        if change == "gone":
            del tree.get_submodule("1").attributes[lacking]
        else:
            tree.get_submodule("1").attributes[lacking] = change

        with pytest.raises(sd.StatedictError, match="lacks what its kind says of itself"):
            sd.shrink(tree, 0.5)
