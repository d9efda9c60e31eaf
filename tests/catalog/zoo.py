"""Small checkpoints in families that are planted: who derives from whom, and which tensors are stored how often."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

SHAPES = {"embed.weight": (64, 16), "body.0.weight": (32, 32), "body.1.weight": (32, 32), "head.weight": (8, 32)}
OF_A_FAMILY = 10


@dataclass
class Zoo:
    """What was planted."""

    parents: dict[str, str] = field(default_factory=dict[str, str])
    """Of each checkpoint that derives from another, which: names of files."""
    copies: Counter[bytes] = field(default_factory=Counter[bytes])
    """How many files hold a tensor, by its bytes and shape."""
    sizes: dict[bytes, int] = field(default_factory=dict[bytes, int])
    files: int = 0

    @property
    def duplicated(self) -> int:
        return sum(count > 1 for count in self.copies.values())

    @property
    def saved(self) -> int:
        return sum((count - 1) * self.sizes[key] for key, count in self.copies.items())


def plant(folder: Path, count: int, seed: int = 0) -> Zoo:
    """Write so many checkpoints: in each family of ten a base, three that share tensors with it, their children by
    small steps of training, and an exact copy. Times of files tell their order."""
    zoo, rng = Zoo(), np.random.default_rng(seed)
    for family in range(count // OF_A_FAMILY):
        below = folder / f"{family // 1000:03}"
        below.mkdir(parents=True, exist_ok=True)
        members: list[dict[str, NDArray[np.float32]]] = []
        for at in range(OF_A_FAMILY):
            name = f"family{family:06}-{at}.safetensors"
            tensors = _member(at, members, rng)
            members.append(tensors)
            if at:
                zoo.parents[name] = f"family{family:06}-{_PARENTS[at]}.safetensors"
            for key, value in tensors.items():
                digest = key.encode() * 0 + value.tobytes() + str(value.shape).encode()
                zoo.copies[digest] += 1
                zoo.sizes[digest] = value.nbytes
            path = below / name
            path.write_bytes(save(tensors))
            os.utime(path, (1e9 + family * 100 + at, 1e9 + family * 100 + at))
            zoo.files += 1
    return zoo


_PARENTS = {1: 0, 2: 0, 3: 0, 4: 1, 5: 2, 6: 5, 7: 4, 8: 3, 9: 6}


def _member(
    at: int, members: list[dict[str, NDArray[np.float32]]], rng: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    if not members:
        return {name: rng.standard_normal(shape, dtype="f4") for name, shape in SHAPES.items()}
    tensors = dict(members[_PARENTS[at]])
    if at == 9:  # a copy
        return tensors
    if at <= 3:  # another head
        tensors["head.weight"] = rng.standard_normal(SHAPES["head.weight"], dtype="f4")
        tensors[f"body.{at % 2}.weight"] = _trained(tensors[f"body.{at % 2}.weight"], rng)
    else:  # all trained on
        tensors = {name: _trained(value, rng) for name, value in tensors.items()}
    return tensors


def _trained(value: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return (value + 0.01 * rng.standard_normal(value.shape, dtype="f4")).astype("f4")
