"""Files of web servers, by ranges (RFC 9110, 14): every answer tells its version, which is held against ours."""

import re
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from statedict.errors import ReadError
from statedict.extras import needed
from statedict.interop.stores import faults, file_system
from statedict.remote.stores import Changed, Found, Missing, NoRanges, Passing, Version
from statedict.remote.urls import shown_url, without_secrets

_CHUNK = 1 << 16
_RANGE = re.compile(r"bytes (?P<start>\d+)-(?P<end>\d+)/(?P<size>\d+)")
_NOTHING = re.compile(r"bytes \*/0")
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_SECONDS = 60
"""Without a byte, after which a connection is given up."""


class _Answer(NamedTuple):
    version: Version
    data: bytes


class HttpStore:
    """Web servers, through fsspec's session, which takes proxies and passwords from the environment and `~/.netrc`."""

    def open(self, url: str, ahead: int) -> Found:
        answer = self._asked(url, 0, ahead)
        return Found(answer.version, answer.data)

    def fetch(self, url: str, start: int, end: int, version: Version) -> bytes:
        return self._asked(url, start, end, version).data

    def names(self, url: str) -> list[str]:
        with faults(url):
            fs, path = self._file_system(url)
            base = path.rstrip("/") + "/"
            links = [link[len(base) :] for link in fs.ls(base, detail=False) if link.startswith(base)]
        names = [unquote(link.split("?")[0]) for link in links]
        direct = sorted({name for name in names if name and "/" not in name.rstrip("/")})
        if not direct:
            raise Missing("the server lists no files there; name a file, such as `…/model.safetensors.index.json`")
        return direct

    def sizes(self, url: str) -> dict[str, int]:
        return {}

    def download(self, url: str, path: str) -> None:
        with faults(url):
            fs, there = self._file_system(url)
            fs.get_file(there, path)

    def _file_system(self, url: str) -> tuple[Any, str]:
        known = needed("fsspec", "remote", f"{shown_url(url)}: lies elsewhere, where fsspec reads").config.conf
        given = known.get("http", {}).get("client_kwargs", {})
        return file_system(url, client_kwargs={"trust_env": True, **given})

    def _asked(self, url: str, start: int, end: int, version: Version | None = None) -> _Answer:
        asyn = needed("fsspec.asyn", "remote", f"{shown_url(url)}: lies elsewhere, where fsspec reads")
        with faults(url):
            fs, path = self._file_system(url)
            return asyn.sync(fs.loop, _ask, fs, path, start, end, version)


async def _ask(fs: Any, url: str, start: int, end: int, version: Version | None) -> _Answer:
    """Bytes of a file, of that version if one is named. What came before a broken connection comes with `Passing`."""
    import aiohttp

    session = await fs.set_session()
    given = dict(fs.kwargs)
    headers = {**given.pop("headers", {}), "Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SECONDS, sock_read=_SECONDS)
    data = bytearray()
    try:
        async with session.get(fs.encode_url(url), headers=headers, timeout=timeout, **given) as response:
            found, more = _judged(response.status, response.headers, url, start, end, version)
            if more:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    data += chunk
    except aiohttp.ClientConnectorDNSError as error:
        if version is None and error.os_error.errno == socket.EAI_NONAME:
            raise ReadError(f"{shown_url(url)}: cannot be opened: there is no host `{error.host}`") from None
        raise Passing(without_secrets(str(error), url)) from None
    except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
        raise Passing(without_secrets(str(error) or type(error).__name__, url), bytes(data[: end - start])) from None
    return _Answer(found, bytes(data[: end - start]))


def _judged(
    status: int, headers: Mapping[str, str], url: str, start: int, end: int, version: Version | None
) -> tuple[Version, bool]:
    """The version that a server answers with, and whether bytes of it follow. Raises what else the answer says."""
    tag = headers.get("ETag") or headers.get("Last-Modified") or ""
    said = headers.get("Content-Range", "")
    if status == 416 and version is None and _NOTHING.fullmatch(said):
        return Version(0, tag), False
    if status in (412, 416) and version is not None:
        raise Changed
    if status == 206 and (found := _RANGE.fullmatch(said)):
        now = Version(int(found["size"]), tag)
        if version is not None and now != version:
            raise Changed
        if int(found["start"]) != start or int(found["end"]) >= end:
            raise ReadError(f"{shown_url(url)}: its server was asked for bytes {start:,} to {end:,}, and sent `{said}`")
        return now, True
    if status == 200 and headers.get("Content-Length") == "0" and version is None:
        return Version(0, tag), False
    if status in (200, 206):
        raise NoRanges
    raise _refusal(status, headers, url)


def _refusal(status: int, headers: Mapping[str, str], url: str) -> Exception:
    if status in (404, 410):
        return Missing("there is no such file")
    if status in _BUSY:
        after = headers.get("Retry-After", "")
        return Passing(f"its server answers {status}", wait=float(after) if after.isdecimal() else 0.0)
    if status in (401, 403, 407):
        return ReadError(
            f"{shown_url(url)}: its server refuses it (status {status}): put a password into ~/.netrc, "
            "or take a fresh link if this one has a signature"
        )
    return ReadError(f"{shown_url(url)}: its server answers {status}, which is no file")
