"""Distributed checkpoints as PyTorch's own processes write them: run as a program, since each rank is a process."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

RANKS = 4


def tensors() -> dict[str, torch.Tensor]:
    """What all ranks together save."""
    return {
        "rows": torch.arange(21.0).reshape(7, 3),
        "columns": torch.arange(10, dtype=torch.int16).reshape(2, 5),
        "fewer.than.ranks": torch.arange(6, dtype=torch.int64).reshape(2, 3),
        "grid": torch.arange(35.0).reshape(5, 7).to(torch.bfloat16),
        "cube": torch.arange(3 * 5 * 6.0).reshape(3, 5, 6),
        "replicated": torch.arange(4.0).double(),
        "transposed": torch.arange(24.0).reshape(4, 6).t(),
        "bytes": torch.arange(9, dtype=torch.uint8),
        "complex": torch.complex(torch.arange(4.0), -torch.arange(4.0)),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
    }


PLACED: dict[str, tuple[str, list[Any]]] = {
    "rows": ("line", [Shard(0)]),
    "columns": ("line", [Shard(1)]),
    "fewer.than.ranks": ("line", [Shard(0)]),
    "grid": ("square", [Shard(0), Shard(1)]),
    "cube": ("square", [Shard(1), Shard(2)]),
    "replicated": ("line", [Replicate()]),
    "transposed": ("line", [Shard(1)]),
    "bytes": ("square", [Shard(0), Replicate()]),
    "complex": ("square", [Shard(0), Shard(0)]),
}
"""On which mesh of ranks, and how each tensor is split over it; the others are plain tensors."""


def objects() -> dict[str, Any]:
    """What is saved besides tensors."""
    return {"step": 7, "names": ["a", 1], "nested": {"lr": 0.1, "betas": (0.9, 0.999)}}


def _placed() -> dict[str, torch.Tensor]:
    meshes = {
        "line": init_device_mesh("cpu", (RANKS,)),
        "square": init_device_mesh("cpu", (2, RANKS // 2), mesh_dim_names=("a", "b")),
    }
    placed = {}
    for name, tensor in tensors().items():
        mesh, placements = PLACED.get(name, (None, []))
        placed[name] = (
            tensor if mesh is None else distribute_tensor(tensor, meshes[mesh], placements, src_data_rank=None)
        )
    return placed


def _fsdp(folder: Path) -> None:
    from torch.distributed.checkpoint.state_dict import get_state_dict
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.Linear(7, 3))
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(4, 5)).sum().backward()
    optimizer.step()
    state, optim = get_state_dict(model, optimizer)
    save({"model": state, "optim": optim}, checkpoint_id=folder / "fsdp")


def main(folder: Path, rank: int) -> None:
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    placed = _placed()
    save({"model": placed, **objects()}, checkpoint_id=folder / "dcp")
    writer = HuggingFaceStorageWriter(path=str(folder / "safetensors"), save_distributed=True)
    save({name: tensor for name, tensor in placed.items() if name != "empty"}, storage_writer=writer)
    _fsdp(folder)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
