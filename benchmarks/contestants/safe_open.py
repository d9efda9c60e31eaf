"""List a file, or all in a folder, through safetensors' lazy reader, for the framework that is the first argument."""

import glob
import sys

from safetensors import safe_open

for path in sorted(glob.glob(f"{sys.argv[2]}/*.safetensors")) or [sys.argv[2]]:  # noqa: PTH207 - pathlib takes longer
    with safe_open(path, framework=sys.argv[1]) as file:
        slices = ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118 - it is no dict
        sys.stdout.writelines(f"{name} {part.get_dtype()} {[*part.get_shape()]}\n" for name, part in slices)
