"""`prune_live`: how much is pruned and where, at once or by a schedule, exact and as torch's own masks have it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import statedict as sd
from statedict.errors import PatternError, StatedictError
from tests.interop.pruned import OPTIMIZERS, net, revived, train


def test_training_is_that_of_torchs_own_masks() -> None:
    """Plain gradient descent on the weights that stay: `torch.nn.utils.prune` reaches it by a parametrization."""
    ours, theirs = net(), net()
    pruning = sd.prune_live(ours, amount=0.6, protect=("norms", "biases"))
    layers = [(module, "weight") for module in theirs.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=0.6)
    for model in (ours, theirs):
        model.eval()  # without dropout
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        torch.manual_seed(1)
        train(model, optimizer)
    for module, _ in layers:
        prune.remove(module, "weight")
    assert list(pruning.masks) == [
        f"{name}.weight" for name, module in theirs.named_modules() if (module, "weight") in layers
    ]
    for name, expected in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name), expected, rtol=0, atol=0)


def test_the_amount_is_exact() -> None:
    total = 486 + 128 * 576
    for amount in (0.0, 0.333, 0.5, 1.0, 7):
        pruning = sd.prune_live(net(), amount=amount)
        assert pruning.pruned == (amount if amount == 7 else round(amount * total))
        assert sum(int((~mask).sum()) for mask in pruning.masks.values()) == pruning.pruned
    each = sd.prune_live(net(), amount=0.25, scope="tensor")
    assert [int((~mask).sum()) for mask in each.masks.values()] == [round(0.25 * 486), round(0.25 * 128 * 576)]
    zeros = net()
    with torch.no_grad():
        for parameter in zeros.parameters():
            parameter.zero_()
    assert sd.prune_live(zeros, amount=0.3).pruned == round(0.3 * total)


def test_amounts_by_pattern() -> None:
    pruning = sd.prune_live(net(), amount={"features.**": 0.1, "classifier.**": 0.9})
    assert [int((~mask).sum()) for mask in pruning.masks.values()] == [round(0.1 * 486), round(0.9 * 128 * 576)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_types(dtype: torch.dtype) -> None:
    model = net().to(dtype)
    pruning = sd.prune_live(model, amount=0.5)
    assert pruning.pruned == round(0.5 * (486 + 128 * 576))
    expected = net().to(dtype)
    weight, kept = expected.classifier[0].weight, pruning.masks["classifier.0.weight"]
    assert torch.equal(model.classifier[0].weight, weight * kept)


def test_a_schedule() -> None:
    model = net()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    pruning = sd.prune_live(model, amount=0.9, steps=4, initial=0.1)
    total, before = 486 + 128 * 576, pruning.masks
    assert pruning.pruned == round(0.1 * total)
    for step in range(1, 6):
        train(model, optimizer, 1)
        assert pruning.step() == pruning.sparsity
        assert pruning.pruned == round((0.9 - 0.8 * (1 - min(step, 4) / 4) ** 3) * total)
        masks = pruning.masks
        assert not any((masks[name] & ~before[name]).any() for name in masks)  # what was pruned stays so
        assert revived(model, masks) == 0
        before = masks


@pytest.mark.parametrize("method", ["random", "rows", "columns", "channels"])
def test_schedules_of_other_methods(method: str) -> None:
    pruning = sd.prune_live(net(), amount=0.75, method=method, steps=3, scope="tensor")
    before = pruning.masks
    for _ in range(3):
        pruning.step()
        assert not any((pruning.masks[name] & ~before[name]).any() for name in before)
        before = pruning.masks
    direct = sd.prune_live(net(), amount=0.75, method=method, scope="tensor").masks
    assert all(torch.equal(before[name], direct[name]) for name in direct)


def test_amounts_by_hand_only_grow() -> None:
    pruning = sd.prune_live(net(), amount=0.5)
    assert round(pruning.prune(0.75), 4) == 0.75
    with pytest.raises(StatedictError, match=r"55,660 of 74,214 are pruned already, and an amount of 0\.5 is 37,107"):
        pruning.prune(0.5)
    with pytest.raises(StatedictError, match="there is no schedule; give `steps`"):
        pruning.step()


def test_channels_take_their_biases_along() -> None:
    model = net()
    pruning = sd.prune_live(model, "features.4.*", amount=0.5, method="channels", protect=("norms", "biases"))
    off = ~pruning.masks["features.4.bias"]
    assert int(off.sum()) == 4  # half of nine, to even
    assert torch.equal(off, (~pruning.masks["features.4.weight"]).flatten(1).all(1))
    found = model.features[4](torch.randn(2, 6, 9, 9))
    assert found[:, off].count_nonzero() == 0
    assert found[:, ~off].count_nonzero() == found[:, ~off].numel()


def test_two_of_four() -> None:
    model = net()
    pruning = sd.prune_live(model, method="2:4")
    assert "features.4.weight" in pruning.left_out
    assert (model.classifier[0].weight.reshape(-1, 4).count_nonzero(1) == 2).all()
    train(model, OPTIMIZERS["adamw"](model.parameters()))
    assert (model.classifier[0].weight.reshape(-1, 4).count_nonzero(1) <= 2).all()
    with pytest.raises(StatedictError, match="2:4 says the amount itself"):
        pruning.prune(0.9)


@pytest.mark.parametrize("method", ["magnitude", "random", "4x4", "2:4", "channels"])
def test_masks_of_a_file_are_kept_while_it_is_trained(method: str, tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "net.pt")
    pruned = sd.prune(sd.open(tmp_path / "net.pt"), amount=None if ":" in method else 0.5, method=method)
    sd.save(sd.masks(pruned), tmp_path / "masks.safetensors")
    model, stays = net(), sd.open(tmp_path / "masks.safetensors")

    pruning = sd.prune_live(model, method="mask", masks=stays)

    assert list(pruning.masks) == list(stays.state_dict())
    for name, mask in pruning.masks.items():
        assert torch.equal(mask, stays.state_dict()[name].torch())
        expected = pruned.state_dict()[name].torch()
        assert torch.equal(model.get_parameter(name), expected)
    train(model, OPTIMIZERS["adamw"](model.parameters()))
    assert revived(model, pruning.masks) == 0
    with pytest.raises(StatedictError, match="mask says the amount itself"):
        pruning.prune(0.9)
    again = sd.prune_live(net(), "classifier.**", method="mask", masks=sd.open(pruning.masks))
    assert all(name.startswith("classifier.") for name in again.masks)
    assert pruning.finalize() is model


def test_going_on_later() -> None:
    model = net()
    pruning = sd.prune_live(model, amount=0.9, steps=5)
    pruning.step()
    pruning.step()
    saved = copy.deepcopy((model.state_dict(), pruning.state_dict()))
    pruning.step()
    other = net()
    again = sd.prune_live(other, amount=0.9, steps=5)
    other.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    again.step()
    assert all(torch.equal(again.masks[name], mask) for name, mask in pruning.masks.items())
    with pytest.raises(StatedictError, match=r"the mask of `classifier\.0\.weight` is missing on one side"):
        sd.prune_live(net(), "features.**", amount=0.1).load_state_dict(saved[1])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, StatedictError, "`magnitude` needs an `amount`, such as 0.5"),
        ({"amount": 0.5, "method": "2:4"}, StatedictError, "`2:4` says the amount itself; leave `amount` out"),
        ({"amount": 0.5, "method": "l1"}, StatedictError, "`l1` is no way to prune; expected magnitude"),
        ({"amount": 1.5}, StatedictError, "`amount` is 1.5; expected a share"),
        ({"amount": 10**9}, StatedictError, "`amount` is 1,000,000,000, but there are 74,214 to prune"),
        ({"amount": 0.5, "scope": "layer"}, StatedictError, "`scope` is 'layer'; expected one of global, tensor"),
        ({"amount": 0.5, "protect": ("all",)}, StatedictError, "`all` in `protect` is not known"),
        ({"amount": 0.5, "steps": 0}, StatedictError, "`steps` is 0; expected at least 1"),
        (
            {"amount": 50, "steps": 2},
            StatedictError,
            "a schedule leads from a share to a larger one; got from 0.0 to 50",
        ),
        ({"amount": 0.1, "steps": 2, "initial": 0.5}, StatedictError, "got from 0.5 to 0.1"),
        ({"method": "2:4", "steps": 2}, StatedictError, "no schedule for N:M"),
        ({"method": "mask"}, StatedictError, "`mask` needs `masks`, a checkpoint of them"),
        ({"method": "mask", "amount": 0.5}, StatedictError, "`mask` says the amount itself; leave `amount` out"),
        (
            {"amount": 0.5, "masks": sd.open({"a": torch.ones(2)})},
            StatedictError,
            "`magnitude` takes no `masks`; use the method `mask`",
        ),
        (
            {"method": "mask", "masks": sd.open({"classifier.weight": torch.ones(2)})},
            StatedictError,
            r"the mask `classifier\.weight` fits no tensor of that name; closest: `classifier\.",
        ),
        (
            {"method": "mask", "masks": sd.open({"classifier.0.bias": torch.ones(2)})},
            StatedictError,
            r"the mask `classifier\.0\.bias` has the shape \[2\], but the tensor \[128\]",
        ),
        ({"amount": {"feature.**": 0.5}}, PatternError, r"`feature\.\*\*` matches no name; closest: `features\."),
    ],
)
def test_wrong_use(options: Any, error: type[Exception], message: str) -> None:
    model = net()
    with pytest.raises(error, match=message):
        sd.prune_live(model, **options)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), net().parameters(), strict=True))
    assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_nan_is_an_error_that_changes_nothing() -> None:
    model = net()
    with torch.no_grad():
        model.classifier[0].weight[3, 5] = torch.nan
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(StatedictError, match=r"^tensor `classifier\.0\.weight` holds NaN, which has no magnitude"):
        sd.prune_live(model, amount=0.5)
    assert all(
        torch.equal(
            tensor,
            before[name],
        )
        or "classifier.0" in name
        for name, tensor in model.state_dict().items()
    )
    assert model.classifier[0].weight.isnan().sum() == 1


def test_the_table() -> None:
    assert str(sd.prune_live(net(), "features.**", amount=0.25)).splitlines() == [
        "name               values  pruned   share",
        "features.4.weight     486     122  25.10%",
        "in all                486     122  25.10%",
        "",
        "left out, first: features.0.weight",
        "left out, biases: features.{0,4}.bias",
        "left out, norms: features.{1,5}.{weight,bias}",
    ]
