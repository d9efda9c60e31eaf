"""Comparing two models, whole process against whole process: `python -m benchmarks.diff [--quick]`.

The peers are PyTorch's loop that finds the largest difference of each tensor, the files mapped into memory: in float32,
and in the files' own type, which rounds. Ours says far more of each tensor; with the C accelerator and without. All run
in each round, in random order. That ours and PyTorch's find the same largest difference is proved before anything is
measured.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import Contestant, Run, machine
from benchmarks.merging import make
from benchmarks.opening import PYTHON, ROOT
from benchmarks.reporting import Outcome, report
from benchmarks.samples import FULL, QUICK
from benchmarks.saving import measure

_PROGRAM = f"{ROOT}/benchmarks/contestants/torch_diff.py"
_AHEAD, _AHEAD_IN_NUMPY = 10, 4
_MOST_BYTES = 120 << 20
_MIB = 1 << 20


def contestants(other: Path) -> tuple[Contestant, ...]:
    """Those who compare a file with `other`, ours first; each prints what it found, and ends with 0."""
    ours = f'"{PYTHON}" -m statedict diff --json --no-kinds "$0" "$1"; test $? -eq 1'
    said = ours.replace(" --no-kinds", "")
    return (
        Contestant("`statedict diff`", ("/bin/sh", "-c", said, str(other)), is_ours=True),
        Contestant("`statedict diff --no-kinds`", ("/bin/sh", "-c", ours, str(other)), is_ours=True),
        Contestant(
            "`statedict diff`, numpy alone",
            ("/usr/bin/env", "STATEDICT_NO_ACCELERATOR=1", "/bin/sh", "-c", said, str(other)),
            is_ours=True,
        ),
        Contestant("`(a.float() - b.float()).abs().max()`", (PYTHON, _PROGRAM, "float32", str(other))),
        Contestant("`(a - b).abs().max()`", (PYTHON, _PROGRAM, "own", str(other))),
    )


def prove(who: Sequence[Contestant], file: Path) -> None:
    """Raise ValueError unless ours and PyTorch's find the same largest difference."""
    found = [subprocess.run([*each.command, str(file)], check=True, capture_output=True, text=True) for each in who]
    largest = [json.loads(each.stdout)["total"]["max"] for each in found[:3]]
    if len({*largest, float(found[3].stdout)}) > 1:
        raise ValueError(f"the largest difference is {largest}, or as PyTorch has it {found[3].stdout}")


def verdict(medians: Sequence[Run]) -> str:
    """What was to be reached, and what was."""
    ours, _, plain, torch, _ = medians
    goals = [
        (f"{_AHEAD} times ahead", torch.seconds / ours.seconds, _AHEAD),
        (f"{_AHEAD_IN_NUMPY} times ahead in numpy", torch.seconds / plain.seconds, _AHEAD_IN_NUMPY),
    ]
    said = [f"{name}: {found:.1f}, {'reached' if found >= goal else 'missed'}" for name, found, goal in goals]
    most = max(ours.peak_bytes, plain.peak_bytes)
    reached = "reached" if most <= _MOST_BYTES else "missed"
    return f"Goals: {'; '.join(said)}; at most {_MOST_BYTES // _MIB} MiB: {most / _MIB:.0f}, {reached}.\n"


def main(given: list[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diff", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small files, one round: does it work at all?")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the files to compare there, or take them")
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each (9; 1 when quick)")
    asked = parser.parse_args(given)
    rounds = asked.rounds or (1 if asked.quick else 9)
    if asked.quick:
        print("Tiny files: this shows that everything works, and the figures mean nothing.\n")
    print(f"{machine()}. Medians of {rounds} runs, most memory.\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="statedict-benchmarks-", dir=asked.keep) as temporary:
        folder, nothing = (asked.keep or Path(temporary)).resolve(), Path(temporary).resolve() / "nothing"
        nothing.mkdir()
        file, other = make(folder, QUICK if asked.quick else FULL)
        who = contestants(other)
        prove(who, file)
        medians = measure(who, file, nothing, rounds)
        print(report(Outcome("Two models of 2.25 GiB in bf16, compared", who, medians), markdown=asked.markdown))
        print("" if asked.quick else verdict(medians), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
