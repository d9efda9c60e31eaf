"""One file written so that its name stands for the old bytes or for the new ones, never for anything between."""

import errno
import os
import stat
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

from statedict.errors import WriteError
from statedict.executors import Rehearsal, Rehearsed
from statedict.plan import Plan
from statedict.remote.places import Place, RemotePlace
from statedict.writing.faults import cleaned_up, require_folder, require_room, told
from statedict.writing.output import Output
from statedict.writing.progress import Progress
from statedict.writing.streaming import stream
from statedict.writing.temporary import remove_dead, sync_folder, temporary_file

_NEW_MODE = 0o666
"""Less what the umask takes, as for any new file."""
_UNSUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV)


def write_file(
    plan: Plan,
    path: Place,
    *,
    verify: bool = False,
    durable: bool = True,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> None:
    """Make `path` a file of what `plan` says, all at once: until the end, and after any fault, it is what it was.

    The plan may read the old file. A link stays, and the file that it leads to is replaced; mode and, where possible,
    owner stay those of the old file. With `verify`, what was written is read back from the disk and compared before it
    takes its place. Unless `durable`, the operating system decides when the disk gets the bytes, as after `cp`: a crash
    of the machine soon afterwards may lose old and new. With an `executor` its workers fill the file.

    Raises WriteError where it cannot be written, ReadError or FormatError where a source fails.
    """
    if isinstance(executor, Rehearsal):
        raise Rehearsed(plans=(plan,), target=path if isinstance(path, Path) else None)
    if isinstance(path, RemotePlace):
        from statedict.writing.uploads import upload_file  # which few need

        upload_file(plan, path, verify=verify, progress=progress)
        return
    with told(path), cleaned_up():
        target = Path(os.path.realpath(path))
        require_folder(target.parent)
        old = _replaced(target)
        remove_dead(target)
        require_room(path, target.parent, plan.size)
        announce(progress, plan.size, verify=verify)
        with temporary_file(target, _NEW_MODE if old is None else old.st_mode & 0o777) as (temporary, descriptor):
            if old is not None:
                _keep_owner(descriptor, old)
            output = Output(descriptor, path, progress, verify=verify, durable=durable)
            fill(plan, output, descriptor, temporary, executor)
            temporary.rename(target)
        if durable:
            sync_folder(target.parent)


def write_new(
    plan: Plan,
    path: Path,
    final: Path,
    progress: Progress | None,
    executor: Executor | None,
    *,
    verify: bool,
    durable: bool,
) -> None:
    """Write a file that nobody looks at yet; errors tell the path that it will have."""
    with told(final):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _NEW_MODE)
    try:
        output = Output(descriptor, final, progress, verify=verify, durable=durable)
        fill(plan, output, descriptor, path, executor)
    finally:
        os.close(descriptor)


def fill(plan: Plan, output: Output, descriptor: int, path: Path, executor: Executor | None) -> None:
    """Give the new file all of its room, then its bytes, so that a full disk is noticed before the first of them."""
    with told(output.path):
        _allocate(descriptor, plan.size)
    stream(plan, output, path, executor)


def announce(progress: Progress | None, size: int, *, verify: bool) -> None:
    """Say how much there is to do."""
    if progress is not None:
        progress.total += size * (2 if verify else 1)


def _allocate(descriptor: int, size: int) -> None:
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    os.ftruncate(descriptor, size)


def _replaced(target: Path) -> os.stat_result | None:
    """What the old file is; None where there is none. Raises WriteError where it is nothing to be replaced."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise WriteError(f"{target}: is a folder; name a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise WriteError(f"{target}: is no file but a device or a pipe, which cannot be replaced; name a file")
    if not os.access(target, os.W_OK):
        raise WriteError(f"{target}: is write-protected; choose another name, or allow writing (`chmod u+w`)")
    return found


def _keep_owner(descriptor: int, old: os.stat_result) -> None:
    new = os.fstat(descriptor)
    with suppress(PermissionError):
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    with suppress(PermissionError):
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
