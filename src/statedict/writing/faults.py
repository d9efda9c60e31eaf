"""What can go wrong on the way to the disk, told in one line; and no mess left behind by a signal."""

import errno
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from statedict.errors import StatedictError, WriteError

_OTHER_PLACE = "choose another place, or ask for the right to write there"
_NEXT_STEPS = {
    errno.ENOSPC: "make room, or choose another disk",
    errno.EDQUOT: "make room, or choose another disk",
    errno.EFBIG: "the file system, or a limit on this process (`ulimit -f`), allows no file of that size",
    errno.EACCES: _OTHER_PLACE,
    errno.EPERM: _OTHER_PLACE,
    errno.EROFS: "choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTEMPTY: "somebody else has made that folder meanwhile; save again",
}


@contextmanager
def told(path: Path) -> Generator[None]:
    """Tell a fault of the operating system as a WriteError that names `path`; ours pass as they are."""
    try:
        yield
    except StatedictError:
        raise
    except OSError as error:
        raise refused(path, error) from error


def refused(path: Path, error: OSError) -> WriteError:
    """The error that says why `path` cannot be written, and what to do."""
    reason = (error.strerror or str(error)).lower()
    step = _NEXT_STEPS.get(error.errno or 0)
    return WriteError(f"{path}: cannot be written: {reason}" + (f"; {step}" if step else ""))


def require_folder(path: Path) -> None:
    """Nothing, where `path` is the folder to write in. Raises WriteError that says what it is instead."""
    if not path.exists():
        raise WriteError(f"{path}: there is no such folder to write in; make it first")
    if not path.is_dir():
        raise WriteError(f"{path}: is no folder, so nothing can be written in it; choose another place")


def require_room(path: Path, folder: Path, size: int) -> None:
    """Nothing, where `size` bytes are free on the disk of `folder`. Raises WriteError with both figures for `path`."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if found.f_blocks and size > free:  # some file systems tell nothing
        raise WriteError(
            f"{path}: cannot be written: it takes {size:,} bytes, but {free:,} are free on its disk; "
            "make room, or choose another disk"
        )


class _Terminated(BaseException):
    """A signal came that ends the process."""


@contextmanager
def cleaned_up() -> Generator[None]:
    """Let SIGTERM and SIGHUP, where they would end the process at once, end it when the block has cleaned up."""
    ending = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ending = []  # only the main thread may say what a signal does
    received: list[int] = []

    def end(number: int, _frame: Any) -> None:
        received.append(number)
        raise _Terminated

    for each in ending:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in ending:
            signal.signal(each, signal.SIG_DFL)
        if received:
            os.kill(os.getpid(), received[0])
