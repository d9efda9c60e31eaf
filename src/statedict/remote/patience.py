"""Trying again: how often, and how long to wait between."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from statedict.errors import ReadError
from statedict.remote.stores import Passing

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Patience:
    """Tries that bring nothing until one gives up, and the waits between them, which double."""

    tries: int = 6
    first_wait: float = 0.25
    longest_wait: float = 8.0

    def wait(self, failed: int, asked: float) -> None:
        """Wait after so many failed tries; as long as the server asks, within reason."""
        import random  # which only few need

        doubled = min(self.longest_wait, self.first_wait * 2 ** (failed - 1))
        time.sleep(max(doubled * random.uniform(0.5, 1), min(asked, self.longest_wait)))  # noqa: S311 - no secret

    def until_done(self, what: Callable[[], R], name: str) -> R:
        """What a function returns, once it does not raise `Passing`. Raises ReadError when patience ends."""
        failed = 0
        while True:
            try:
                return what()
            except Passing as fault:
                failed += 1
                if failed >= self.tries:
                    raise given_up(name, fault, failed) from fault
                self.wait(failed, fault.wait)


PATIENCE = Patience()


def given_up(name: str, fault: Passing, tries: int) -> ReadError:
    """The error that says what went wrong each time."""
    return ReadError(f"{name}: cannot be read: {fault} (tried {tries} times); try again later")
