"""Groups and summaries of every architecture of transformers that is tiny: nothing forgotten, nothing twice."""

import copy
import gc

import pytest
import torch
from torch import nn

import statedict as sd
from tests import architectures

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", architectures.names())
def test_every_architecture(name: str) -> None:
    model = architectures.make(name)
    _is_summed_up(model)
    _is_grouped(model)
    del model
    gc.collect()


def _is_summed_up(model: nn.Module) -> None:
    found = sd.summary(model)
    assert found.parameters == found.layers[0].parameters == sum(p.numel() for p in model.parameters())
    assert found.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert [layer.name for layer in found.layers] == [n for n, _ in model.named_modules(remove_duplicate=False)]


def _is_grouped(model: nn.Module) -> None:
    """Each parameter in exactly one group; and an optimizer does to it what it does in groups written by hand."""
    groups = sd.param_groups(model, [sd.no_decay], lr=1e-2, weight_decay=0.1)
    held = [parameter for group in groups for _, parameter in group["params"]]
    trained = {full: p for full, p in model.named_parameters() if p.requires_grad}
    assert sorted(map(id, held)) == sorted(map(id, trained.values()))
    assert {full for group in groups for full, _ in group["params"]} == set(trained)
    assert {each.name for each in groups.frozen} == {n for n, _ in model.named_parameters()} - set(trained)
    hand, spared = copy.deepcopy(model), set(sd.no_decay(model))
    by_hand = [
        {"params": [p for n, p in hand.named_parameters() if (n in spared) is free and p.requires_grad],
         "weight_decay": 0.0 if free else 0.1}
        for free in (True, False)
    ]  # fmt: skip
    pair = torch.optim.AdamW(groups), torch.optim.AdamW([each for each in by_hand if each["params"]], lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for mine, other in zip(model.parameters(), hand.parameters(), strict=True):
            if mine.requires_grad:
                mine.grad = torch.randn(mine.shape, generator=generator).to(mine.dtype)
                other.grad = mine.grad.clone()
        for optimizer in pair:
            optimizer.step()
        assert all(map(torch.equal, model.parameters(), hand.parameters()))
