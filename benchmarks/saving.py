"""Converting `.pt` to safetensors, whole process against whole process: `python -m benchmarks.saving [--quick]`.

The peers are PyTorch with safetensors' writer, and `cp`, which converts nothing. `cp` and PyTorch leave it to the
operating system when the disk gets the bytes; ours waits for the disk unless told not to, so both are measured both
ways. All run in each round, in random order, and find no output there. That ours and PyTorch's hold the same is
proved before anything is measured.
"""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import statedict
from benchmarks.asking import begin, options
from benchmarks.measuring import Contestant, Run, command_of, middle, run
from benchmarks.opening import PYTHON, ROOT, samples
from benchmarks.reporting import Outcome, report
from benchmarks.samples import LARGE, MANY

_PROGRAMS = ROOT / "benchmarks" / "contestants"
_TITLES = {LARGE: "2.25 GiB, `.pt` to safetensors", MANY: "60,000 tensors, `.pt` to safetensors"}
_MOST_OF_COPY, _LEAST_AHEAD = 1.25, 2


def contestants(output: Path) -> tuple[Contestant, ...]:
    """Those who write to the folder `output`, ours first."""
    shell, copy = shutil.which("sh") or "/bin/sh", shutil.which("cp") or "/bin/cp"
    return (
        Contestant(
            "`statedict.save`", (PYTHON, f"{_PROGRAMS}/statedict_save.py", str(output), "durable"), is_ours=True
        ),
        Contestant("`torch.load(mmap=True)`, `save_file`", (PYTHON, f"{_PROGRAMS}/torch_save.py", str(output))),
        Contestant("`cp`", (copy, "-t", str(output))),
        Contestant(
            "`statedict.save(durable=False)`",
            (PYTHON, f"{_PROGRAMS}/statedict_save.py", str(output), "quick"),
            is_ours=True,
        ),
        Contestant("`cp`, `sync`", (shell, "-c", 'cp -t "$0" "$1" && sync "$0"/*', str(output))),
    )


def measure(who: Sequence[Contestant], file: Path, output: Path, rounds: int) -> list[Run]:
    """The medians of each contestant, in their order."""
    runs: dict[str, list[Run]] = {each.name: [] for each in who}
    for _ in range(rounds):
        for each in random.sample(who, len(who)):
            clear(output)
            runs[each.name].append(run(command_of(each, file)))
    return [middle(of_one) for of_one in runs.values()]


def clear(output: Path) -> None:
    """Empty the folder, and wait until the disk is done with whatever was before."""
    for path in output.iterdir():
        path.unlink()
    os.sync()


def prove(who: Sequence[Contestant], file: Path, output: Path) -> None:
    """Raise ValueError unless the first two write the same tensors, byte for byte."""
    clear(output)
    for each in who[:2]:
        run(command_of(each, file))
    ours, torch = (statedict.open(output / f"{name}.safetensors") for name in ("ours", "torch"))
    pairs = zip(sorted(ours.state_dict().items()), sorted(torch.state_dict().items()), strict=True)
    for (name, a), (other, b) in pairs:
        if (name, a.dtype, a.shape) != (other, b.dtype, b.shape) or _bytes(a) != _bytes(b):
            raise ValueError(f"{file.name}: `{name}` is not the same in both")


def _bytes(tensor: statedict.Tensor) -> bytes:
    return tensor.info.extent.read() if tensor.info.extent else b""


def verdict(medians: Sequence[Run]) -> str:
    """What was to be reached, and what was."""
    ours, torch, copy, quick, durable = (each.seconds for each in medians)
    like = max(quick / copy, ours / durable)
    met = "reached" if like <= _MOST_OF_COPY and torch >= _LEAST_AHEAD * quick else "missed"
    return (
        f"Goal: at most {_MOST_OF_COPY} times `cp`, and {_LEAST_AHEAD} times ahead of PyTorch. Where nobody waits for "
        f"the disk: {quick / copy:.2f} times `cp`, {torch / quick:.1f} times ahead; ours that waits: "
        f"{ours / durable:.2f} times `cp` with `sync`, {torch / ours:.1f} times ahead: {met}.\n"
    )


def main(given: list[str] | None = None) -> None:
    """Measure, and print each case as it is done."""
    asked = begin(options("saving", __doc__, rounds=9), given)
    with samples(asked.keep, quick=asked.quick) as folder, tempfile.TemporaryDirectory(dir=folder) as temporary:
        output = Path(temporary).resolve()
        for name, title in _TITLES.items():
            who, file = contestants(output), (folder / f"{name}.pt").resolve()
            prove(who, file, output)
            medians = measure(who, file, output, asked.rounds)
            print(report(Outcome(title, who, medians), markdown=asked.markdown))
            print(verdict(medians) if name == LARGE and not asked.quick else "", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
