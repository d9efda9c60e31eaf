"""Load a file into a model in one way, and print what that took: `load.py HOW live|meta FILE`.

The model is made before, and every page of its weights is read once afterwards: a file that is only mapped into memory
is read then. Its memory is counted beyond what the process held before.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

import statedict as sd

_PAGE = 4096


def model(file: str) -> nn.Module:
    """A model on the meta device that has the parameters of a safetensors file, or of the one beside it."""
    made = nn.Module()
    with safe_open(str(Path(file).with_suffix(".safetensors")), framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - it is no dict
            part, path = made, name.split(".")
            for local in path[:-1]:
                if not hasattr(part, local):
                    part.add_module(local, nn.Module())
                part = part.get_submodule(local)
            found = opened.get_slice(name)
            dtype = {"BF16": torch.bfloat16, "F32": torch.float32}[found.get_dtype()]
            part.register_parameter(path[-1], nn.Parameter(torch.empty(found.get_shape(), dtype=dtype, device="meta")))
    return made


def alive(net: nn.Module) -> nn.Module:
    """The same with memory that has been written to, as a model has that was just made."""
    net.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1)
    return net


def by_torch(net: nn.Module, file: str, **options: Any) -> None:
    """As `torch.load` and `load_state_dict` do; `assign` where there is nothing to copy to."""
    net.load_state_dict(torch.load(file, **options), assign=next(net.parameters()).is_meta)


def by_safetensors(net: nn.Module, file: str) -> None:
    """As safetensors does: `load_model`, or `load_file` and `assign`."""
    if next(net.parameters()).is_meta:
        net.load_state_dict(safetensors.torch.load_file(file), assign=True)
    else:
        safetensors.torch.load_model(net, file)


WAYS: dict[str, Callable[[nn.Module, str], object]] = {
    "ours": sd.load_into,
    "ours-mmap": lambda net, file: sd.load_into(net, file, mmap=True),
    "torch": by_torch,
    "torch-mmap": lambda net, file: by_torch(net, file, mmap=True),
    "safetensors": by_safetensors,
}


def status(field: str) -> int:
    """Bytes that the kernel tells of this process: VmRSS now, VmHWM at the most."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found.group(1)) << 10 if found else 0


def main() -> None:
    """Load, and print seconds, seconds of processors, seconds of the reading, bytes at the most, and a checksum."""
    how, where, file = sys.argv[1:]
    net = model(file)
    net = alive(net) if where == "live" else net
    sd.load_into(nn.Linear(1, 1), nn.Linear(1, 1))  # so that nobody's code is loaded while the clock runs
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # what was the most until now is forgotten
    before = status("VmRSS")
    begin, cpu = time.perf_counter(), time.process_time()
    WAYS[how](net, file)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    peak = status("VmHWM") - before
    begin = time.perf_counter()
    step = _PAGE // next(net.parameters()).element_size()
    checksum = sum(each.detach().reshape(-1)[::step].double().sum().item() for each in net.parameters())
    reading = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "cpu": cpu, "reading": reading, "peak": peak, "checksum": checksum}))


if __name__ == "__main__":
    main()
