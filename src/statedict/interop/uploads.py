"""Writing to the stores that fsspec knows: by multipart upload where there is one, by a name of its own otherwise."""

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Any

from statedict.errors import StatedictError, WriteError
from statedict.interop.stores import file_system
from statedict.remote.urls import beside, last_part, scheme, shown_url, without_secrets

_MULTIPART = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss"})
"""Where what is sent is seen by nobody until it is committed."""
_READ_ONLY = frozenset({"http", "https", "hf"})
_PART = 1 << 24
_MOST_PARTS = 9_000
"""Of the 10,000 that S3 allows."""
_TEMPORARY = ".statedict-tmp"


@contextmanager
def upload(url: str, size: int) -> Generator[Any]:
    """Something to write `size` bytes to in their order, which are the file at the URL once the block has ended."""
    if scheme(url) in _READ_ONLY:
        raise WriteError(
            f"{shown_url(url)}: cannot be written: that store is only read; write to a file, and send that"
        )
    with told(url):
        fs, path = file_system(url)
        part = max(_PART, -(-size // _MOST_PARTS))
        how = _multipart(fs, path, part) if scheme(url) in _MULTIPART else _renamed(fs, url, part)
    with _passing(how, url) as file:
        yield file


@contextmanager
def _passing(how: Any, url: str) -> Generator[Any]:
    """The same; what the store raises is told, what a source raises passes."""
    with told(url), how as file:
        yield file


@contextmanager
def _multipart(fs: Any, path: str, part: int) -> Generator[Any]:
    file = fs.open(path, "wb", block_size=part, autocommit=False)
    try:
        yield file
        file.close()
        file.commit()
    except BaseException:
        file.closed = True  # or its end would send what is left
        with suppress(Exception):
            file.discard()
        raise
    finally:
        fs.invalidate_cache(path.rpartition("/")[0])


@contextmanager
def _renamed(fs: Any, url: str, part: int) -> Generator[Any]:
    path, place = (fs._strip_protocol(each) for each in (url, beside(url, _temporary(url))))
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    try:
        with fs.open(place, "wb", block_size=part) as file:
            yield file
        fs.mv(place, path)
    except BaseException:
        with suppress(Exception):
            fs.rm_file(place)
        raise
    finally:
        fs.invalidate_cache(path.rpartition("/")[0])


def _temporary(url: str) -> str:
    return f".{last_part(url)}.{os.urandom(4).hex()}{_TEMPORARY}"


@contextmanager
def told(url: str) -> Generator[None]:
    """Tell a fault of a store as a WriteError; ours pass as they are."""
    try:
        yield
    except (StatedictError, GeneratorExit):
        raise
    except Exception as error:  # noqa: BLE001 - each store has its own
        reason = without_secrets(str(error), url) or type(error).__name__
        raise WriteError(f"{shown_url(url)}: cannot be written: {reason}; what was there before still is") from None


def names(url: str) -> list[str]:
    """The files in a folder of a store, sorted; none where there is no folder."""
    if scheme(url) in _READ_ONLY:
        return []
    with told(url):
        fs, path = file_system(url)
        fs.invalidate_cache()
        if not fs.isdir(path):
            return []
        listed = fs.ls(path, detail=True)
    return sorted(entry["name"].rpartition("/")[2] for entry in listed if entry["type"] == "file")


def is_file(url: str) -> bool:
    """Whether a store has that file."""
    if scheme(url) in _READ_ONLY:
        return False
    with told(url):
        fs, path = file_system(url)
        fs.invalidate_cache()
        return bool(fs.isfile(path))


def remove(urls: Iterable[str]) -> None:
    """Remove files that nobody needs; one that stays does no harm."""
    for url in urls:
        with suppress(Exception):
            fs, path = file_system(url)
            fs.rm_file(path)
