"""List whatever `torch.load` opens without running what is in it: nested or not, mapped into memory where it can be."""

import sys
from collections.abc import Iterator
from typing import Any

import torch


def opened(path: str) -> Any:
    """What is in the file."""
    try:
        return torch.load(path, mmap=True, weights_only=True, map_location="cpu")
    except RuntimeError:  # files before PyTorch 1.6 cannot be mapped
        return torch.load(path, weights_only=True, map_location="cpu")


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each tensor in it with its dotted name."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, held in value.items():
            yield from tensors(held, f"{name}.{key}" if name else str(key))


sys.stdout.writelines(f"{name} {each.dtype} {[*each.shape]}\n" for name, each in tensors(opened(sys.argv[1])))
