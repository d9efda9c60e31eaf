"""Which tools list what is in which files, in what time and memory: `python -m benchmarks.tools --tools FOLDER`.

FOLDER is an environment in which PyPI's sft-cli, ckptkit, modelinfo-cli, safetensors-print and gguf are installed. Each
tool is asked for the tensors of each file in the way that its documentation tells; a cell says how many of them it
lists, or how it ended, and whether the payload of a hostile file ran. Then all list one file of 512 MiB.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

import statedict as sd
from benchmarks.measuring import Contestant, machine, middle, run
from benchmarks.opening import EXAMPLE, PYTHON, ROOT
from benchmarks.reporting import Outcome, report

_PROGRAMS = ROOT / "benchmarks" / "contestants"
_OLD = ROOT / "examples" / "lpips" / "alex.pth"
_PACKAGES = ("sft-cli", "ckptkit", "modelinfo-cli", "safetensors-print", "gguf")
_RAN = "ran"
"""The file that the payload of the hostile one would make."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A file, and how many tensors are in it."""

    title: str
    path: Path
    tensors: int


class _Payload:
    """What would make a file if it were unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (_RAN,)


def tools(folder: Path | None) -> dict[str, tuple[str, ...]]:
    """The command of each tool, to which the file is added."""
    found: dict[str, tuple[str, ...]] = {
        "`statedict ls`": (PYTHON, "-m", "statedict", "ls"),
        "`torch.load`": (PYTHON, f"{_PROGRAMS}/torch_any.py"),
        "`safe_open`": (PYTHON, f"{_PROGRAMS}/safe_open.py", "numpy"),
    }
    if folder is not None:
        of_others = {
            "`sft tree`": ("sft", "tree"),
            "`ckptkit info`": ("ckptkit", "info"),
            "`modelinfo --tensors`": ("modelinfo", "--tensors"),
            "`safetensors-print`": ("safetensors-print", "--tensors"),
            "`gguf-dump`": ("gguf-dump",),
        }
        found |= {name: (str(folder / "bin" / first), *rest) for name, (first, *rest) in of_others.items()}
    return found


def versions(folder: Path | None) -> str:
    """The versions of what is in the folder."""
    paths = [] if folder is None else [str(path) for path in folder.glob("lib/python*/site-packages")]
    found = {each.metadata["Name"]: each.version for each in distributions(path=paths)}
    return ", ".join(f"{name} {found[name]}" for name in _PACKAGES if name in found)


def write(folder: Path) -> list[Sample]:
    """The files that the tools are given."""
    model = sd.open(EXAMPLE)
    count = len(model.state_dict())
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    shutil.copy(EXAMPLE, folder / "net.pt")  # some tools go by the suffix
    torch.save(_of_no_class(), folder / "whole.pt")
    torch.save({"model": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, folder / "training.pt")
    torch.save({**state, "hook": _Payload()}, folder / "hostile.pt")
    sd.save(model, folder / "net.safetensors")
    sd.save(model, folder / "shards", max_shard_size=500_000)
    sd.save(sd.drop(model, "**.num_batches_tracked"), folder / "net.gguf")
    np.savez(folder / "net.npz", **arrays)
    return [
        Sample("state dict, `torch.save`", folder / "net.pt", count),
        Sample("state dict before PyTorch 1.6", _OLD, 5),
        Sample("training checkpoint with a `Namespace`", folder / "training.pt", count),
        Sample("whole model of a class that is nowhere", folder / "whole.pt", 4),
        Sample("state dict with a hostile pickle", folder / "hostile.pt", count),
        Sample("safetensors", folder / "net.safetensors", count),
        Sample("folder of safetensors shards", folder / "shards", count),
        Sample("GGUF", folder / "net.gguf", count - 6),
        Sample("`numpy.savez`", folder / "net.npz", count),
    ]


def _of_no_class() -> nn.Module:
    """A model whose class no other process can import."""
    gone = sys.modules["gone"] = ModuleType("gone")
    gone.Net = type("Net", (nn.Sequential,), {"__module__": "gone"})  # type: ignore[attr-defined]
    made: Any = gone.Net(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))  # type: ignore[attr-defined]
    return made


def said(command: Sequence[str], sample: Sample, folder: Path) -> str:
    """How many of the tensors a tool lists: "none" where it ends well, "no" where not; and whether the payload ran."""
    ran = folder / _RAN
    done = subprocess.run(
        [*command, os.fspath(sample.path)], capture_output=True, text=True, check=False, cwd=folder, timeout=120,
        env={**os.environ, "COLUMNS": "250", "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    listed = min(sum(map(_names_a_tensor, done.stdout.splitlines())), sample.tensors)
    payload = ", and ran the payload" if ran.exists() else ""
    if ran.exists():
        ran.rmdir()
    if listed:
        return ("all" if listed == sample.tensors else f"{listed} of {sample.tensors}") + payload
    return ("none" if done.returncode == 0 else "no") + payload


def _names_a_tensor(line: str) -> bool:
    """Whether a line has the last part of a tensor's name, and a number, which may be of its shape."""
    return re.search(r"\b(weight|bias|running_mean|running_var|num_batches_tracked)\b", line) is not None and (
        re.search(r"\d", line) is not None
    )


def large(folder: Path) -> dict[str, Path]:
    """512 MiB in 64 tensors, by format."""
    made = {f"layers.{number}.weight": torch.zeros(1024, 2048) for number in range(64)}
    torch.save(made, folder / "large.pt")
    sd.save(made, folder / "large.safetensors")
    return {"`.pt`": folder / "large.pt", "safetensors": folder / "large.safetensors"}


def main(given: list[str] | None = None) -> None:
    """Ask all tools, and print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tools", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tools", type=Path, metavar="FOLDER", help="the environment in which the others are")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each on the large file")
    parser.add_argument("--quick", action="store_true", help="only what each lists, and no large file")
    asked = parser.parse_args(given)
    chosen = tools(asked.tools)
    print(f"{machine()}{', ' * bool(asked.tools)}{versions(asked.tools)}.\n")
    print(f"| file | {' | '.join(chosen)} |\n|---|{'---|' * len(chosen)}")
    with tempfile.TemporaryDirectory(prefix="statedict-benchmarks-") as temporary:
        folder = Path(temporary)
        for sample in write(folder):
            cells = [said(command, sample, folder) for command in chosen.values()]
            print(f"| {sample.title}, {sample.tensors} tensors | {' | '.join(cells)} |", flush=True)
        for kind, file in {} if asked.quick else large(folder).items():
            listed = {name: said(command, Sample("", file, 64), folder) for name, command in chosen.items()}
            who = [
                Contestant(f"{name}, {found}", (*chosen[name], str(file)), "statedict" in name)
                for name, found in listed.items()
                if found not in {"no", "none"}
            ]
            runs = [middle([run(each.command) for _ in range(asked.rounds)]) for each in who]
            print("\n" + report(Outcome(f"512 MiB, {kind}", who, runs), markdown=True), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
