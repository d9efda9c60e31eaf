"""What has been fetched of a remote file, so that nothing is fetched twice: the pages of its header."""

import threading
from collections.abc import Callable

AHEAD = 1 << 15
"""Bytes that are fetched at least: a request costs as much time as these."""
_MOST_KEPT = 1 << 24
"""Bytes of pages that are kept of one file."""

Fetch = Callable[[int, int], bytes]
"""From a first byte to the one behind the last."""


class Pages:
    """Stretches of one file, apart from each other, in their order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pages: list[tuple[int, bytes]] = []
        self._lock = threading.Lock()

    def put(self, start: int, data: bytes) -> None:
        """Keep what has been fetched, as long as there is room."""
        with self._lock:
            if data and sum(len(page) for _, page in self._pages) + len(data) <= _MOST_KEPT:
                self._pages = sorted([*self._pages, (start, data)])

    def kept(self) -> list[tuple[int, bytes]]:
        """All that is known."""
        with self._lock:
            return list(self._pages)

    def read(self, start: int, end: int, fetch: Fetch) -> bytes:
        """The bytes from `start` to `end`, of which only those are fetched, and kept, that are not known yet."""
        found = bytearray()
        while (at := start + len(found)) < end:
            known = self._known(at)
            found += (known or self._fetched(at, end, fetch))[: end - at]
        return bytes(found)

    def _known(self, at: int) -> bytes:
        with self._lock:
            return next((page[at - start :] for start, page in self._pages if start <= at < start + len(page)), b"")

    def _fetched(self, at: int, end: int, fetch: Fetch) -> bytes:
        """What is missing from `at` on, with some bytes more: those behind it, or before it at the end of the file."""
        with self._lock:
            begins = [start for start, _ in self._pages if start > at]
            ends = [start + len(page) for start, page in self._pages if start + len(page) <= at]
        stop = min([*begins, self._size, max(end, at + AHEAD)])
        first = at
        if stop == self._size and stop - at < AHEAD:
            first = max([0, stop - AHEAD, *ends])
        data = fetch(first, stop)
        self.put(first, data)
        return data[at - first :]
