"""Fuzz targets for a time: `python -m fuzz [TARGET ...] [--seconds N] [--engine atheris|random] [--keep FOLDER]`.

With atheris (an extra of its own: `pip install atheris`), mutations are guided by the lines that they reach; without,
they are made at random, from a seed that is printed. A fault ends the run of its target, its input is kept, and the
exit code is 1. What was run is added to `record.json` in the folder, of which `--table` prints the table in the docs.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

from fuzz import record
from fuzz.measuring import Meter
from fuzz.record import Ran
from fuzz.targets import TARGETS, Target, run

_CORPUS = 500
"""Mutated inputs that are mutated further, and kept between runs."""


def one(target: Target, data: bytes, meter: Meter | None = None) -> str:
    """What is wrong with how one input is read; "" where nothing is."""
    try:
        with (meter or Meter()).one():
            run(target, data)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - that is what is looked for
        return traceback.format_exc()
    return ""


class Pool:
    """Inputs that are mutated: the target's seeds, and some of what was made of them, now and in earlier runs."""

    def __init__(self, target: Target, folder: Path | None, chance: random.Random) -> None:
        self._folder, self._chance = folder, chance
        self.seeds = list(target.seeds())
        kept = sorted(folder.iterdir()) if folder is not None and folder.is_dir() else []
        self._grown = [path.read_bytes() for path in kept if path.name.startswith("kept-")]

    def any(self) -> bytes:
        return self._chance.choice(self._grown if self._grown and self._chance.random() < 0.7 else self.seeds)

    def offer(self, data: bytes) -> None:
        """Keep an input that was sound, sometimes, in the place of another where there are many."""
        if self._chance.random() < 0.02:
            self._grown.append(data)
            if len(self._grown) > _CORPUS:
                del self._grown[self._chance.randrange(_CORPUS)]

    def keep(self) -> None:
        """Write what has grown, for the next run."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.glob("kept-*"):
                path.unlink()
            for data in self._grown:
                (self._folder / f"kept-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)


def at_random(
    name: str, seconds: float, seed: int = 0, most: int | None = None, folder: Path | None = None
) -> tuple[Ran, bytes, str]:
    """Fuzz one target for a time, or `most` inputs: what it took, and of a fault, the input and the text.

    What is mutated is kept in `folder`, and so is each input while it is read, should the process not survive it.
    """
    target, chance, meter = TARGETS[name], random.Random(f"{name} {seed}"), Meter()
    pool, began = Pool(target, folder, chance), time.process_time()

    def ran(faults: int) -> Ran:
        return Ran(meter.inputs, time.process_time() - began, meter.slowest, meter.largest, faults)

    for data in pool.seeds:
        if wrong := one(target, data, meter):
            return ran(1), data, wrong
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end and (most is None or count < most):
        data = pool.any()
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            data = target.mutate(data, chance)
        count += 1
        if target.native and folder is not None:
            (folder / "now").write_bytes(data)
        if wrong := one(target, data, meter):
            return ran(1), data, wrong
        pool.offer(data)
    pool.keep()
    return ran(0), b"", ""


def write_seeds(name: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(TARGETS[name].seeds()):
        (folder / f"seed-{number:03}").write_bytes(data)


def guided(name: str, seconds: float, keep: Path) -> int:
    """Fuzz one target with atheris, in a process that watches statedict's lines; its exit code."""
    write_seeds(name, keep / name)
    command = [sys.executable, "-m", "fuzz.guided", name, str(int(seconds)), str(keep)]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own


def fuzz(name: str, seconds: float, seed: int, keep: Path) -> bool:
    """Fuzz one target at random, tell and record it; whether it is sound."""
    (keep / name).mkdir(parents=True, exist_ok=True)
    ran, data, wrong = at_random(name, seconds, seed, folder=keep / name)
    record.add(keep / "record.json", name, ran)
    said = "a fault" if wrong else "sound"
    took = f"{ran.inputs:,} inputs in {ran.seconds:.0f} s, the slowest {ran.slowest:.2f} s, {ran.largest >> 20} MiB"
    print(f"{name}, seed {seed}: {took} at most: {said}", flush=True)
    if wrong:
        path = keep / f"{name}-fault-{seed}"
        path.write_bytes(data)
        print(f"{wrong}\nthe input is kept in {path}", flush=True)
    return not wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, help="of chance; by default another for each run")
    parser.add_argument("--engine", choices=["random", "atheris"], default="random")
    parser.add_argument("--keep", type=Path, default=Path(".cache/fuzz"))
    parser.add_argument("--table", action="store_true", help="print the record as a table, and fuzz nothing")
    asked = parser.parse_args()
    asked.keep.mkdir(parents=True, exist_ok=True)
    if asked.table:
        print(record.table(record.read(asked.keep / "record.json"), TARGETS), end="")
        return 0
    if asked.engine == "atheris":
        return max(guided(name, asked.seconds, asked.keep) for name in asked.targets or TARGETS)
    seed = random.SystemRandom().randrange(1 << 32) if asked.seed is None else asked.seed
    sound = [fuzz(name, asked.seconds, seed, asked.keep) for name in asked.targets or TARGETS]
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
