"""Prune half of all weights through our library: into the folder that is the first argument, to safetensors."""

import sys

import statedict

output, file = sys.argv[1:]
pruned = statedict.prune(statedict.open(file), amount=0.5, protect=())
statedict.save(pruned, f"{output}/ours.safetensors", durable=False)
