"""Prune half of all weights by the median of their magnitudes, as `torch.kthvalue` finds it of all put together."""

import sys

import torch
from safetensors.torch import load_file, save_file

output, file = sys.argv[1:]
tensors = load_file(file)
magnitudes = torch.cat([tensor.abs().flatten() for tensor in tensors.values()])
threshold = magnitudes.kthvalue(len(magnitudes) // 2).values
save_file(
    {name: tensor * (tensor.abs() > threshold) for name, tensor in tensors.items()}, f"{output}/kthvalue.safetensors"
)
