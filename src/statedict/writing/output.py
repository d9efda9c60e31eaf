"""The file that is being written: bytes at their places, in any order and from several threads."""

import os
import threading
from pathlib import Path

from statedict.errors import WriteError
from statedict.source import FileSource
from statedict.writing.faults import refused, told
from statedict.writing.progress import Progress

BLOCK = 1 << 22
"""Bytes that are read, computed and written at once."""
_COPIED = 1 << 26
"""Bytes that the kernel copies at once: the time until an interruption is noticed."""
_WORTH_STARTING = 1 << 20


class Output:
    """A file of a known size, and what is known of its bytes while they come."""

    def __init__(
        self, descriptor: int, path: Path, progress: Progress | None, *, verify: bool, durable: bool = True
    ) -> None:
        self.path = path
        self.stopped = threading.Event()
        """Set when something failed: then nobody goes on."""
        self.verify = verify
        self.durable = durable or verify
        self._descriptor = descriptor
        self._progress = progress
        self._lock = threading.Lock()
        self.digests: list[tuple[int, int, bytes]] = []
        """Place, size and digest of each block; empty without `verify`."""

    def put(self, at: int, block: memoryview) -> None:
        """Write `block` at that place."""
        done = 0
        try:
            while done < len(block):
                done += os.pwrite(self._descriptor, block[done:], at + done)
        except OSError as error:
            raise refused(self.path, error) from error
        if self.verify:
            self.digests.append((at, len(block), _digest(block)))
        self._advance(at, len(block))

    def copy(self, at: int, source: FileSource, offset: int, size: int) -> int:
        """Have the kernel copy the next bytes. How many; 0 where it cannot."""
        copied = source.copy_to(offset, min(size, _COPIED), self._descriptor, at)
        self._advance(at, copied)
        return copied

    def took(self, size: int, digests: list[tuple[int, int, bytes]]) -> None:
        """Take note of what another process has written."""
        self.digests += digests
        self._report(size)

    def sync(self) -> None:
        """Make all of it durable, where that was asked for."""
        if self.durable:
            with told(self.path):
                os.fsync(self._descriptor)

    def written(self) -> list[tuple[int, int, bytes]]:
        """Place, size and digest of each block, which from now on are read from the disk: empty without `verify`."""
        if self.digests:
            _forget(self._descriptor, 0, 0)
        return sorted(self.digests)

    def compare(self, at: int, block: memoryview, digest: bytes) -> None:
        """Read what has been written there into `block`. Raises WriteError where it is something else."""
        with told(self.path):
            count = os.preadv(self._descriptor, [block], at)
        if count != len(block) or _digest(block) != digest:
            raise WriteError(
                f"{self.path}: reads back otherwise than it was written, from byte {at:,} on; what was there before "
                "is kept: try again, and mistrust the disk or the memory"
            )
        self._report(len(block))

    def _advance(self, at: int, size: int) -> None:
        if size >= _WORTH_STARTING and self.durable:
            # The disk begins now and works meanwhile, and what waits for it does not pile up in memory.
            _forget(self._descriptor, at, size)
        self._report(size)

    def _report(self, size: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._progress.advance(size)


def _digest(block: memoryview) -> bytes:
    import hashlib  # which only `verify` needs

    return hashlib.blake2b(block, digest_size=16).digest()


def _forget(descriptor: int, at: int, size: int) -> None:
    """Say that what has been written there is not needed in memory; Linux starts to write what is not written yet."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, at, size, os.POSIX_FADV_DONTNEED)
