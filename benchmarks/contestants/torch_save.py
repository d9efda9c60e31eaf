"""Convert a checkpoint through PyTorch, mapped into memory, and safetensors' own writer."""

import sys

import torch
from safetensors.torch import save_file

save_file(torch.load(sys.argv[2], mmap=True, weights_only=True, map_location="cpu"), f"{sys.argv[1]}/torch.safetensors")
