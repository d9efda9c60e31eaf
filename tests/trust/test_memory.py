"""What opening and checking take of memory: less than 300 MiB for any file of a MiB, whatever it holds."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import statedict
from fuzz.measuring import Memory
from statedict.checking import check
from statedict.errors import StatedictError
from tests.corpus.costly import COSTLY
from tests.corpus.files import corpus

MIB = 1 << 20
MOST = 300 * MIB


def opened(path: Path) -> None:
    repr(statedict.open(path))


def taken(do: Callable[[Path], Any], path: Path) -> int:
    """The bytes that it takes beyond what the process has."""
    memory = Memory()
    before = memory.forget()
    with suppress(StatedictError):
        do(path)
    return memory.grown(before)


def test_it_is_seen_what_is_taken(tmp_path: Path) -> None:
    assert taken(lambda _: bytearray(64 * MIB), tmp_path) >= 60 * MIB
    assert taken(lambda _: None, tmp_path) < 8 * MIB


@pytest.mark.parametrize("do", [opened, check])
def test_hostile_files(do: Callable[[Path], Any], tmp_path: Path) -> None:
    assert corpus()
    for each in corpus():
        assert taken(do, each.build(tmp_path)) < MOST, each.name


@pytest.mark.slow
@pytest.mark.parametrize("costly", COSTLY.values(), ids=COSTLY)
def test_files_that_are_built_to_cost(costly: Any, tmp_path: Path) -> None:
    path = tmp_path / costly.file
    path.write_bytes(costly.make())
    assert taken(opened, path) < MOST
    assert taken(check, path) < MOST
