"""Work that takes longer than an answer may: done in a thread of its own, asked after, and stopped when told to."""

import threading
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from statedict.engine import Progress
from statedict.errors import StatedictError

R = TypeVar("R")
State = Literal["not begun", "running", "done", "failed", "stopped"]


class Stopped(Exception):  # noqa: N818 - it is no error
    """Raised in a job's thread where the job was told to stop."""


class Job(Generic[R]):
    """One piece of work, of which the result is kept. It is given a function to tell how far it is."""

    def __init__(self, work: Callable[[Progress], R]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.state: State = "not begun"
        self.done = 0
        self.total = 0
        self.error = ""
        self.result: R | None = None

    def begin(self) -> None:
        """Begin, unless it is under way or done."""
        with self._lock:
            if self.state in ("running", "done"):
                return
            self.state, self.error, self.done, self.total = "running", "", 0, 0
            self._stop.clear()
            threading.Thread(target=self._run, name="statedict-job", daemon=True).start()

    def stop(self) -> None:
        """Let it end as soon as it tells how far it is."""
        self._stop.set()

    def fields(self) -> dict[str, Any]:
        """How far it is, as JSON has it."""
        return {"state": self.state, "done": self.done, "total": self.total, "error": self.error}

    def _run(self) -> None:
        try:
            result = self._work(self._tell)
        except Stopped:
            self.state = "stopped"
        except (StatedictError, OSError, TypeError, ValueError, MemoryError) as error:
            self.error, self.state = str(error) or type(error).__name__, "failed"
        except Exception as error:  # noqa: BLE001 - a bug of ours is told on the page, too
            self.error, self.state = f"this is a bug in statedict: {type(error).__name__}: {error}", "failed"
        else:
            self.result, self.state = result, "done"

    def _tell(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Stopped
        self.done, self.total = done, total
