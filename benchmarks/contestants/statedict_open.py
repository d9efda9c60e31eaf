"""List a checkpoint through our library."""

import sys

import statedict

tensors = statedict.open(sys.argv[1]).state_dict()
sys.stdout.writelines(f"{name} {tensor.dtype} {[*tensor.shape]}\n" for name, tensor in tensors.items())
