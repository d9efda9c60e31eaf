"""A model of terabytes and millions of tensors, of sparse files: `python -m benchmarks.huge FOLDER [--tensors N] ...`.

Headers and index are those of a mixture of experts; the bytes of its tensors are holes, which take no room on the disk.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

_WIDE, _NARROW, _VOCABULARY = 2048, 1280, 129_280
_OF_A_LAYER = 9
"""Tensors of a layer that are no expert's."""
_ALIGNMENT = 8


def tensors(count: int, layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of about so many tensors, in the order of a model."""
    experts = max(1, (count // layers - _OF_A_LAYER) // 3)
    yield "model.embed_tokens.weight", (_VOCABULARY, _WIDE)
    for layer in range(layers):
        head = f"model.layers.{layer}."
        yield f"{head}input_layernorm.weight", (_WIDE,)
        for expert in range(experts):
            yield f"{head}mlp.experts.{expert}.down_proj.weight", (_WIDE, _NARROW)
            yield f"{head}mlp.experts.{expert}.gate_proj.weight", (_NARROW, _WIDE)
            yield f"{head}mlp.experts.{expert}.up_proj.weight", (_NARROW, _WIDE)
        yield f"{head}mlp.gate.weight", (experts, _WIDE)
        yield f"{head}post_attention_layernorm.weight", (_WIDE,)
        for name, rows in (("q", 2 * _WIDE), ("k", _WIDE // 4), ("v", _WIDE // 4)):
            yield f"{head}self_attn.{name}_proj.weight", (rows, _WIDE)
        yield f"{head}self_attn.o_proj.weight", (_WIDE, 2 * _WIDE)
        for name in ("q", "k"):
            yield f"{head}self_attn.{name}_norm.weight", (128,)
    yield "model.norm.weight", (_WIDE,)
    yield "lm_head.weight", (_VOCABULARY, _WIDE)


def write(folder: Path, count: int, layers: int, shards: int) -> tuple[int, int]:
    """Write the model as `transformers` shards it. How many tensors there are, and their bytes."""
    folder.mkdir(parents=True)
    named = list(tensors(count, layers))
    owners: dict[str, str] = {}
    total = 0
    most = -(-len(named) // shards)
    for at in range(shards):
        some = named[at * most : (at + 1) * most]
        file = f"model-{at + 1:05}-of-{shards:05}.safetensors"
        owners |= {name: file for name, _ in some}
        total += _write_shard(folder / file, some)
    index = {"metadata": {"total_size": total}, "weight_map": owners}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True))
    return len(named), total


def _write_shard(path: Path, some: list[tuple[str, tuple[int, ...]]]) -> int:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in some:
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return end


def main() -> None:
    """Write it, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tensors", type=int, default=2_000_000)
    parser.add_argument("--layers", type=int, default=160)
    parser.add_argument("--shards", type=int, default=500)
    given = parser.parse_args()
    count, total = write(given.folder, given.tensors, given.layers, given.shards)
    print(f"{count:,} tensors, {total / 1e12:.2f} TB")


if __name__ == "__main__":
    main()
