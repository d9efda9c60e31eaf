"""What runs the work beside threads: clusters, which others bring, and the rehearsal that only tells what would run."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

from statedict.plan import Plan

R = TypeVar("R")


class Cluster(Executor, ABC):
    """An executor elsewhere, that takes units of its own size, and whose workers take turns."""

    workers: int
    """How many units run at a time."""

    @abstractmethod
    def unit_bytes(self, total: int) -> int:
        """Bytes that are worth being passed to another process, or another machine, of so many in all."""

    @abstractmethod
    def submit_at(self, turn: int, function: Callable[..., R], *arguments: Any) -> "Future[R]":
        """The same as `submit`, by preference where others of that turn ran: each has its worker, all have as many."""


class Rehearsal(Executor):
    """Does nothing: whoever gives it to what reads or writes all is told by `Rehearsed` what would be done."""


class Rehearsed(BaseException):
    """What would be done: units of reading, as the engine has them, and files to write."""

    def __init__(self, units: Iterable[Any] = (), plans: Sequence[Plan] = (), target: Path | None = None) -> None:
        super().__init__()
        self.units = units
        self.plans = plans
        self.target = target
        """Where on this machine something would be written."""
