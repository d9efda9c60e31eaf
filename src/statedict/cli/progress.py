"""The bar on standard error that shows how far a long command is; nothing where nobody would see it move."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from statedict.writing import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from statedict.engine import Progress as ReadingProgress

_PATIENCE = 0.5
"""Seconds before a bar is shown."""


@contextmanager
def progress_bar(doing: str) -> Generator[Progress | None]:
    """A bar that says what is being done, once that has taken a while, and is gone when it is done.

    None where standard error is no terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    shown = _Shown(doing)
    try:
        yield shown
    finally:
        shown.close()


@contextmanager
def reading_bar(doing: str) -> "Generator[ReadingProgress | None]":
    """The same bar for what `engine.run` tells its progress to, pass after pass; None where nobody would see it."""
    with progress_bar(doing) as bar:
        if bar is None:
            yield None
            return
        told = 0

        def tell(done: int, total: int) -> None:
            nonlocal told
            bar.total = total
            bar.advance(done - told)
            told = done % total

        yield tell


class _Shown:
    """A bar of rich's as what a writer tells its progress to. What is done at once needs none, nor rich itself."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._begin = time.monotonic() + _PATIENCE
        self._bar: Bar | None = None
        self._done = 0
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._show()

    def advance(self, size: int) -> None:
        self._done += size
        self._show()

    def close(self) -> None:
        """Take the bar away, where there is one."""
        if self._bar is not None:
            self._bar.stop()

    def _show(self) -> None:
        if self._bar is None:
            if time.monotonic() < self._begin:
                return
            self._bar = _bar()
            self._bar.add_task(self._doing)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], total=self._total, completed=self._done)


def _bar() -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Bar(*columns, console=Console(stderr=True), transient=True)
