"""`param_groups`: every parameter in one group, and training as with groups written by hand, bit for bit."""

import copy
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

import statedict as sd
from statedict.errors import PatternError, StatedictError
from tests import architectures
from tests.seed_net import Net

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    "adamw": lambda groups: torch.optim.AdamW(groups),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, momentum=0.5),
    "adafactor": lambda groups: torch.optim.Adafactor(groups),
    "adamax": lambda groups: torch.optim.Adamax(groups),
}


def names(groups: Any) -> list[list[str]]:
    return [[name for name, _ in group["params"]] for group in groups]


def test_the_first_rule_wins_and_the_rest_has_a_group() -> None:
    net = Net()
    groups = sd.param_groups(
        net, {"**.bias": {"weight_decay": 0.0}, "features.**": {"lr": 1e-4}}, lr=1e-3, weight_decay=0.1
    )
    assert names(groups) == [
        [name for name, _ in net.named_parameters() if name.endswith("bias")],
        ["features.0.weight", "features.1.weight", "features.4.weight", "features.5.weight"],
        ["classifier.0.weight", "classifier.3.weight"],
    ]
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1e-3, 0.0), (1e-4, 0.1), (1e-3, 0.1)]
    for group in groups:
        for name, parameter in group["params"]:
            assert parameter is net.get_parameter(name)


def test_without_rules_there_is_one_group() -> None:
    groups = sd.param_groups(Net(), lr=0.1)
    assert isinstance(groups, list)
    assert names(groups) == [[name for name, _ in Net().named_parameters()]]
    assert torch.optim.SGD(groups).param_groups[0]["param_names"] == names(sd.param_groups(Net()))[0]


def test_rules_of_every_sort() -> None:
    net = Net()
    groups = sd.param_groups(
        net,
        [
            (("features.0.*", "classifier.3.*"), {"lr": 1.0}),
            (lambda name, parameter: parameter.ndim == 4, {"lr": 2.0}),
            sd.no_decay,
        ],
        lr=3.0,
    )
    assert names(groups) == [
        ["features.0.weight", "features.0.bias", "classifier.3.weight", "classifier.3.bias"],
        ["features.4.weight"],
        ["features.1.weight", "features.1.bias", "features.4.bias", "features.5.weight", "features.5.bias",
         "classifier.0.bias"],
        ["classifier.0.weight"],
    ]  # fmt: skip
    assert [group.get("weight_decay") for group in groups] == [None, None, 0.0, None]
    assert [each.rule for each in groups.held] == [
        "features.0.*, classifier.3.*", "<lambda>", "no_decay", "the rest",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ({"feature.**": {}}, PatternError, r"^`feature\.\*\*` matches no name; closest: `features\."),
        ({"features": {}}, PatternError, r"^`features` is a module; `features\.\*\*` matches the tensors in it$"),
        (
            {"**": {}, "features.**": {}},
            PatternError,
            r"`features\.\*\*` takes nothing: `\*\*`, which stands before it",
        ),
        (
            {"features.**": {}, "**.bias": {}, "*.*.bias": {}},
            PatternError,
            r"`features\.\*\*`, `\*\*\.bias`, which stand ",
        ),
        ([(lambda *_: False, {})], PatternError, r"the rule `<lambda>` takes none of the 12 parameters"),
        ({"**.bias": {"params": []}}, StatedictError, r"`params` is what the rules say"),
        (["**.bias"], TypeError, r"`'\*\*\.bias'` is no rule; expected a pair such as"),
        ([(3, {})], TypeError, r"a rule is 3; expected a pattern"),
        ([("**.bias", 0.1)], TypeError, r"is no rule"),
    ],
)
def test_rules_that_are_none(rules: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.param_groups(Net(), rules)


def test_what_is_no_live_model() -> None:
    with pytest.raises(TypeError, match=r"expected a live torch\.nn\.Module, not dict"):
        sd.param_groups({})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"not what a file holds; `\.to_torch\(\)` makes one"):
        sd.param_groups(sd.open(Net().state_dict()))
    net = Net()
    assert names(sd.param_groups(sd.open(net))) == names(sd.param_groups(net))


@pytest.mark.parametrize("door", ["param_groups", "no_decay", "freeze", "unfreeze", "frozen", "prune_live", "summary"])
def test_without_torch(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        sd.MissingExtraError, match=r"needs PyTorch; install it with `pip install 'statedict\[torch\]'`"
    ):
        getattr(sd, door)(None)


def test_frozen_parameters_are_left_out_and_said() -> None:
    net = Net()
    net.features.requires_grad_(False)
    groups = sd.param_groups(net, {"features.0.*": {"lr": 1.0}, "**.bias": {}}, lr=0.1)
    assert names(groups) == [["classifier.0.bias", "classifier.3.bias"], ["classifier.0.weight", "classifier.3.weight"]]
    assert [each.name for each in groups.frozen] == [f"features.{name}" for name, _ in net.features.named_parameters()]
    assert "frozen and left out: 8 tensors, 693 values\n   features." in str(groups)
    assert sum(map(len, names(sd.param_groups(net, include_frozen=True)))) == 12
    net.requires_grad_(False)
    with pytest.raises(StatedictError, match="Net: there are no parameters to train: all 12 are frozen"):
        sd.param_groups(net)
    with pytest.raises(StatedictError, match="ReLU: there are no parameters to train: it has none"):
        sd.param_groups(nn.ReLU())


