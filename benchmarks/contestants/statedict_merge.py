"""Average two checkpoints through our library: into the folder that is the first argument, to safetensors."""

import sys

import statedict

output, other, one = sys.argv[1:]
statedict.save(statedict.merge([statedict.open(one), statedict.open(other)]), f"{output}/ours.safetensors")
