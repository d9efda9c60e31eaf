"""List a checkpoint through PyTorch, as frugally as it can: mapped into memory, without unpickling objects."""

import sys

import torch

tensors = torch.load(sys.argv[1], mmap=True, weights_only=True, map_location="cpu")
sys.stdout.writelines(f"{name} {tensor.dtype} {[*tensor.shape]}\n" for name, tensor in tensors.items())
