"""Remote files and folders as sources: headers by few ranges that are kept, tensors by large ones side by side."""

import os
import threading
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import repeat
from typing import Any

from statedict.errors import FormatError, ReadError
from statedict.remote.pages import AHEAD, Pages
from statedict.remote.patience import PATIENCE, given_up
from statedict.remote.stores import Changed, Missing, NoRanges, Passing, Store, Version
from statedict.remote.urls import DOWNLOADED, beside, parent, shown_url, within
from statedict.source import Folder, Source, is_plain

PART = 1 << 23
"""Bytes of one request, where many are wanted: enough that its latency does not matter."""
PARALLEL = 8
"""Requests at a time."""
_AT_A_TIME = 16
"""Files that are opened at a time: each is one small request."""
_KEPT = 1 << 25
"""Bytes of one file's header that are kept on this machine."""
_GAP = 1 << 16
"""Bytes between two ranges that are fetched along, rather than by a request of their own."""


class RemoteSource(Source):
    """A file that a store has, of the version that was found when it was opened. It pickles small.

    Raises ReadError for a file that was changed meanwhile, that is not there, or for a fault that stays.
    """

    __slots__ = ("_keeping", "_pages", "_store", "_window", "url", "version")
    waits = True

    def __init__(self, url: str, store: Store, version: Version, head: bytes = b"") -> None:
        self.url = url
        self.name = shown_url(url)
        self.size = version.size
        self.version = version
        self._store = store
        self._pages = Pages(self.size)
        self._pages.put(0, head)
        self._window = threading.local()
        self._keeping = _KEPT

    def read_at(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise self.ends_before(offset + size)
        if size > PART:
            return self._page(offset, offset + size)
        return bytes(self._in_window(offset, size)) or self._pages.read(offset, offset + size, self._page)

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        end = offset + len(buffer)
        if offset < 0 or end > self.size:
            raise self.ends_before(end)
        if len(buffer) <= PART:
            buffer[:] = self._in_window(offset, len(buffer)) or self._following(offset, len(buffer))
            return
        for start, data in self._parts([(at, min(at + PART, end)) for at in range(offset, end, PART)]):
            buffer[start - offset : start - offset + len(data)] = data

    def will_read(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch what this thread reads next, from offsets to ends: neighbours by one request, several at a time."""
        joined = _joined(ranges)
        self._window.held = self._parts(
            [(at, min(at + PART, end)) for start, end in joined for at in range(start, end, PART)]
        )

    def _parts(self, requests: list[tuple[int, int]]) -> list[tuple[int, bytes]]:
        """What several ranges hold, with where they begin: fetched side by side."""
        starts, ends = [start for start, _ in requests], [end for _, end in requests]
        fetched = map(self._fetch, starts, ends) if len(requests) == 1 else _pool().map(self._fetch, starts, ends)
        return list(zip(starts, fetched, strict=True))

    def _in_window(self, offset: int, size: int) -> bytes | memoryview:
        """The bytes, where this thread has fetched them before; nothing otherwise."""
        held: list[tuple[int, bytes]] = getattr(self._window, "held", [])
        for at, (start, data) in enumerate(held):
            if start <= offset < start + len(data):
                if offset + size <= start + len(data):
                    return memoryview(data)[offset - start : offset - start + size]
                rest = (
                    self._in_window(start + len(data), size - (start + len(data) - offset)) if held[at + 1 :] else b""
                )
                return data[offset - start :] + bytes(rest) if rest else b""
        return b""

    def _following(self, offset: int, size: int) -> bytes:
        """The bytes; some of those behind them too, where this thread reads one stretch behind the other."""
        last, ahead = getattr(self._window, "last", (-1, 0))
        ahead = min(max(2 * ahead, size), PART) if last == offset else 0
        data = self._fetch(offset, min(max(offset + size, offset + ahead), self.size))
        self._window.last = (offset + size, max(ahead, size))
        if len(data) > size:
            self._window.last = (offset + len(data), max(ahead, size))
            self._window.held = [(offset, data)]
        return data[:size]

    def _page(self, start: int, end: int) -> bytes:
        """Bytes of the header: as they were kept on this machine, or fetched and kept."""
        from statedict.remote.headers import headers

        kept = headers().page(self.url, self.version, start, end)
        if kept is None:
            kept = self._fetch(start, end) if end - start <= PART else super().read_at(start, end - start)
            if len(kept) <= self._keeping:
                self._keeping -= len(kept)
                headers().keep_page(self.url, self.version, start, kept)
        return kept

    def _fetch(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`, however often it takes: what came before a fault is not fetched again."""
        found, failed = b"", 0
        while len(found) < end - start:
            fault, got = Passing("the server sent nothing"), b""
            try:
                got = self._store.fetch(self.url, start + len(found), end, self.version)
                fault = Passing(f"the server ended in the middle, at byte {start + len(found) + len(got):,}")
            except Passing as passing:
                fault, got = passing, passing.received
            except Changed:
                raise self._changed() from None
            except Missing:
                raise ReadError(f"{self.name}: has been removed since it was opened") from None
            except NoRanges:
                raise no_ranges(self.url) from None
            found += got
            if len(found) < end - start:
                failed = 1 if got else failed + 1
                if failed >= PATIENCE.tries:
                    raise given_up(self.name, fault, failed)
                PATIENCE.wait(failed, fault.wait)
        return found

    def _changed(self) -> ReadError:
        return ReadError(f"{self.name}: has been changed since it was opened; open it again")

    def require_unchanged(self) -> None:
        """Nothing, unless somebody has written to the file since it was opened, which is a ReadError."""
        if self.size:
            self._fetch(0, 1)

    def identity(self) -> Hashable:
        return self.url, self.version

    def parent(self) -> "RemoteFolder":
        return RemoteFolder.of_file(parent(self.url), self._store)

    def sibling(self, name: str) -> Source:
        if not is_plain(name):
            raise FormatError(f"{self.name}: refers to the file `{name}` in another folder, which is not followed")
        return opened(beside(self.url, name), self._store)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.url, self.version)


class RemoteFolder(Folder):
    """A folder that a store lists, or of which it only has the files: then it has no names."""

    __slots__ = ("_opened", "_store", "url")
    waits = True

    def __init__(self, url: str, store: Store) -> None:
        """Raises ReadError where it cannot be listed."""
        self.url = url
        self.name = shown_url(url)
        self.size = 0
        self._store = store
        self._opened: dict[str, RemoteSource] = {}
        try:
            self.names = tuple(sorted(PATIENCE.until_done(lambda: store.names(url), self.name)))
        except Missing as error:
            raise ReadError(f"{self.name}: cannot be opened: {str(error) or 'no such file or folder'}") from None

    @classmethod
    def of_file(cls, url: str, store: Store) -> "RemoteFolder":
        """The folder that a file is in, whose names nobody asks the store for."""
        folder = cls.__new__(cls)
        folder.url, folder.name, folder.size, folder.names = url, shown_url(url), 0, ()
        folder._store, folder._opened = store, {}  # noqa: SLF001 - it is one of ours
        return folder

    def sibling(self, name: str) -> Source:
        if not is_plain(name):
            raise FormatError(f"{self.name}: refers to the file `{name}` in another folder, which is not followed")
        return self._opened.pop(name, None) or opened(within(self.url, name), self._store)

    def folder(self, name: str) -> "RemoteFolder":
        if not is_plain(name):
            raise FormatError(f"{self.name}: refers to `{name}` in another folder, which is not followed")
        return RemoteFolder(within(self.url, name), self._store)

    def ahead(self, names: Iterable[str]) -> None:
        wanted = [name for name in names if is_plain(name) and (not self.names or name in self.names)]
        if len(wanted) > 1:
            self._opened |= dict(zip(wanted, self._all(wanted), strict=True))

    def _all(self, names: Sequence[str]) -> Iterable[RemoteSource]:
        with ThreadPoolExecutor(min(_AT_A_TIME, len(names)), "statedict-remote") as pool:
            return list(pool.map(opened, (within(self.url, name) for name in names), repeat(self._store)))

    def absent(self, names: Iterable[str]) -> list[str]:
        """Those that are not in it; where the store lists nothing, opening them tells."""
        return super().absent(names) if self.names else []

    def sizes(self) -> dict[str, int]:
        known = PATIENCE.until_done(lambda: self._store.sizes(self.url), self.name)
        return {
            name: known[name] if name in known else self.sibling(name).size for name in self.names if name[-1] != "/"
        }

    def at(self, name: str) -> str:
        return shown_url(within(self.url, name))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled_folder, (self.url,)


def opened(url: str, store: Store) -> RemoteSource:
    """The file at a URL. Raises ReadError where there is none, or IsADirectoryError where it is a folder."""
    from statedict.remote.headers import headers  # which no file of this machine needs

    kept = headers().found(url)
    try:
        found = PATIENCE.until_done(lambda: store.open(url, AHEAD if kept is None else 1), shown_url(url))
        if kept is not None and found.version != kept.version:
            kept, found = None, PATIENCE.until_done(lambda: store.open(url, AHEAD), shown_url(url))
    except Missing as error:
        raise ReadError(f"{shown_url(url)}: cannot be opened: {str(error) or 'no such file'}") from None
    except NoRanges:
        raise no_ranges(url) from None
    if kept is None:
        headers().keep_found(url, found)
    return RemoteSource(url, store, found.version, (kept or found).head)


def no_ranges(url: str) -> ReadError:
    """The error that says that a server sends whole files only, and what to do."""
    name = shown_url(url)
    return ReadError(
        f"{name}: its server sends whole files only, no byte ranges; to fetch all of it once, open `{DOWNLOADED}{name}`"
    )


def _unpickled(url: str, version: Version) -> RemoteSource:
    from statedict.interop.protocols import store_of

    return RemoteSource(url, store_of(url), version)


def _unpickled_folder(url: str) -> RemoteFolder:
    from statedict.interop.protocols import store_of

    return RemoteFolder(url, store_of(url))


def _joined(ranges: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """Ranges that adjoin, or nearly, as one."""
    ordered = sorted(ranges)
    if not ordered:
        return
    begin, reach = ordered[0]
    for start, end in ordered[1:]:
        if start - reach > _GAP:
            yield begin, reach
            begin = start
        reach = max(reach, end)
    yield begin, reach


@cache
def _pool_of(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(PARALLEL, f"statedict-remote-{process}")


def _pool() -> ThreadPoolExecutor:
    """The threads that fetch; others in a process that was forked."""
    return _pool_of(os.getpid())
