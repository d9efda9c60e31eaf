"""A bounded run of fuzzing, every target for a minute in all (`make fuzz` has the long one); and what measures it."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz import measuring, record
from fuzz.__main__ import Pool, at_random, one
from fuzz.measuring import Memory, Meter
from fuzz.record import Ran
from fuzz.targets import TARGETS, Target
from statedict import formats

MOST_SECONDS = 2.0
MIB = 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    ran, data, wrong = at_random(name, MOST_SECONDS, seed=0)
    assert not wrong, f"after {ran.inputs} inputs, of {data!r}: {wrong}"
    assert ran.inputs


def test_every_format_has_a_target() -> None:
    assert {target.format for target in TARGETS.values()} - {""} == {entry.name for entry in formats.FORMATS}


def target(run: Callable[[bytes], None]) -> Target:
    return Target(run, lambda: [b"seed"], lambda data, chance: chance.randbytes(4))


def test_a_fault_is_any_error_but_ours() -> None:
    assert "ZeroDivisionError" in one(target(lambda data: [1 // 0 for _ in data].clear()), b"x")
    assert one(target(lambda data: None), b"x") == ""


def test_an_input_that_never_ends_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def spin(data: bytes) -> None:
        while data:
            pass

    monkeypatch.setattr(measuring, "MOST_SECONDS", 0.05)
    assert "TooLongError: longer than 0.05 s" in one(target(spin), b"x")
    monkeypatch.setattr(measuring, "_MOST_WAITED", 0.05)
    assert "TooLongError" in one(target(lambda data: time.sleep(len(data) * 60)), b"x")


def test_memory_is_that_of_each_input_and_not_of_the_largest_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter((96 * MIB, 1024, 64 * MIB))
    takes = target(lambda data: bytearray(next(sizes)).clear())
    meter = Meter()
    assert one(takes, b"x", meter) == ""
    assert meter.largest >= 90 * MIB
    meter.largest = 0
    assert one(takes, b"x", meter) == ""
    assert meter.largest < 32 * MIB
    monkeypatch.setattr(measuring, "MOST_BYTES", 32 * MIB)
    assert "MemoryError: took 6" in one(takes, b"x", meter)
    assert meter.inputs == 3


def test_memory_that_is_kept_is_no_growth_of_what_follows() -> None:
    memory = Memory()
    held = bytearray(64 * MIB)
    before = memory.forget()
    assert memory.grown(before) < 8 * MIB < len(held)


def test_what_was_mutated_is_mutated_further_by_the_next_run(tmp_path: Path) -> None:
    first = Pool(TARGETS["where"], tmp_path, random.Random(0))
    for number in range(500):
        first.offer(b"%d" % number)
    first.keep()
    kept = {path.read_bytes() for path in tmp_path.iterdir()}
    assert 0 < len(kept) < 50
    second = Pool(TARGETS["where"], tmp_path, random.Random(1))
    assert {second.any() for _ in range(1000)} == {*kept, *second.seeds}


def test_the_record_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record.add(path, "npy", Ran(10, 60, 0.5, 3 * MIB))
    record.add(path, "npz", Ran(1, 1, 1, 1))
    record.add(path, "npy", Ran(2000, 30, 0.25, 7 * MIB, 1))
    held = record.read(path)
    assert held["npy"] == Ran(2010, 90, 0.5, 7 * MIB, 1)
    lines = record.table(held, ["npy", "npz", "gguf"]).splitlines()
    assert lines[2:] == [
        "| npy | 2,010 | 1.5 | 0.50 | 7 | gguf | – | – | – | – |",
        "| npz | 1 | 0.0 | 1.00 | 0 | | | | | |",
    ]
