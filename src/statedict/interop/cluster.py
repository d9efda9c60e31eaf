"""A Dask cluster as an executor: units by bytes, in each pass by preference on the same worker, tried again elsewhere.

What runs there needs statedict, and the files or stores at the same paths or URLs.
"""

import asyncio
import contextlib
import itertools
import pickle
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, TypeVar

from statedict.errors import StatedictError
from statedict.executors import Cluster
from statedict.extras import needed

R = TypeVar("R")

_MOST = 1 << 30
"""Bytes of a unit: what scheduler, worker and client do for one takes 4 ms of processor time, reading these 100."""
_LEAST = 1 << 25
_TURNS = 4
"""Units for each worker at least, where they are no smaller for it: the last to be done keeps few waiting."""
_RETRIES = 3
_SECONDS = 15
"""To find the scheduler."""
_WITHOUT_WORKERS = 60
"""Until one joins, where all have died."""
_PATIENCE = 2.0
"""Seconds after which it is asked whether the worker that a task waits for is still there."""


class ClusterError(StatedictError, ConnectionError):
    """The scheduler of a cluster is not there any more, or its workers keep dying."""


class DaskCluster(Cluster):
    """The workers behind a scheduler, of whom some may die: what they were doing is done by others."""

    def __init__(self, address: str, most: int = _MOST) -> None:
        """Raises ClusterError where no scheduler answers, MissingExtraError without dask.distributed."""
        distributed = needed("distributed", "dask", "a cluster is reached by dask.distributed")
        self.address = address
        self._most = most
        self._numbers = itertools.count()
        try:
            self._client = distributed.Client(address, timeout=_SECONDS, set_as_default=False, name="statedict")
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"{address}: no Dask scheduler answers there; start one with `dask scheduler`"
            ) from error
        with self.told():
            self._client.wait_for_workers(1, timeout=_SECONDS)
            threads: dict[str, int] = self._client.nthreads()
        self._places = [worker for worker in sorted(threads) for _ in range(threads[worker])]
        self.workers = sum(threads.values())

    def unit_bytes(self, total: int) -> int:
        return min(self._most, max(_LEAST, total // (_TURNS * self.workers)))

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        return self._submitted(None, fn, *args, **kwargs)

    def submit_at(self, turn: int, function: Callable[..., R], *arguments: Any) -> "Future[R]":
        return self._submitted(self._places[turn % len(self._places)], function, *arguments)

    def _submitted(self, worker: str | None, fn: Callable[..., R], *args: Any, **kwargs: Any) -> "Future[R]":
        return _Awaited(self, worker, pickle.dumps(partial(fn, *args, **kwargs)))

    def started(self, task: bytes, worker: str | None) -> Any:
        """The future of a pickled task, by preference on a worker. The scheduler does not open what the task reads."""
        by_preference = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
        key = f"statedict-{id(self):x}-{next(self._numbers)}"
        with self.told():
            return self._client.submit(_done, task, pure=False, retries=_RETRIES, key=key, **by_preference)

    def is_there(self, worker: str) -> bool:
        """Whether the scheduler knows a worker still."""
        with self.told():
            return worker in self._client.scheduler_info(n_workers=-1)["workers"]

    def require_workers(self) -> None:
        """Nothing, where there are workers, or come some. Raises ClusterError."""
        with self.told():
            self._client.wait_for_workers(1, timeout=_WITHOUT_WORKERS)

    @contextlib.contextmanager
    def told(self) -> Generator[None]:
        """Tell what the client raises when the cluster is gone as ClusterError; what a task raised passes."""
        distributed = needed("distributed", "dask", "a cluster is reached by dask.distributed")
        try:
            yield
        except StatedictError:
            raise
        except distributed.KilledWorker as error:
            raise ClusterError(
                f"{self.address}: workers died again and again over the same unit; give them more memory"
            ) from error
        except (CancelledError, asyncio.CancelledError, TimeoutError, distributed.comm.CommClosedError) as error:
            raise ClusterError(
                f"{self.address}: the cluster's scheduler is gone, or has no workers; start anew"
            ) from error

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, which goes on."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=2)


def _done(task: bytes) -> Any:
    """What a worker does."""
    return pickle.loads(task)()  # noqa: S301 - the client's own, as all that a worker is sent


class _Awaited(Future[R]):
    """A task on a cluster as a future of the standard library, of which only the result is asked."""

    def __init__(self, cluster: DaskCluster, worker: str | None, task: bytes) -> None:
        super().__init__()
        self._cluster, self._worker, self._task = cluster, worker, task
        self._remote = cluster.started(task, worker)

    def result(self, timeout: float | None = None) -> R:
        with self._cluster.told():
            while (arrived := self._arrived()) is None:
                self._cluster.require_workers()
                # A task that waits for a worker that died with all others waits for ever (dask.distributed 2026.8).
                if self._worker is not None and not self._cluster.is_there(self._worker):
                    self.cancel()
                    self._worker, self._remote = None, self._cluster.started(self._task, None)
        self._remote.release()
        return arrived[0]

    def _arrived(self) -> tuple[R] | None:
        """What the task returned, if it comes in time. That it is done is not enough: its worker may die with it."""
        try:
            return (self._remote.result(timeout=_PATIENCE),)
        except TimeoutError:
            if self._remote.status == "error":  # the task's own
                raise
            return None

    def cancel(self) -> bool:
        with contextlib.suppress(Exception):
            self._remote.cancel(force=True)
        return True
