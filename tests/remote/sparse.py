"""A huge model of sparse files: real headers, and bytes that take no room."""

import json
from pathlib import Path


def sparse_model(folder: Path, shards: int, tensors: int, nbytes: int) -> None:
    """Write so many safetensors shards, each of so many matrices of bfloat16, of so many bytes each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = nbytes // 2 // 1024
    for shard in range(shards):
        header = {
            f"model.layers.{(shard * tensors + at) // 8}.{_NAMES[at % 8]}.weight": {
                "dtype": "BF16",
                "shape": [rows, 1024],
                "data_offsets": [at * nbytes, (at + 1) * nbytes],
            }
            for at in range(tensors)
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with (folder / f"model-{shard + 1:05}-of-{shards:05}.safetensors").open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + tensors * nbytes)


_NAMES = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "mlp.extra_proj"),
)
