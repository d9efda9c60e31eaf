"""Work in the background: begun once, asked after, stopped, and begun again."""

import threading
import time

import pytest

from statedict.engine import Progress
from statedict.errors import StatedictError
from statedict.web.jobs import Job


def ended(job: Job[int], *states: str) -> str:
    """The state that a job comes to."""
    until = time.monotonic() + 20
    while job.state not in states and time.monotonic() < until:
        time.sleep(0.005)
    return job.state


def test_a_result_is_kept() -> None:
    calls: list[int] = []

    def work(tell: Progress) -> int:
        calls.append(1)
        tell(3, 4)
        return 7

    job = Job(work)
    assert job.fields() == {"state": "not begun", "done": 0, "total": 0, "error": ""}
    job.begin()
    assert ended(job, "done") == "done"
    job.begin()
    assert (job.result, job.done, job.total, calls) == (7, 3, 4, [1])


def test_it_is_stopped_where_it_tells_how_far_it_is_and_begins_anew() -> None:
    began = threading.Event()

    def work(tell: Progress) -> int:
        for at in range(100_000):
            began.set()
            tell(at, 100_000)
            time.sleep(0.001)
        return 1

    job = Job(work)
    job.begin()
    began.wait(20)
    job.stop()
    assert ended(job, "stopped", "done") == "stopped"
    job.begin()
    assert job.state == "running"
    job.stop()
    assert ended(job, "stopped", "done") == "stopped"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (StatedictError("damaged"), "damaged"),
        (OSError("gone"), "gone"),
        (KeyError("x"), "this is a bug in statedict: KeyError: 'x'"),
    ],
)
def test_an_error_is_told_in_words(error: Exception, text: str) -> None:
    def work(_: Progress) -> int:
        raise error

    job = Job(work)
    job.begin()
    assert ended(job, "failed") == "failed"
    assert job.fields()["error"] == text
