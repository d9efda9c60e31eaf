"""Prune half of all weights with `torch.nn.utils.prune.global_unstructured`, in memory."""

import sys

from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import prune

output, file = sys.argv[1:]
holders: dict[str, nn.Module] = {}
for name, tensor in load_file(file).items():
    holders[name] = nn.Module()
    holders[name].register_parameter("weight", nn.Parameter(tensor))
places = [(holder, "weight") for holder in holders.values()]
prune.global_unstructured(places, prune.L1Unstructured, amount=0.5)
for holder, local in places:
    prune.remove(holder, local)
pruned = {name: holder.get_parameter("weight").detach() for name, holder in holders.items()}
save_file(pruned, f"{output}/torch.safetensors")
