"""Pruning half of a model by magnitude, whole process against whole process: `python -m benchmarks.prune [--quick]`.

The peers are `torch.nn.utils.prune.global_unstructured`, and all magnitudes put together with `torch.kthvalue`: both
with safetensors' reader and writer. Nobody waits for the disk. All run in each round, in random order, and find no
output there. That ours is exactly half, and zero where PyTorch's are but for equal magnitudes, is proved before.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import statedict
from benchmarks.asking import begin, options
from benchmarks.measuring import Contestant, Run, command_of, run
from benchmarks.opening import PYTHON, ROOT
from benchmarks.reporting import Outcome, report
from benchmarks.samples import FULL, QUICK, Sizes, large
from benchmarks.saving import clear, measure

_PROGRAMS = ROOT / "benchmarks" / "contestants"
_MIDDLE = Sizes(layers=12, hidden=768, feed_forward=2752, vocabulary=87_600, expert_layers=1, experts=1, shards=1)
"""305 MiB: what PyTorch's pruning has room for."""
_AHEAD = (20, 5)
_MOST_MIB = 200


def make(folder: Path, name: str, sizes: Sizes) -> Path:
    """A model of random weights; made where it is not there."""
    from safetensors.torch import save_file
    from torch import Generator, bfloat16, randn

    file = folder / f"{name}.safetensors"
    if not file.exists():
        generator = Generator().manual_seed(0)
        save_file({name: randn(shape, generator=generator, dtype=bfloat16) for name, shape, _ in large(sizes)}, file)
    return file


def contestants(output: Path) -> tuple[Contestant, ...]:
    """Those who prune a file into the folder `output`, ours first."""
    programs = (
        ("`statedict.prune`", "statedict_prune.py"),
        ("`global_unstructured`", "torch_prune.py"),
        ("`cat`, `kthvalue`", "torch_kthvalue.py"),
    )
    return tuple(
        Contestant(name, (PYTHON, f"{_PROGRAMS}/{program}", str(output)), is_ours=program[0] == "s")
        for name, program in programs
    )


def prove(who: Sequence[Contestant], file: Path, output: Path) -> None:
    """Raise ValueError unless exactly half is zero, and all that PyTorch decides otherwise is equally large."""
    clear(output)
    for each in who[:2]:
        run(command_of(each, file))
    ours, torch, before = (
        statedict.open(path) for path in (output / "ours.safetensors", output / "torch.safetensors", file)
    )
    zeros = total = 0
    differing: set[float] = set()
    for name, _ in before.named_parameters():
        values, a, b = (np.abs(model.get_parameter(name).numpy().astype(np.float32)) for model in (before, ours, torch))
        zeros, total = zeros + int((a == 0).sum()), total + a.size
        differing |= set(values[(a == 0) != (b == 0)].tolist())
        if (a[a != 0] != values[a != 0]).any():
            raise ValueError(f"`{name}`: what stays is not what it was")
    if zeros != round(total / 2) or len(differing) > 1:
        raise ValueError(f"{zeros:,} of {total:,} are zero, and {len(differing)} magnitudes are decided otherwise")


def verdict(medians: Sequence[Run]) -> str:
    """What was to be reached, and what was."""
    ours, *peers = medians
    ahead = [peer.seconds / ours.seconds for peer in peers]
    met = "reached" if all(times >= least for times, least in zip(ahead, _AHEAD, strict=True)) else "missed"
    return f"Goal: {_AHEAD[0]} and {_AHEAD[1]} times ahead: {ahead[0]:.1f} and {ahead[1]:.1f} times: {met}.\n"


def main(given: list[str] | None = None) -> None:
    """Measure, and print."""
    asked = begin(options("prune", __doc__, rounds=5), given)
    with tempfile.TemporaryDirectory(prefix="statedict-benchmarks-", dir=asked.keep) as temporary:
        folder, output = (asked.keep or Path(temporary)).resolve(), Path(temporary).resolve() / "output"
        output.mkdir()
        who = contestants(output)
        file = make(folder, "middle", QUICK if asked.quick else _MIDDLE)
        prove(who, file, output)
        medians = measure(who, file, output, asked.rounds)
        print(report(Outcome("305 MiB of bfloat16, half of it pruned", who, medians), markdown=asked.markdown))
        print("" if asked.quick else verdict(medians), flush=True)
        if not asked.quick:
            medians = measure(who[:1], make(folder, "whole", FULL), output, asked.rounds)
            print(report(Outcome("2.25 GiB, ours alone", who[:1], medians), markdown=asked.markdown))
            peak = medians[0].peak_bytes / 2**20
            print(f"Goal: under {_MOST_MIB} MiB: {peak:.0f}: {'reached' if peak < _MOST_MIB else 'missed'}.\n")


if __name__ == "__main__":
    main(sys.argv[1:])
