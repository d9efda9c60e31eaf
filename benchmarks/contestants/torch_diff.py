"""The largest difference of two safetensors files, tensor by tensor in torch, as one writes it; files are mapped."""

import sys

from safetensors import safe_open

how, other, one = sys.argv[1:]
largest = 0.0
with safe_open(one, "pt") as first, safe_open(other, "pt") as second:
    for name in first.keys():  # noqa: SIM118 - no dict
        a, b = first.get_tensor(name), second.get_tensor(name)
        between = a.float() - b.float() if how == "float32" else a - b
        largest = max(largest, between.abs().max().item())
print(largest)
