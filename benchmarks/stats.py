"""The figures of all tensors, whole process against whole process: `python -m benchmarks.stats [--quick]`.

The peers are loops in PyTorch over what safetensors maps into memory, and `sft stat`, where `--sft` or the PATH has it.
That all find the same is proved before anything is measured. The numbers are normally distributed as weights are; a
model repeats the same 32 MiB of them, which no contestant can tell.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.asking import begin, options
from benchmarks.measuring import Contestant, Run, alternated, command_of, middle, run
from benchmarks.opening import PYTHON, ROOT
from benchmarks.reporting import Outcome, report
from benchmarks.samples import FULL, QUICK, Sizes, header, large
from statedict.dtypes import DTYPES

_PROGRAMS = ROOT / "benchmarks" / "contestants"
_OURS = f"{_PROGRAMS}/statedict_stats.py"
IN_C = Contestant("`statedict.stats`", (PYTHON, _OURS), is_ours=True)
BY_NUMPY = Contestant(
    "`statedict.stats`, by numpy alone",
    (shutil.which("env") or "/usr/bin/env", "STATEDICT_NO_ACCELERATOR=1", PYTHON, _OURS),
    is_ours=True,
)
COMMAND = Contestant("`statedict stats`", (PYTHON, "-m", "statedict", "stats"), is_ours=True)
CAREFUL, NAMED, FASTEST = (
    Contestant(name, (PYTHON, f"{_PROGRAMS}/torch_stats.py", how))
    for name, how in (
        ("careful torch loop", "careful"),
        ("torch loop, as one writes it", "named"),
        ("torch loop, the fastest that we found", "fastest"),
    )
)
_COMPARED = (IN_C, BY_NUMPY, CAREFUL, NAMED, FASTEST)
CAT = Contestant("`cat`", (shutil.which("cat") or "/bin/cat",))
_AHEAD = {IN_C.name: 25, BY_NUMPY.name: 8}
_MOST_MEMORY = 80 * 2**20
_REPEATED = 32 * 2**20
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: a model of one element type, so many times as large as the usual one, and who reads it."""

    dtype: str
    times: int
    contestants: tuple[Contestant, ...]
    rounds: int
    cold: bool = False


def cases(sft: Contestant | None, rounds: int) -> tuple[Case, ...]:
    """Everything that is measured."""
    beside = () if sft is None else (sft,)
    three = (IN_C, BY_NUMPY, CAREFUL)
    return (
        Case("bfloat16", 1, (IN_C, BY_NUMPY, COMMAND, CAREFUL, NAMED, FASTEST, *beside), rounds),
        Case("float16", 1, three, rounds),
        Case("float32", 1, three, rounds),
        Case("bfloat16", 4, three, 1),
        Case("bfloat16", 1, (IN_C, CAT), rounds, cold=True),
    )


def sft_stat(given: Path | None) -> Contestant | None:
    """`sft stat` of sft-cli, from where it is said to be, or from the PATH; None where it is not."""
    found = given or shutil.which("sft")
    return None if found is None else Contestant("`sft stat`", (os.fspath(found), "stat"))


