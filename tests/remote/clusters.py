"""Dask clusters on the loopback interface, of separate processes that tests may kill."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_SECONDS = 60


@dataclass
class DaskProcesses:
    """A scheduler and some workers, each a process of one thread."""

    address: str
    scheduler: "subprocess.Popen[bytes]"
    folder: Path
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list["subprocess.Popen[bytes]"])
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def add_worker(self) -> None:
        """Start one more, which joins when it is ready."""
        program = [sys.executable, "-m", "distributed.cli.dask_worker", self.address]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--host", "127.0.0.1"]
        log = self.folder / f"worker-{next(self.numbers)}.log"
        self.workers.append(_started([*program, *options, "--local-directory", str(self.folder)], log))

    def kill_worker(self) -> None:
        """End the oldest one at once."""
        worker = self.workers.pop(0)
        worker.kill()
        worker.wait()

    def kill_scheduler(self) -> None:
        self.scheduler.kill()
        self.scheduler.wait()


def _started(program: list[str], log: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False", "PYTHONWARNINGS": "ignore"}
    with log.open("wb") as output:
        return subprocess.Popen(
            program, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )


@contextmanager
def dask_cluster(folder: Path, workers: int = 2) -> Generator[DaskProcesses]:
    """A cluster, whose processes are gone when the block ends."""
    program = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    log = folder / "scheduler.log"
    scheduler = _started([*program, "--no-dashboard"], log)
    cluster = DaskProcesses(_address(log), scheduler, folder)
    try:
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        for process in (*cluster.workers, scheduler):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        for process in (*cluster.workers, scheduler):
            process.wait()


def _address(log: Path) -> str:
    """What the scheduler says that it listens at."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if found := re.search(r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)\s", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise TimeoutError("the scheduler does not start")
