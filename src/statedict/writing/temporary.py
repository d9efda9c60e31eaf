"""Temporary siblings: `.NAME.1f2e3d4c.statedict-tmp`, locked while their owner lives, removed by whoever comes next.

The lock (`flock`) ends with its owner however that ends. Where a file system has no locks, nothing is removed.
"""

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".statedict-tmp"
_MOST_OF_NAME = 200
"""Bytes of the target's name that are kept, so that the temporary's is not too long where the target's is not."""


def remove_dead(target: Path) -> None:
    """Remove the temporaries of that target whose owners have died, files and folders."""
    prefix = _prefix(target)
    for path in _temporaries(target.parent):
        if path.name.startswith(prefix):
            with _seized(path) as dead, suppress(OSError):
                if dead:
                    _remove(path)


def for_dead_folders(folder: Path, settle: Callable[[Path], None]) -> None:
    """Call `settle` with each temporary folder in `folder` whose owner has died."""
    for path in _temporaries(folder):
        if path.is_dir():
            with _seized(path) as dead:
                if dead:
                    settle(path)


@contextmanager
def temporary_file(target: Path, mode: int) -> Generator[tuple[Path, int]]:
    """A new, locked file beside `target`, and its descriptor; gone afterwards, unless it has been renamed."""
    while True:
        path = _beside(target)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        if _held(path, descriptor):
            break
        os.close(descriptor)
    try:
        yield path, descriptor
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


@contextmanager
def temporary_folder(target: Path) -> Generator[Path]:
    """A new, locked folder beside `target`; gone afterwards with all that is in it, unless it has been renamed."""
    import shutil  # which brings what packs archives; before anything is there to be removed

    while True:
        path = _beside(target)
        path.mkdir()
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if _held(path, descriptor):
            break
        os.close(descriptor)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def one_at_a_time(folder: Path) -> Generator[None]:
    """Wait until nobody else writes in `folder`, and keep others waiting; not where there are no locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make what has been renamed in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some file systems cannot, and need not
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporaries(folder: Path) -> list[Path]:
    names = os.listdir(folder)  # noqa: PTH208 - names are enough
    return [folder / name for name in names if name.startswith(".") and name.endswith(SUFFIX)]


def _remove(path: Path) -> None:
    import shutil

    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def _prefix(target: Path) -> str:
    return "." + os.fsdecode(os.fsencode(target.name)[:_MOST_OF_NAME]) + "."


def _beside(target: Path) -> Path:
    return target.with_name(f"{_prefix(target)}{os.urandom(4).hex()}{SUFFIX}")


def _held(path: Path, descriptor: int) -> bool:
    """Lock a temporary that has just been made. False where another save took it for a dead one before."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return True
    return path.exists()


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        return False
    return True


@contextmanager
def _seized(path: Path) -> Generator[bool]:
    """Whether the owner of a temporary is dead; if so it is ours meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or somebody else's
        yield False
        return
    try:
        yield _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
