"""Fuzz targets for a time: `python -m fuzz [TARGET ...] [--seconds N] [--engine atheris|random] [--keep FOLDER]`.

With atheris (an extra of its own: `pip install atheris`), mutations are guided by the lines that they reach; without,
they are made at random, from a seed that is printed. A fault ends the run with exit code 1, and its input is kept.
"""

import argparse
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

from fuzz.targets import TARGETS, Target, run

MOST_SECONDS = 5
MOST_BYTES = 300 << 20
"""Memory that an input of 1 MiB may take beyond what the process had."""
_CORPUS = 500


class TooLongError(Exception):
    """An input took longer than it may."""


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise TooLongError(f"longer than {MOST_SECONDS} s")


def memory() -> int:
    """The most bytes that this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def one(target: Target, data: bytes) -> str:
    """What is wrong with how one input is read; "" where nothing is."""
    before = memory()
    signal.signal(signal.SIGALRM, _ring)
    signal.alarm(MOST_SECONDS)
    try:
        run(target, data)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - that is what is looked for
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    grown = memory() - before
    return f"took {grown >> 20} MiB" if grown > MOST_BYTES else ""


def at_random(name: str, seconds: float, seed: int = 0, most: int | None = None) -> tuple[int, bytes, str]:
    """Fuzz one target for a time, or `most` inputs: how many were tried, and of a fault, the input and the text."""
    target, chance = TARGETS[name], random.Random(f"{name} {seed}")
    pool = list(target.seeds())
    for data in pool:
        if wrong := one(target, data):
            return 0, data, wrong
    first = len(pool)
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end and (most is None or count < most):
        data = chance.choice(pool)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            data = target.mutate(data, chance)
        count += 1
        if wrong := one(target, data):
            return count, data, wrong
        if chance.random() < 0.02:
            pool.append(data)
            if len(pool) > first + _CORPUS:
                del pool[chance.randrange(first, len(pool))]
    return count, b"", ""


def guided(name: str, seconds: float, keep: Path) -> None:
    """Fuzz one target with atheris, which ends the process."""
    import atheris  # pyright: ignore[reportMissingModuleSource] - it is an extra of its own

    target = TARGETS[name]
    chance = random.Random(0)

    def test(data: bytes) -> None:
        if wrong := one(target, data):
            raise RuntimeError(wrong)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance.seed(seed)
        if chance.random() < 0.3:
            return atheris.Mutate(data, most)
        return target.mutate(data, chance)[:most]

    folder = keep / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (folder / f"seed-{number:03}").write_bytes(data)
    atheris.instrument_all()  # pyright: ignore[reportAttributeAccessIssue] - made in C
    arguments = [sys.argv[0], str(folder), f"-max_total_time={int(seconds)}", f"-timeout={4 * MOST_SECONDS}"]
    arguments += ["-rss_limit_mb=4096", "-max_len=1048576", f"-artifact_prefix={keep}/{name}-", "-print_final_stats=1"]
    atheris.Setup(arguments, test, custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["random", "atheris"], default="random")
    parser.add_argument("--keep", type=Path, default=Path(".cache/fuzz"))
    asked = parser.parse_args()
    asked.keep.mkdir(parents=True, exist_ok=True)
    if asked.engine == "atheris":
        guided(asked.targets[0], asked.seconds, asked.keep)
        return 0
    faults = 0
    for name in asked.targets or TARGETS:
        began = time.monotonic()
        count, data, wrong = at_random(name, asked.seconds, asked.seed)
        took = time.monotonic() - began
        said = "a fault" if wrong else "sound"
        print(f"{name}: {count:,} inputs in {took:.0f} s, {memory() >> 20} MiB at most: {said}", flush=True)
        if wrong:
            faults += 1
            path = asked.keep / f"{name}-fault-{asked.seed}"
            path.write_bytes(data)
            print(f"{wrong}\nthe input is kept in {path}", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
