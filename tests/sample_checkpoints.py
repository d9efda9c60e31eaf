"""Small checkpoints, the same on every machine, for the tests of what users see."""

import argparse
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from tests.seed_net import Net


class Block(nn.Module):
    """A transformer's block, small."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class Language(nn.Module):
    """A language model whose head is tied to its embedding, of blocks that look alike but for the last."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 8)
        self.register_buffer("positions", torch.arange(16)[None])
        self.layers = nn.ModuleList([*(Block(8) for _ in range(3)), nn.Identity()])
        self.head = nn.Linear(8, 100, bias=False)
        self.head.weight = self.embedding.weight


def _filled(module: nn.Module) -> nn.Module:
    """The module with weights that are the same wherever it is made."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape) * (number + 1))
    return module


def _training() -> dict[str, Any]:
    net = _filled(Net())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)  # those of a forward pass depend on the processor
    optimizer.step()
    return {
        "epoch": 3,
        "best": float("inf"),
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "hyper_parameters": {"lr": 1e-3, "sizes": [1, 2, 3], "name": "net", "optimizer": {"betas": (0.9, 0.999)}},
        "args": argparse.Namespace(data="/data", seed=0, resume=None),
    }


HOSTILE_NAMES = (
    "plain",
    "escape\x1b[31mred",
    "line\nbreak",
    "\u202eright-to-left",
    "back\\slash",
    "tab\there",
    "wide_層",
    "combining_e\u0301",
    "空" * 40,
    "long_" + "x" * 300,
    "",
    " ",
    "a..b",
    "{0-3}",
    "nul\0",
)


def write_all(folder: Path) -> None:
    """Write every sample into `folder`."""
    torch.manual_seed(0)
    net = _filled(Net())
    torch.save(net.state_dict(), folder / "net.pt")
    torch.save(net, folder / "net_whole.pt")
    safetensors.torch.save_file(net.state_dict(), folder / "net.safetensors")
    language = _filled(Language())
    torch.save(language.state_dict(), folder / "language.pt")
    torch.save(language, folder / "language_whole.pt")
    torch.save(_training(), folder / "train.ckpt")
    torch.save(nn.LSTM(3, 4, 2), folder / "lstm.pt")
    torch.save({name: torch.zeros(number, 2) for number, name in enumerate(HOSTILE_NAMES)}, folder / "hostile.pt")
    torch.save(torch.arange(6.0).reshape(2, 3), folder / "tensor.pt")
    torch.save({"epoch": 3}, folder / "no_tensors.pt")
