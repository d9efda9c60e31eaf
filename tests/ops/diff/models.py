"""Pairs of models to compare, and sources that note what is read of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import statedict
from statedict import Module
from statedict.index import TensorInfo
from statedict.source import Extent, Source

Tensors = Mapping[str, torch.Tensor]


def saved(folder: Path, name: str, tensors: Tensors, metadata: dict[str, str] | None = None) -> Module:
    """The tensors written by the reference library, and opened."""
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata)
    return statedict.open(path)


class Watched(Source):
    """A source that counts the bytes that are read of it."""

    def __init__(self, of: Source) -> None:
        self._of = of
        self.name, self.size = of.name, of.size
        self.read = 0
        self.largest = 0

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        self.read += len(buffer)
        self.largest = max(self.largest, len(buffer))
        self._of.readinto_at(offset, buffer)


def watched(model: Module) -> Watched:
    """The one source of all tensors of a model, watched from now on."""
    found: Watched | None = None
    for _, tensor in [*model.named_parameters(), *model.named_buffers()]:
        extent = tensor.info.extent
        assert extent is not None
        found = found or Watched(extent.source)
        tensor.info = tensor.info._replace(extent=Extent(found, extent.offset, extent.size), storage=None)
    assert found is not None
    return found


def info_of(model: Module, name: str) -> TensorInfo:
    return model.state_dict()[name].info


def weights(seed: int = 0, rows: int = 96, columns: int = 160, **more: Any) -> dict[str, torch.Tensor]:
    """A small model of matrices, a norm and a bias."""
    generator = torch.Generator().manual_seed(seed)
    made = {
        f"layers.{at}.{part}.weight": torch.randn(rows, columns, generator=generator) * 0.05
        for at in range(2)
        for part in ("up", "down")
    }
    return made | {"norm.weight": torch.ones(columns), "head.bias": torch.randn(rows, generator=generator)} | more
