"""Casting whole models, process against process: `python -m benchmarks.casting [--quick]`.

bfloat16 to float32 and back, against PyTorch, and against `cp` of what was written, made durable as ours is: the disk's
own speed. Then float32 models of 6 and 12 GiB, for the memory that it takes: files with holes, which cost no disk.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import statedict
from benchmarks.asking import begin, options
from benchmarks.measuring import Contestant, Run, command_of, run
from benchmarks.opening import PYTHON, ROOT, samples
from benchmarks.reporting import Outcome, report
from benchmarks.samples import LARGE, header
from benchmarks.saving import clear, measure

_PROGRAMS = ROOT / "benchmarks" / "contestants"
_LEAST_SPEED = 1e9
_MOST_MEMORY = 200 * 2**20
_GIB = 2**30


def contestants(output: Path, dtype: str, written: Path) -> tuple[Contestant, ...]:
    """Those who cast a file to `dtype` into the folder `output`, ours first; the last copies what `written` holds."""
    shell = shutil.which("sh") or "/bin/sh"
    copy = 'cp "$1" "$0"/copy && sync "$0"/copy'
    return (
        Contestant("`statedict.save`", (PYTHON, f"{_PROGRAMS}/statedict_cast.py", str(output), dtype), is_ours=True),
        Contestant("`load_file`, `to`, `save_file`", (PYTHON, f"{_PROGRAMS}/torch_cast.py", str(output), dtype)),
        Contestant("`cp`, `sync` of the result", (shell, "-c", copy, str(output), str(written))),
    )


def compare(file: Path, dtype: str, written: Path, output: Path, rounds: int) -> tuple[Sequence[Contestant], list[Run]]:
    """The medians of casting `file`, whose result is left at `written`."""
    who = contestants(output, dtype, written)
    prove(who, file, output)
    (output / "ours.safetensors").rename(written)
    return who, measure(who, file, output, rounds)


def prove(who: Sequence[Contestant], file: Path, output: Path) -> None:
    """Raise ValueError unless the first two write the same numbers; a NaN has many bit patterns, and none is right."""
    clear(output)
    for each in who[:2]:
        run(command_of(each, file))
    ours, torch = (statedict.open(output / f"{name}.safetensors").state_dict() for name in ("ours", "torch"))
    for name in ours.keys() | torch.keys():
        a, b = ours[name].float().numpy(), torch[name].float().numpy()
        if ours[name].dtype != torch[name].dtype or not np.array_equal(a, b, equal_nan=True):
            raise ValueError(f"{file.name}: `{name}` is not the same in both")


def verdict(medians: Sequence[Run], size: int) -> str:
    """What was to be reached, and what was."""
    ours, torch, copy = (each.seconds for each in medians)
    met = "reached" if size / ours >= _LEAST_SPEED or ours <= copy else "missed"
    return (
        f"Goal: 1 GB/s of output, or the disk's speed: {size / ours / 1e9:.2f} GB/s, {ours / copy:.2f} times as long "
        f"as copying the result, {torch / ours:.1f} times ahead of PyTorch: {met}.\n"
    )


def with_holes(path: Path, size: int) -> Path:
    """A safetensors file of float32 zeros, `size` bytes of them in tensors of 256 MiB, that takes no disk."""
    each = min(size, 2**28)
    head = header((f"layers.{number}.weight", (each // 4096, 1024), "float32") for number in range(size // each))
    path.write_bytes(head)
    os.truncate(path, len(head) + size)
    return path


def memory(folder: Path, output: Path, sizes: Sequence[int]) -> str:
    """The most memory that casting a model of each size took."""
    peaks: list[int] = []
    for size in sizes:
        file = with_holes(folder / "holes.safetensors", size)
        clear(output)
        peaks.append(run(command_of(contestants(output, "bfloat16", file)[0], file)).peak_bytes)
        file.unlink()
    clear(output)
    said = ", ".join(
        f"{size / _GIB:.4g} GiB in {peak / 2**20:.0f} MiB" for size, peak in zip(sizes, peaks, strict=True)
    )
    return (
        f"Memory, at most {_MOST_MEMORY >> 20} MiB: {said}: {'reached' if max(peaks) <= _MOST_MEMORY else 'missed'}.\n"
    )


def main(given: list[str] | None = None) -> None:
    """Measure, and print each case as it is done."""
    asked = begin(options("casting", __doc__, rounds=5), given)
    with samples(asked.keep, quick=asked.quick) as folder, tempfile.TemporaryDirectory(dir=folder) as temporary:
        wide, narrow = (Path(temporary).resolve() / name for name in ("wide", "narrow"))
        output = Path(temporary).resolve() / "output"
        output.mkdir()
        file = (folder / f"{LARGE}.safetensors").resolve()
        for source, dtype, written in ((file, "float32", wide), (wide, "bfloat16", narrow)):
            who, medians = compare(source, dtype, written, output, asked.rounds)
            title = f"{source.stat().st_size / _GIB:.2f} GiB to {dtype}"
            print(report(Outcome(title, who, medians), markdown=asked.markdown))
            print("" if asked.quick else verdict(medians, written.stat().st_size), flush=True)
        print(memory(folder, output, (2**20, 2**21) if asked.quick else (6 * _GIB, 12 * _GIB)))


if __name__ == "__main__":
    main(sys.argv[1:])
