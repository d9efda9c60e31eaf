"""Headers of remote files, kept on this machine: opened again, a file that is the same costs one byte.

A folder of small files, each named by a hash of what it is of: no URL stands in it, nor anything secret of one. What is
in a file is held against its digest, and files take their places by a rename. So whoever else reads, writes or breaks
the folder, a header is the one that the server sent, or is fetched anew.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

from statedict.remote.stores import Found, Version
from statedict.remote.urls import scheme, without_user

_SCHEMES = frozenset({"http", "https", "s3", "s3a", "hf"})
"""Of stores that tell the version of a file in the answer that brings its first byte."""
_MOST = 1 << 28
"""Bytes of all files. What was not used for the longest time goes first."""
_LEFT = 3 * _MOST // 4
_MOST_OF_ONE = 1 << 25
_DIGEST = 32
_SETTLED = 60
"""Seconds for which a file has not been changed, where only a time in whole seconds tells that (RFC 9110, 8.8.2.2)."""
_OFF = ("", "0")


class Headers:
    """The headers in a folder, or none where there is no folder. A fault of the disk is a header that is not there."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._added = _MOST
        """Bytes since it was last seen to that there are not too many."""

    def found(self, url: str) -> Found | None:
        """The version of a file that was opened before, and its first bytes."""
        if (kept := self._get("begin", url)) is None:
            return None
        said, _, head = kept.partition(b"\n")
        return Found(Version(*json.loads(said)), head)

    def keep_found(self, url: str, found: Found) -> None:
        """Keep how a file begins, if its version tells it from every other one."""
        if _is_told(found.version):
            self._put(json.dumps(found.version).encode() + b"\n" + found.head, "begin", url)

    def page(self, url: str, version: Version, start: int, end: int) -> bytes | None:
        """Bytes of that version of a file that have been kept."""
        kept = self._get("page", url, version, start, end)
        return kept if kept is None or len(kept) == end - start else None

    def keep_page(self, url: str, version: Version, start: int, data: bytes) -> None:
        """Keep bytes of a header."""
        if _is_told(version):
            self._put(data, "page", url, version, start, start + len(data))

    def _get(self, kind: str, url: str, *rest: object) -> bytes | None:
        if self._folder is None or scheme(url) not in _SCHEMES:
            return None
        path = self._folder / _name(kind, url, *rest)
        with contextlib.suppress(OSError):
            kept = path.read_bytes()
            if kept[:_DIGEST] == _digest(path.name, kept[_DIGEST:]):
                os.utime(path)
                return kept[_DIGEST:]
        return None

    def _put(self, data: bytes, kind: str, url: str, *rest: object) -> None:
        if self._folder is None or scheme(url) not in _SCHEMES or len(data) > _MOST_OF_ONE:
            return
        name = _name(kind, url, *rest)
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(len(data))
            descriptor, path = tempfile.mkstemp(dir=self._folder)  # for the user's eyes alone
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_digest(name, data) + data)
                Path(path).replace(self._folder / name)
            except BaseException:
                Path(path).unlink(missing_ok=True)
                raise

    def _make_room(self, more: int) -> None:
        """Remove what has not been used for long, where there may be too much: looked for now and then."""
        with self._lock:
            self._added += more
            if self._folder is None or self._added < _MOST - _LEFT:
                return
            self._added = 0
        with os.scandir(self._folder) as entries:
            files = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in entries)
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= _LEFT:
                return
            total -= size
            Path(path).unlink(missing_ok=True)


def headers() -> Headers:
    """The headers that are kept for this user: in `STATEDICT_CACHE`, none where that is empty or 0."""
    given = os.environ.get("STATEDICT_CACHE")
    return _headers(given, os.environ.get("XDG_CACHE_HOME"))


@cache
def _headers(given: str | None, caches: str | None) -> Headers:
    if given in _OFF:
        return Headers(None)
    try:
        own = Path(given) if given else Path(caches or Path.home() / ".cache") / "statedict"
    except RuntimeError:  # a user without a home
        return Headers(None)
    return Headers(own / "headers" if _is_ours(own) else None)


def _is_ours(folder: Path) -> bool:
    """Whether nobody else has made that folder, who would choose what we believe a server to have sent."""
    try:
        return not hasattr(os, "geteuid") or folder.stat().st_uid == os.geteuid()
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _is_told(version: Version) -> bool:
    """Whether what tells the version of a file would tell another one."""
    from email.utils import parsedate_to_datetime

    if not version.size or not version.tag or version.tag.startswith("W/"):
        return False
    try:
        return time.time() - parsedate_to_datetime(version.tag).timestamp() > _SETTLED
    except ValueError:
        return True


def _name(*key: object) -> str:
    kind, url, *rest = key
    return hashlib.sha256(repr((kind, without_user(str(url)), *rest)).encode("utf-8", "surrogatepass")).hexdigest()


def _digest(name: str, data: bytes) -> bytes:
    return hashlib.blake2b(name.encode() + data, digest_size=_DIGEST).digest()
