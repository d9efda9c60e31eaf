"""A bounded run of fuzzing: every target, for about a minute in all; `make fuzz` has the long one."""

import pytest

from fuzz.__main__ import at_random
from fuzz.targets import TARGETS

MOST_SECONDS = 2.0


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    count, data, wrong = at_random(name, MOST_SECONDS, seed=0)
    assert not wrong, f"after {count} inputs, of {data!r}: {wrong}"
    assert count
