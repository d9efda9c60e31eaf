"""Fuzzing by atheris: inputs that reach new lines of statedict are kept. `python -m fuzz TARGET --engine atheris`."""

import random
import sys
from pathlib import Path

import atheris  # pyright: ignore[reportMissingModuleSource] - an extra of its own

with atheris.instrument_imports(  # pyright: ignore[reportAttributeAccessIssue]
    include=["statedict"], enable_loader_override=False
):
    from fuzz.__main__ import one
    from fuzz.measuring import MOST_SECONDS, Meter
    from fuzz.targets import TARGETS
    from statedict import formats

    for entry in formats.FORMATS:  # what is loaded on use would not be watched
        entry.reader()


def main(name: str, seconds: int, keep: Path) -> None:
    """Fuzz one target, which ends the process: with exit code 0 where nothing was found."""
    target, chance, meter = TARGETS[name], random.Random(0), Meter()

    def test(data: bytes) -> None:
        if wrong := one(target, data, meter):
            raise RuntimeError(wrong)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance.seed(seed)
        if chance.random() < 0.3:
            return atheris.Mutate(data, most)
        return target.mutate(data, chance)[:most]

    arguments = [sys.argv[0], str(keep / name), f"-max_total_time={seconds}", f"-timeout={4 * MOST_SECONDS}"]
    arguments += ["-rss_limit_mb=4096", "-max_len=1048576", f"-artifact_prefix={keep}/{name}-", "-print_final_stats=1"]
    atheris.Setup(arguments, test, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
