"""What one input takes: processor time, and the most memory above what the process had before it."""

import ctypes
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

MOST_SECONDS = 5
"""Processor time for one input; a busy machine makes none slower."""
MOST_BYTES = 300 << 20
"""Memory that an input of 1 MiB may take beyond what the process had."""
_MOST_WAITED = 120
"""Seconds by the clock, after which an input waits for something that does not come."""
_WORTH_TRIMMING = 8 << 20


class TooLongError(Exception):
    """An input took longer than it may."""


class Memory:
    """The most memory that this process had since it was last asked to forget.

    Linux forgets when it is told to. Where it cannot be told, only what exceeds all that ever was is seen.
    """

    def __init__(self) -> None:
        self._forgets = Path("/proc/self/clear_refs")
        self._trim = _trim() if sys.platform == "linux" else None

    def forget(self) -> int:
        """Begin anew; the bytes that the process has now."""
        with suppress(OSError):
            self._forgets.write_bytes(b"5")  # proc(5): resets VmHWM to what is resident now
        return self.peak()

    def peak(self) -> int:
        """The most bytes that were resident."""
        try:
            status = Path("/proc/self/status").read_bytes()
        except OSError:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return int(status.partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024

    def grown(self, before: int) -> int:
        """How far it rose above `before`. What is free is given back, so that the next input is seen to take it."""
        grown = max(0, self.peak() - before)
        if grown > _WORTH_TRIMMING and self._trim is not None:
            self._trim(0)
        return grown


def _trim() -> Callable[[int], int] | None:
    """The C library's function that gives freed memory back, where it has one."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


@contextmanager
def no_longer_than(seconds: float) -> Generator[None]:
    """Raise TooLongError where the block takes more processor time, or waits for very long."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TooLongError(f"longer than {seconds} s")

    before = [(number, signal.signal(number, ring)) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, _MOST_WAITED)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)


class Meter:
    """What the inputs of one run took."""

    def __init__(self) -> None:
        self.inputs = 0
        self.slowest = 0.0
        """Seconds of processor time of one input."""
        self.largest = 0
        """Bytes that one input took."""
        self._memory = Memory()

    @contextmanager
    def one(self) -> Generator[None]:
        """Measure one input. Raises TooLongError, and MemoryError for one that took more than it may."""
        before, began = self._memory.forget(), time.process_time()
        try:
            with no_longer_than(MOST_SECONDS):
                yield
        finally:
            self.inputs += 1
            self.slowest = max(self.slowest, time.process_time() - began)
            grown = self._memory.grown(before)
            self.largest = max(self.largest, grown)
        if grown > MOST_BYTES:
            raise MemoryError(f"took {grown >> 20} MiB")
