"""The bar on standard error that shows how far a long command is; nothing where nobody would see it move."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from statedict.writing import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from statedict.engine import Progress as ReadingProgress


@contextmanager
def progress_bar(doing: str) -> Generator[Progress | None]:
    """A bar that says what is being done, gone when it is; None where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
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
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Shown(bar, bar.add_task(doing, total=0))


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
    """A bar of rich's as what a writer tells its progress to."""

    def __init__(self, bar: "Bar", task: "TaskID") -> None:
        self._bar = bar
        self._task = task
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._bar.update(self._task, total=total)

    def advance(self, size: int) -> None:
        self._bar.advance(self._task, size)
