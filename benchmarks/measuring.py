"""Whole processes, measured one after the other: every contestant in turn, round after round."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took."""

    seconds: float
    """From its start to its end, by the clock on the wall."""
    cpu_seconds: float
    """User and system time, which other work on the machine disturbs less."""
    peak_bytes: int
    """The most that it held of real memory at one time, shared libraries and mapped files included."""
    read_bytes: int
    """What its system calls returned, of any file. A file that is mapped into memory does not count."""
    disk_bytes: int
    """What was fetched from the disk on its behalf, mapped or not, and read ahead of it."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do what a case asks: a name, and a command to which the file is added."""

    name: str
    command: tuple[str, ...]
    is_ours: bool = False


def run(command: Sequence[str], output: str = os.devnull) -> Run:
    """One run of `command`, its standard output in the file `output`. Raises CalledProcessError where it fails."""
    launched = [sys.executable, "-I", "-S", os.fspath(_LAUNCHER), output, *command]
    # What was installed is there as bytecode; where Python may not keep it, only our own sources are compiled anew.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(launched, check=True, capture_output=True, text=True, env=environment)
    result = json.loads(done.stdout)
    if (code := result.pop("exit_code")) != 0:
        error = subprocess.CalledProcessError(code, list(command), stderr=done.stderr)
        error.add_note(done.stderr)
        raise error
    return Run(**result)


def alternated(
    contestants: Sequence[Contestant], file: Path | None, rounds: int, *, cold: bool = False
) -> dict[str, list[Run]]:
    """The runs of each contestant by name, all in turn in each round; `file` is in memory, or if `cold` not at all."""
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant in contestants:
            if file is not None:
                (forget if cold else recall)(file)
            runs[contestant.name].append(run(command_of(contestant, file)))
    return runs


def command_of(contestant: Contestant, file: Path | None) -> list[str]:
    """The contestant's command with the file at its end."""
    return [*contestant.command, *([] if file is None else [os.fspath(file)])]


def forget(file: Path) -> None:
    """Ask the kernel to drop the file, or those in a folder, from its page cache: it takes no rights, but an fsync."""
    if file.is_dir():
        for held in file.iterdir():
            forget(held)
        return
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def recall(file: Path) -> None:
    """Read the file, or those in a folder: some kernels drop from the page cache what nobody asks for (DAMON)."""
    if file.is_dir():
        for held in file.iterdir():
            recall(held)
        return
    room = bytearray(1 << 22)
    with file.open("rb", buffering=0) as opened:
        while opened.readinto(room):
            pass


def middle(runs: Iterable[Run]) -> Run:
    """The median of each figure, and of memory the most."""
    runs = list(runs)
    return Run(
        seconds=median(run.seconds for run in runs),
        cpu_seconds=median(run.cpu_seconds for run in runs),
        peak_bytes=max(run.peak_bytes for run in runs),
        read_bytes=round(median(run.read_bytes for run in runs)),
        disk_bytes=round(median(run.disk_bytes for run in runs)),
    )


def machine() -> str:
    """The machine and the versions in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in ("statedict", "torch", "safetensors"))
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB of memory, "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}, {libraries}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
