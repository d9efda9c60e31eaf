"""Cast a checkpoint through PyTorch, with safetensors' reader, which maps it into memory, and its writer."""

import sys

import torch
from safetensors.torch import load_file, save_file

target = getattr(torch, sys.argv[2])
save_file(
    {name: tensor.to(target) for name, tensor in load_file(sys.argv[3]).items()}, f"{sys.argv[1]}/torch.safetensors"
)
