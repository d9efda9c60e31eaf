"""Cast a checkpoint through our library: into the folder that is the first argument, to the type that is the second."""

import sys

import statedict

statedict.save(statedict.open(sys.argv[3]).to(sys.argv[2]), f"{sys.argv[1]}/ours.safetensors")
