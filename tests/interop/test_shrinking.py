"""Live models with fewer channels: they run, and compute what the whole ones do with the others set to zero."""

import copy
import re
import sys
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd

pytest.importorskip("torch_pruning")


class Residual(nn.Module):
    """Two branches that are added, so that their channels go together."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.branch = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.stem(images)
        return self.head((features + self.branch(features)).mean((2, 3)))


def settle(net: nn.Module) -> nn.Module:
    """The model with norms that have learnt something."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return net.eval()


def masked(net: nn.Module, small: nn.Module) -> nn.Module:
    """A copy of the model with zeros for the channels of layers and norms that the smaller one has not."""
    made = copy.deepcopy(net)
    theirs = dict(small.named_modules())
    with torch.no_grad():
        for name, module in made.named_modules():
            left: Any = theirs[name]
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
                gone = ~torch.isin(module.bias, left.bias)  # type: ignore[arg-type]
                module.weight[gone] = 0
                module.bias[gone] = 0  # type: ignore[index]
    return made


@pytest.mark.parametrize("norm", ["l1", "l2", "batchnorm"])
@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_channels_go_across_branches(norm: str, scope: str) -> None:
    torch.manual_seed(0)
    net, images = settle(Residual()), torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(net.state_dict())

    shrunk = sd.shrink_live(net, images, amount=0.5, norm=norm, scope=scope)

    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    torch.testing.assert_close(shrunk.net(images), masked(net, shrunk.net)(images))
    assert shrunk.after.parameters == sum(p.numel() for p in shrunk.net.parameters()) < shrunk.before.parameters
    assert shrunk.after.macs < shrunk.before.macs == sd.summary(net, example=images).macs
    assert shrunk.layers[0].after == shrunk.layers[1].after == 8
    assert shrunk.layers[-1].after == 5


def test_what_is_to_be_kept_is() -> None:
    net, images = settle(Residual()), torch.randn(2, 3, 8, 8)

    with pytest.raises(sd.PatternError, match="nothing"):
        sd.shrink_live(net, images, amount=0.5, keep=["nothing"])
    assert [row.after for row in sd.shrink_live(net, images, amount=0.5, keep=["branch"]).layers] == [16, 16, 5]


def test_it_prints_what_has_become_of_the_model() -> None:
    shrunk = sd.shrink_live(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(1, 4), amount=0.5)

    lines = str(shrunk).splitlines()
    assert lines[:3] == [
        "layer  kind    channels  left",
        "0      Linear         8     4",
        "2      Linear         2     2",
    ]
    assert lines[4:7] == [
        "parameters: 58 to 30 (51.7%)",
        "bytes: 232 to 120 (51.7%)",
        "multiply-accumulates: 48 to 24 (50.0%)",
    ]
    assert re.fullmatch(r"milliseconds: [\d.e-]+ to [\d.e-]+ \([\d.]+%\)", lines[7])


class Pair(nn.Module):
    """Two outputs, of which the first is not that of the layer called last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(4, 8)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.first(left), self.second(right)


def test_a_model_that_would_give_less_is_refused() -> None:
    given = torch.randn(1, 4), torch.randn(1, 4)

    with pytest.raises(sd.StatedictError, match=re.escape("gave [[1, 8], [1, 8]] and would give [[1, 4], [1, 8]]")):
        sd.shrink_live(Pair(), given, amount=0.5)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"amount": 1.0}, "expected a share of the channels below 1.0"),
        ({"amount": 3}, "expected a share of the channels below 1.0"),
        ({"amount": 0.5, "norm": "l3"}, "expected one of l1, l2, batchnorm"),
        ({"amount": 0.5, "scope": "all"}, "expected one of tensor, global"),
    ],
)
def test_wrong_use_is_told(how: dict[str, Any], said: str) -> None:
    with pytest.raises(sd.StatedictError, match=re.escape(said)):
        sd.shrink_live(nn.Linear(2, 2), torch.randn(1, 2), **how)


def test_nothing_to_shrink_is_told() -> None:
    with pytest.raises(sd.StatedictError, match="calls no Linear and no convolution"):
        sd.shrink_live(nn.ReLU(), torch.randn(1, 2), amount=0.5)


def test_without_torch_pruning_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)

    with pytest.raises(sd.MissingExtraError, match=re.escape("pip install 'statedict[prune]'")):
        sd.shrink_live(nn.Linear(2, 2), torch.randn(1, 2), amount=0.5)
