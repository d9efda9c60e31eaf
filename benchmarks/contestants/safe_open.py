"""List a file through safetensors' lazy reader, for the framework that is the first argument."""

import sys

from safetensors import safe_open

with safe_open(sys.argv[2], framework=sys.argv[1]) as file:
    slices = ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118 - it is no dict
    sys.stdout.writelines(f"{name} {part.get_dtype()} {[*part.get_shape()]}\n" for name, part in slices)
