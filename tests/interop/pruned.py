"""A live model that is trained while it is pruned."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.seed_net import Net

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.5),
    "adamw foreach": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, foreach=True),
    "adamw fused": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, fused=True),
    "adam amsgrad": lambda parameters: torch.optim.Adam(parameters, lr=0.01, amsgrad=True, weight_decay=0.1),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=1e-4, momentum=0.9),
    "adafactor": lambda parameters: torch.optim.Adafactor(parameters),
    "asgd": lambda parameters: torch.optim.ASGD(parameters),
}


def net() -> Any:
    torch.manual_seed(0)
    return Net()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    kind = next(model.parameters()).dtype
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 3, 38, 38, dtype=kind)).square().mean().backward()
        optimizer.step()


def revived(model: nn.Module, masks: dict[str, torch.Tensor]) -> int:
    """Elements that a mask says are gone, and are not zero."""
    return sum(int(model.get_parameter(name)[~mask].count_nonzero()) for name, mask in masks.items())
