"""Average two checkpoints through PyTorch, in memory, mapped where it can be, and safetensors' own writer."""

import sys

from safetensors.torch import load_file, save_file

output, other, one = sys.argv[1:]
first, second = load_file(one), load_file(other)
save_file({name: tensor * 0.5 + second[name] * 0.5 for name, tensor in first.items()}, f"{output}/torch.safetensors")
