"""`freeze`, `unfreeze`, `frozen`: what is frozen does not change, and comes back as it was."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.errors import PatternError
from tests.seed_net import Net

FEATURES = [f"features.{name}" for name, _ in Net().features.named_parameters()]
STATISTICS = [f"features.{name}" for name, _ in Net().features.named_buffers()]


def train(net: nn.Module, steps: int = 2) -> None:
    """Steps of an optimizer that has every parameter, momentum and weight decay."""
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(4, 3, 38, 38)).square().sum().backward()
        optimizer.step()


def changed(net: nn.Module, before: Any) -> set[str]:
    return {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}


def test_what_is_frozen_does_not_change() -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    assert sd.freeze(net, "features.**") == [*FEATURES, *STATISTICS]
    assert sd.freeze(net, "features.**") == []
    train(net)
    assert changed(net, before) == {f"classifier.{name}" for name, _ in net.classifier.named_parameters()}
    assert all(module.training for module in net.modules())


def test_unfreezing_undoes_it() -> None:
    net = Net()
    names = sd.freeze(net, "features.**")
    assert sd.unfreeze(net, "features.1.*", "features.0.weight") == [
        "features.0.weight",
        *[n for n in names if ".1." in n],
    ]
    before = copy.deepcopy(net.state_dict())
    train(net)
    assert {name for name in changed(net, before) if name.startswith("features")} == {
        "features.0.weight", *[name for name in names if ".1." in name],
    }  # fmt: skip
    sd.unfreeze(net, *names)
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in net.modules())
    assert sd.unfreeze(net, "**") == []


def test_running_statistics_may_go_on() -> None:
    for freeze in (
        lambda net: sd.freeze(net, "features.**", batchnorm=False),
        lambda net: sd.freeze(net, "features.*.{weight,bias}"),
    ):
        net = Net()
        assert freeze(net) == FEATURES
        before = copy.deepcopy(net.state_dict())
        train(net)
        assert {name for name in changed(net, before) if name.startswith("features")} == set(STATISTICS)


def test_a_frozen_batchnorm_computes_as_in_evaluation() -> None:
    norm = nn.BatchNorm1d(3)
    norm.running_mean.fill_(2.0)  # type: ignore[union-attr]
    sd.freeze(norm, "**")
    images = torch.randn(5, 3)
    found = norm.train()(images)
    assert norm.training
    assert torch.equal(found, norm.eval()(images))
    assert not norm.training
    with pytest.raises(ValueError, match="expected 2D or 3D input"):
        norm.train()(torch.zeros(2, 3, 4, 5))
    assert norm.training  # also after an exception


def test_a_batchnorm_without_parameters() -> None:
    norm = nn.BatchNorm1d(3, affine=False)
    assert sd.freeze(norm, "**") == ["running_mean", "running_var", "num_batches_tracked"]
    norm(torch.randn(5, 3))
    assert norm.num_batches_tracked == 0


def test_copies_and_pickles_stay_frozen() -> None:
    net = Net()
    sd.freeze(net, "features.**")
    stream = io.BytesIO()
    torch.save(net, stream)
    stream.seek(0)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(stream, weights_only=False)):
        before = copy.deepcopy(other.state_dict())
        train(other)
        assert not {name for name in changed(other, before) if name.startswith("features")}
        assert sd.unfreeze(other, "**") == [*FEATURES, *STATISTICS]


def test_tied_parameters() -> None:
    net: Any = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    net.b.weight = net.a.weight
    assert sd.freeze(net, "b.weight") == ["b.weight"]
    assert not net.a.weight.requires_grad


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["feature.**"], r"`feature\.\*\*` matches no name; closest: `features\."),
        (["features"], r"`features` is a module; `features\.\*\*` matches"),
        ([], r'say what: patterns such as "features\.\*\*"; `"\*\*"` is all'),
    ],
)
def test_patterns_that_fit_nothing(patterns: list[str], message: str) -> None:
    for function in (sd.freeze, sd.unfreeze):
        net = Net()
        with pytest.raises(PatternError, match=message):
            function(net, *patterns)
        assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_context_restores_what_was() -> None:
    net = Net()
    sd.freeze(net, "features.0.*", "features.1.*")
    flags = [parameter.requires_grad for parameter in net.parameters()]
    with sd.frozen(net, "features.**") as names:
        assert names == [name for name in [*FEATURES, *STATISTICS] if name[:10] in ("features.4", "features.5")]
        before = copy.deepcopy(net.state_dict())
        sd.unfreeze(net, "features.5.*")  # whatever is done within
        sd.freeze(net, "features.5.*")
        train(net)
        assert not {name for name in changed(net, before) if name.startswith("features")}
    assert [parameter.requires_grad for parameter in net.parameters()] == flags
    before = copy.deepcopy(net.state_dict())
    train(net)
    assert {name[:10] for name in changed(net, before) if name.startswith("features")} == {"features.4", "features.5"}


def test_a_context_restores_after_an_exception() -> None:
    net = Net()
    with pytest.raises(RuntimeError, match="stop"), sd.frozen(net, "**"):
        assert not any(parameter.requires_grad for parameter in net.parameters())
        raise RuntimeError("stop")
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_integers_are_not_made_to_require_gradients() -> None:
    net = nn.ParameterDict({"table": nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)})
    assert sd.unfreeze(net, "**") == []


def test_it_works_with_groups() -> None:
    net = Net()
    with sd.frozen(net, "features.**"):
        groups = sd.param_groups(net, lr=0.1)
    assert {name for name, _ in groups[0]["params"]} == {
        f"classifier.{n}" for n, _ in net.classifier.named_parameters()
    }
