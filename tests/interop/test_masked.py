"""Parameters that are pruned in part: no optimizer revives them, and nothing else about them changes."""

import copy
import gc
import io
import weakref
from typing import Any

import pytest
import torch
import torch.optim.optimizer as torch_optimizer
from torch import nn

import statedict as sd
from statedict.errors import StatedictError
from tests.interop.pruned import OPTIMIZERS, net, revived, train


@pytest.fixture(autouse=True, scope="module")
def _no_hooks_are_left() -> Any:
    """No optimizer is watched longer than the models live."""
    yield
    gc.collect()
    assert not torch_optimizer._global_optimizer_post_hooks


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_revives_weights(name: str) -> None:
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer)  # momentum from before the pruning
    pruning = sd.prune_live(model, amount=0.8)
    masks = pruning.masks
    before = copy.deepcopy(model.state_dict())
    for _ in range(3):
        train(model, optimizer, 1)
        assert revived(model, masks) == 0
    for parameter, mask in masks.items():
        weight = model.get_parameter(parameter)
        assert not torch.equal(weight, before[parameter])  # what stays is trained
        assert weight.grad[~mask].count_nonzero() == 0
        assert weight.grad[mask].count_nonzero() > 0
    assert round(pruning.sparsity, 4) == 0.8


def test_an_optimizer_made_later_does_not_either() -> None:
    model = net()
    pruning = sd.prune_live(model, amount=0.5)
    train(model, OPTIMIZERS["sgd"](sd.param_groups(model, [sd.no_decay])))
    assert revived(model, pruning.masks) == 0


def test_nobody_need_keep_what_is_returned() -> None:
    model = net()
    masks = sd.prune_live(model, amount=0.5).masks
    gc.collect()
    train(model, OPTIMIZERS["adamw"](model.parameters()))
    assert revived(model, masks) == 0


def test_nothing_is_renamed_nor_replaced() -> None:
    model = net()
    before = {name: id(parameter) for name, parameter in model.named_parameters()}
    keys = list(model.state_dict())
    pruning = sd.prune_live(model, amount=0.5)
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == before
    assert list(model.state_dict()) == keys
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    for other in (copy.deepcopy(model), torch.load(stream, weights_only=False)):  # plain, and zero where it is zero
        assert revived(other, pruning.masks) == 0
        assert not any(parameter._backward_hooks for parameter in other.parameters())


def test_finalize_leaves_plain_parameters() -> None:
    gc.collect()  # what other tests have left
    model = net()
    pruning = sd.prune_live(model, amount=0.5)
    masks = pruning.masks
    assert pruning.finalize() is model
    assert revived(model, masks) == 0
    assert not any(parameter._backward_hooks for parameter in model.parameters())
    assert not torch_optimizer._global_optimizer_post_hooks
    train(model, OPTIMIZERS["sgd"](model.parameters()))
    assert revived(model, masks) > 0
    pruning.finalize()  # again: nothing more to do


def test_masks_follow_the_model() -> None:
    model = net()
    pruning = sd.prune_live(model, amount=0.5)
    model.double()
    train(model, OPTIMIZERS["sgd"](model.parameters()))
    assert revived(model, pruning.masks) == 0
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # new parameters instead of new data
    try:
        before = model.classifier[0].weight
        model.float()
        assert model.classifier[0].weight is not before
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    pruning.apply()
    train(model, OPTIMIZERS["sgd"](model.parameters()))
    assert revived(model, pruning.masks) == 0
    assert model.classifier[0].weight.grad[~pruning.masks["classifier.0.weight"]].count_nonzero() == 0


def test_a_parameter_that_is_replaced_by_another() -> None:
    model = net()
    pruning = sd.prune_live(model, amount=0.5)
    model.classifier[0].weight = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(StatedictError, match=r"parameter `classifier\.0\.weight` was taken away, or replaced"):
        pruning.apply()
    model.classifier[0].weight = nn.Parameter(torch.ones(128, 576))
    pruning.apply()
    assert revived(model, pruning.masks) == 0


def test_a_state_dict_that_is_loaded() -> None:
    model = net()
    pruning = sd.prune_live(model, amount=0.5)
    model.load_state_dict(net().state_dict())
    assert revived(model, pruning.masks) > 0
    pruning.apply()
    assert revived(model, pruning.masks) == 0


def test_a_gradient_that_is_there_already() -> None:
    model = net()
    model(torch.randn(4, 3, 38, 38)).sum().backward()
    pruning = sd.prune_live(model, amount=0.5)
    for name, mask in pruning.masks.items():
        assert model.get_parameter(name).grad[~mask].count_nonzero() == 0


def test_tied_and_frozen_weights() -> None:
    model: Any = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[1].weight
    model[1].weight.requires_grad_(False)  # register_hook needs a gradient; a frozen weight has none
    pruning = sd.prune_live(model, amount=0.5)
    assert list(pruning.masks) == ["1.weight"]
    assert revived(model, pruning.masks) == 0
    model[1].weight.requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(2):
        model(torch.randn(3, 4)).square().sum().backward()
        optimizer.step()
    assert revived(model, pruning.masks) == 0


@pytest.mark.slow
def test_a_model_that_nobody_has_is_gone() -> None:
    model = net()
    sd.prune_live(model, amount=0.5)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
    assert not torch_optimizer._global_optimizer_post_hooks
