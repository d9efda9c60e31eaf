"""The files that are opened, made once by PyTorch and safetensors: `python -m benchmarks.samples FOLDER [--quick]`."""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from statedict.dtypes import DTYPES

if TYPE_CHECKING:
    import torch

Tensors = Iterator[tuple[str, tuple[int, ...], str]]
"""Name, shape and PyTorch's dtype of each."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the two models are."""

    layers: int
    hidden: int
    feed_forward: int
    vocabulary: int
    expert_layers: int
    experts: int
    shards: int


FULL = Sizes(layers=33, hidden=1536, feed_forward=5208, vocabulary=151_936, expert_layers=30, experts=333, shards=100)
QUICK = Sizes(layers=2, hidden=64, feed_forward=128, vocabulary=512, expert_layers=2, experts=8, shards=3)
LARGE, MANY, SHARDS = "large", "many", "many-shards"


def large(sizes: Sizes) -> Tensors:
    """A language model of 1.2 billion parameters: 2.25 GiB in some 300 tensors."""
    hidden, wide = sizes.hidden, sizes.feed_forward
    yield "model.embed_tokens.weight", (sizes.vocabulary, hidden), "bfloat16"
    for layer in range(sizes.layers):
        for name, shape in (
            ("input_layernorm", (hidden,)),
            ("self_attn.q_proj", (hidden, hidden)),
            ("self_attn.k_proj", (hidden // 6, hidden)),
            ("self_attn.v_proj", (hidden // 6, hidden)),
            ("self_attn.o_proj", (hidden, hidden)),
            ("mlp.gate_proj", (wide, hidden)),
            ("mlp.up_proj", (wide, hidden)),
            ("mlp.down_proj", (hidden, wide)),
            ("post_attention_layernorm", (hidden,)),
        ):
            yield f"model.layers.{layer}.{name}.weight", shape, "bfloat16"
    yield "model.norm.weight", (hidden,), "bfloat16"


def many(sizes: Sizes) -> Tensors:
    """A mixture of experts in 8-bit floats, named as DeepSeek-V3 is: 60,000 tensors, which are small here."""
    for layer in range(sizes.expert_layers):
        above = f"model.layers.{layer}"
        yield f"{above}.input_layernorm.weight", (8,), "bfloat16"
        for expert, part in ((e, p) for e in range(sizes.experts) for p in ("gate_proj", "up_proj", "down_proj")):
            yield f"{above}.mlp.experts.{expert}.{part}.weight", (16, 8), "float8_e4m3fn"
            yield f"{above}.mlp.experts.{expert}.{part}.weight_scale_inv", (2, 1), "float32"
        yield f"{above}.post_attention_layernorm.weight", (8,), "bfloat16"


def header(tensors: Tensors) -> bytes:
    """The first bytes of a safetensors file that has these tensors side by side, in their order."""
    entries: dict[str, object] = {}
    end = 0
    for name, shape, dtype in tensors:
        begin, end = end, end + math.prod(shape) * DTYPES[dtype].itemsize
        entries[name] = {"dtype": DTYPES[dtype].safetensors, "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def make(folder: Path, sizes: Sizes) -> None:
    """Write `large` and `many` as `.pt` and `.safetensors`, `many` in shards, too, where they are not there yet."""
    import torch
    from safetensors.torch import save_file

    for name, tensors in ((LARGE, large(sizes)), (MANY, many(sizes))):
        # Memory that nobody has written to reads as zeros and takes no room.
        state = {key: torch.empty(shape, dtype=getattr(torch, dtype)) for key, shape, dtype in tensors}
        if not (file := folder / f"{name}.pt").exists():
            torch.save(state, file)
        if not (file := folder / f"{name}.safetensors").exists():
            save_file(state, file)
        if name == MANY and not (folder / SHARDS).exists():
            _make_shards(folder / SHARDS, state, sizes.shards)


def _make_shards(folder: Path, state: "dict[str, torch.Tensor]", count: int) -> None:
    """Write the tensors as `count` safetensors files and an index of them, as `transformers` lays them out."""
    from safetensors.torch import save_file

    folder.mkdir()
    weight_map: dict[str, str] = {}
    names = list(state)
    for shard in range(count):
        file = f"model-{shard + 1:05}-of-{count:05}.safetensors"
        held = names[len(names) * shard // count : len(names) * (shard + 1) // count]
        save_file({name: state[name] for name in held}, folder / file)
        weight_map |= dict.fromkeys(held, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]), QUICK if "--quick" in sys.argv else FULL)