def test_tied_parameters_count_once_and_any_name_fits() -> None:
    model = architectures.make("gpt2")
    groups = sd.param_groups(model, {"lm_head.weight": {"lr": 1.0}}, lr=0.1)
    assert names(groups)[0] == ["transformer.wte.weight"]
    assert "tied, counted once:\n   transformer.wte.weight = lm_head.weight" in str(groups)
    torch.optim.SGD(groups)


def test_lazy_parameters() -> None:
    groups = sd.param_groups(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2)), {"**.bias": {}}, lr=0.1)
    assert names(groups) == [["0.bias", "1.bias"], ["0.weight", "1.weight"]]
    assert groups.held[1].numel == 6
    assert str(groups)


def test_the_table_says_what_the_groups_hold() -> None:
    net = Net()
    groups = sd.param_groups(
        net, {sd.no_decay: {"weight_decay": 0.0}}, lr=1e-3 * sd.layer_decay(0.5, "features.*"), betas=(0.9, 0.95)
    )
    before = str(groups)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    optimizer.param_groups[0]["lr"] = 7.0
    assert str(groups) == before  # what it was made with, whatever a scheduler does
    lines = before.splitlines()
    assert lines[0].split() == ["rule", "tensors", "values", "bytes", "lr", "betas", "weight_decay"]
    assert lines[1].split() == ["0", "no_decay", "1", "6", "24", "B", "3.90625e-06", "(0.9,", "0.95)", "0"]
    assert "\n4  classifier.{0,3}.bias\n" in before


def test_no_decay() -> None:
    net = Net()
    assert sd.no_decay(net) == [
        name for name, _ in net.named_parameters()
        if name not in {"features.0.weight", "features.4.weight", "classifier.0.weight", "classifier.3.weight"}
    ]  # fmt: skip
    assert names(sd.param_groups(nn.Linear(2, 2, bias=False), [sd.no_decay], lr=0.1)) == [["weight"]]


def test_no_decay_heeds_what_authors_mark() -> None:
    class Marked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 1, 4))
            self.state = nn.Parameter(torch.zeros(4, 4))
            self.state._no_weight_decay = True  # type: ignore[attr-defined]
            self.mix = nn.Parameter(torch.zeros(4, 4))

        def no_weight_decay(self) -> set[str]:
            return {"token"}

    assert sd.no_decay(Marked()) == ["token", "state"]


def test_layer_decay() -> None:
    model = architectures.make("vit")
    groups = sd.param_groups(model, [sd.no_decay], lr=1e-3 * sd.layer_decay(0.75), weight_decay=0.1)
    rates = {name: group["lr"] for group in groups for name, _ in group["params"]}
    for name, rate in rates.items():
        layer = 0 if name.startswith("embeddings") else int(name.split(".")[1]) + 1 if name.startswith("layers") else 3
        assert rate == 1e-3 * 0.75 ** (3 - layer), name
    assert {group["weight_decay"] for group in groups} == {0.0, 0.1}
    for low, high in pairwise(group["lr"] for group in groups if group["weight_decay"]):
        assert low < high
    assert (sd.layer_decay(0.75) * 2).base == (2 * sd.layer_decay(0.75)).base == 2.0
    for factor in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(StatedictError, match="expected a factor above 0 and at most 1"):
            sd.layer_decay(factor)
    with pytest.raises(StatedictError, match="no blocks repeat in this model"):
        sd.param_groups(Net(), lr=sd.layer_decay(0.75))


def steps(net: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor) -> list[list[torch.Tensor]]:
    """All parameters after each of four steps of real training."""
    seen: list[list[torch.Tensor]] = []
    for at in range(4):
        optimizer.zero_grad()
        torch.manual_seed(at)  # dropout
        nn.functional.cross_entropy(net(images), torch.arange(len(images)) % 10).backward()
        optimizer.step()
        seen.append([parameter.detach().clone() for parameter in net.parameters()])
    return seen


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_that_of_groups_written_by_hand(name: str) -> None:
    torch.manual_seed(0)
    ours = Net()
    theirs = copy.deepcopy(ours)
    images = torch.randn(6, 3, 38, 38)
    groups = sd.param_groups(
        ours, [sd.no_decay, ("features.**", {"lr": 1e-4, "weight_decay": 0.3})], lr=1e-3, weight_decay=0.1
    )
    by_hand = [
        {"params": [p for p in theirs.parameters() if p.ndim < 2], "lr": 1e-3, "weight_decay": 0.0},
        {"params": [theirs.features[0].weight, theirs.features[4].weight], "lr": 1e-4, "weight_decay": 0.3},
        {"params": [theirs.classifier[0].weight, theirs.classifier[3].weight], "lr": 1e-3, "weight_decay": 0.1},
    ]
    made = steps(ours, OPTIMIZERS[name](groups), images), steps(theirs, OPTIMIZERS[name](by_hand), images)
    for mine, hand in zip(*made, strict=True):
        assert all(map(torch.equal, mine, hand))
    assert not all(map(torch.equal, made[0][0], made[0][3]))