def make(path: Path, dtype: str, times: int, sizes: Sizes) -> Path:
    """The large model of the samples in another element type, so many times over; as it is, if it is there."""
    if not path.exists():
        tensors = [(f"{copy}.{name}", shape, dtype) for copy in range(times) for name, shape, _ in large(sizes)]
        left = DTYPES[dtype].itemsize * sum(int(np.prod(shape)) for _, shape, _ in tensors)
        numbers = np.random.default_rng(0).normal(0, 0.02, _REPEATED // DTYPES[dtype].itemsize)
        repeated = numbers.astype(DTYPES[dtype].to_numpy()).view("u1").data
        with path.open("wb") as file:
            file.write(header(iter(tensors)))
            for at in range(0, left, _REPEATED):
                file.write(repeated[: left - at])
    return path


def measure(case: Case, file: Path) -> Outcome:
    """The medians of a case. Raises CalledProcessError where a process fails, ValueError where two disagree."""
    if case.times == 1:
        prove([each for each in case.contestants if each in _COMPARED], file)
    cold = alternated(case.contestants, file, case.rounds, cold=True) if case.cold else {}
    warm = alternated(case.contestants, file, case.rounds)
    title = f"{file.stat().st_size / _GIB:.2f} GiB, {case.dtype}"
    return Outcome(title, case.contestants, [*map(middle, warm.values())], [*map(middle, cold.values())])


def prove(who: Sequence[Contestant], file: Path) -> None:
    """Raise ValueError unless all find the same figures, as exact as 16 bits are where they are rounded to these."""
    first, *others = [(each, dict(figures(each, file))) for each in who]
    for each, found in others:
        near = 2.0**-7 if each is NAMED else 1e-4
        for name, (low, high, mean, std, *rest) in first[1].items():
            wanted, deviation = np.array([low, high, mean, std]), float(std)
            if found[name][4:] != rest or not np.allclose(found[name][:4], wanted, rtol=near, atol=near * deviation):
                raise ValueError(f"{file.name}: `{name}` is not the same to {first[0].name} and {each.name}")


def figures(contestant: Contestant, file: Path) -> Iterator[tuple[str, list[float]]]:
    """Each tensor with its min, max, mean, std, zeros, and whether all is finite, as the contestant prints them."""
    with tempfile.NamedTemporaryFile("r") as output:
        run(command_of(contestant, file), output.name)
        for line in output:
            name, *numbers = line.split()
            yield name, [float(each == "True") if each in ("True", "False") else float(each) for each in numbers]


def verdict(outcome: Outcome) -> str:
    """What was to be reached, and what was."""
    runs = {who.name: found for who, found in zip(outcome.contestants, outcome.warm, strict=True)}
    if CAT.name in runs:
        ours, cat = outcome.cold
        return f"Goal: the disk's own speed. Cold, {ours.seconds / cat.seconds:.2f} times as long as `cat`.\n"
    said = [_ahead(runs[name], runs[CAREFUL.name], wanted, name) for name, wanted in _AHEAD.items()]
    most = max(runs[name].peak_bytes for name in _AHEAD)
    met = "reached" if most < _MOST_MEMORY else "missed"
    said.append(f"peak below {_MOST_MEMORY >> 20} MiB: {most / 2**20:.0f} MiB, {met}")
    return f"Goals, against the careful torch loop: {'; '.join(said)}.\n"


def _ahead(ours: Run, peer: Run, wanted: int, name: str) -> str:
    ahead = peer.seconds / ours.seconds
    return f"{name} {wanted} times ahead: {ahead:.1f} times, {'reached' if ahead >= wanted else 'missed'}"


def main(given: list[str] | None = None) -> None:
    """Measure, and print each case as it is done."""
    parser = options("stats", __doc__, rounds=3)
    parser.add_argument("--sft", type=Path, metavar="PROGRAM", help="sft-cli's `sft`, to compare with")
    parser.add_argument("--only", metavar="DTYPE", help="only models of this element type")
    asked = begin(parser, given)
    sft, sizes = sft_stat(asked.sft), QUICK if asked.quick else FULL
    if sft is None:
        print("`sft stat` is not measured: `pip install sft-cli` where the PATH leads, or name it with `--sft`.\n")
    with tempfile.TemporaryDirectory(prefix="statedict-benchmarks-") as temporary:
        folder = (asked.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for case in cases(sft, asked.rounds):
            if asked.only in (None, case.dtype):
                file = make(folder / f"{case.dtype}-{case.times}.safetensors", case.dtype, case.times, sizes)
                outcome = measure(case, file)
                print(report(outcome, markdown=asked.markdown))
                print("" if asked.quick else verdict(outcome), flush=True)


if __name__ == "__main__":
    main()
