"""A checkpoint into a live model, against PyTorch and safetensors: `python -m benchmarks.loading [--quick]`.

Each runs in a process of its own, in turn, which makes the model before the clock starts: importing PyTorch takes
longer than loading. That all load the same is proved by a sum over every page. Models on the meta device have no
memory yet; what is only mapped is read when the weights are first used, so that is timed, too.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file

from benchmarks.asking import begin, options
from benchmarks.opening import PYTHON, ROOT
from benchmarks.samples import FULL, QUICK, Sizes, large

_PROGRAM = ROOT / "benchmarks" / "contestants" / "load.py"
_OURS, _MAPPED = "ours", "ours-mmap"
_NAMES = {
    (_OURS, "live"): "`sd.load_into(net, file)`",
    (_OURS, "meta"): "`sd.load_into(net, file)`",
    (_MAPPED, "meta"): "`sd.load_into(net, file, mmap=True)`",
    ("torch-mmap", "live"): "`net.load_state_dict(torch.load(file, mmap=True))`",
    ("torch", "live"): "`net.load_state_dict(torch.load(file))`",
    ("safetensors", "live"): "`safetensors.torch.load_model(net, file)`",
    ("torch-mmap", "meta"): "`net.load_state_dict(torch.load(file, mmap=True), assign=True)`",
    ("torch", "meta"): "`net.load_state_dict(torch.load(file), assign=True)`",
    ("safetensors", "meta"): "`net.load_state_dict(load_file(file), assign=True)`",
}
_TRACE = 0.05
"""Seconds that are too few to be told apart by processes that share a machine."""


@dataclass(frozen=True, slots=True)
class Case:
    """A file, and where the model is that it is loaded into."""

    dtype: str
    suffix: str
    where: str

    @property
    def title(self) -> str:
        place = "a model in memory" if self.where == "live" else "a model on the meta device"
        return f"`.{self.suffix}` of {self.dtype} into {place}"

    @property
    def ways(self) -> tuple[str, ...]:
        """Ours first."""
        ours = (_OURS,) if self.where == "live" else (_OURS, _MAPPED)
        return (*ours, *(("torch-mmap", "torch") if self.suffix == "pt" else ("safetensors",)))


CASES = tuple(
    Case(dtype, suffix, where)
    for where in ("live", "meta")
    for dtype in ("bfloat16", "float32")
    for suffix in ("pt", "safetensors")
)


def make(folder: Path, dtype: str, sizes: Sizes) -> None:
    """Write the large model of the samples in both formats; float32 in half as many elements, so as large."""
    if (folder / f"{dtype}.safetensors").exists():
        return
    if dtype == "float32":
        sizes = replace(sizes, layers=sizes.layers // 2, vocabulary=sizes.vocabulary // 2)
    torch.manual_seed(0)
    numbers = torch.randn(1 << 22).to(getattr(torch, dtype))
    state: dict[str, torch.Tensor] = {}
    for name, shape, _ in large(sizes):
        made = torch.empty(shape, dtype=numbers.dtype)
        for part in made.view(-1).split(len(numbers)):
            part.copy_(numbers[: len(part)])
        state[name] = made
    torch.save(state, folder / f"{dtype}.pt")
    save_file(state, folder / f"{dtype}.safetensors")


def measure(case: Case, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The medians of each way, of memory the most. Raises ValueError where they do not load the same."""
    file = folder / f"{case.dtype}.{case.suffix}"
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in case.ways}
    for _ in range(rounds):
        for way in case.ways:
            command = [PYTHON, str(_PROGRAM), way, case.where, str(file)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[way].append(json.loads(done.stdout))
    if len({run["checksum"] for found in runs.values() for run in found}) != 1:
        raise ValueError(f"{file.name}: not all have loaded the same")
    return {way: _middle(found) for way, found in runs.items()}


def _middle(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: (max if key == "peak" else median)(run[key] for run in runs) for key in runs[0]}


def table(case: Case, found: Mapping[str, Mapping[str, float]], *, markdown: bool) -> str:
    """The case under its title, times beside the first one's."""
    first = found[_OURS]["seconds"] + found[_OURS]["reading"] * (case.where == "meta")
    lines = [f"### {case.title}" if markdown else case.title, ""]
    lines += ["| way | s | CPU s | then read once, s | times | peak beside, MiB |", "|---|--:|--:|--:|--:|--:|"]
    for way, run in found.items():
        seconds = run["seconds"] + run["reading"] * (case.where == "meta")
        lines.append(
            f"| {_NAMES[way, case.where]} | {run['seconds']:.3f} | {run['cpu']:.3f} | {run['reading']:.3f} "
            f"| {seconds / first:.2f} | {run['peak'] / 2**20:.0f} |"
        )
    return "\n".join(lines) + "\n"


def verdict(case: Case, found: Mapping[str, Mapping[str, float]]) -> str:
    """Whether ours is no slower than any other; for the meta device, the way of ours that maps, as the others do."""
    ours = found[_OURS if case.where == "live" else _MAPPED]
    best = min((run for way, run in found.items() if way not in (_OURS, _MAPPED)), key=lambda run: run["seconds"])
    met = "reached" if ours["seconds"] <= best["seconds"] + _TRACE else "missed"
    return f"Goal: no slower than any: {ours['seconds']:.3f} s against {best['seconds']:.3f} s, {met}.\n"


def main(given: list[str] | None = None) -> None:
    """Measure, and print each case as it is done."""
    parser = options("loading", __doc__, rounds=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases with this in their titles")
    asked = begin(parser, given)
    with tempfile.TemporaryDirectory(prefix="statedict-benchmarks-") as temporary:
        folder = (asked.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for case in CASES:
            if asked.only in case.title:
                make(folder, case.dtype, QUICK if asked.quick else FULL)
                found = measure(case, folder, asked.rounds)
                print(table(case, found, markdown=asked.markdown))
                print("" if asked.quick else verdict(case, found), flush=True)


if __name__ == "__main__":
    main()
