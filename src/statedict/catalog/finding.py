"""Which checkpoints are under a folder or prefix: files, and folders whose files belong together."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from statedict import formats
from statedict.remote.urls import is_url
from statedict.source import Folder, source_of

_SUFFIXES = frozenset(
    suffix for entry in formats.FORMATS for suffix in entry.suffixes if suffix not in (".index.json", ".pickle", ".pkl")
)
_TOGETHER = (".metadata", "_metadata", "manifest.ocdbt", "config.json", "adapter_config.json")
"""Files that make the weights of a folder one checkpoint, as an index of shards does."""


class Place(NamedTuple):
    """A checkpoint that has not been opened yet."""

    path: str
    version: str
    """What changes when it is written anew; an empty text where nothing tells, and it is opened to know."""
    modified: float
    """When it was written, in seconds since 1970; 0 where nobody knows."""


def places(root: str) -> Iterator[Place]:
    """Yield what is under a root: a path or URL of a checkpoint, a folder, or a prefix. Raises ReadError as `open`."""
    if is_url(root):
        yield from _remote(source_of(root), root)
    elif Path(root).is_dir():
        yield from _local(os.path.abspath(root))  # noqa: PTH100 - many are found, as texts
    else:
        found = os.stat(source_of(root).name)  # noqa: PTH116 - which raises our errors first
        yield Place(os.path.abspath(root), f"{found.st_size}-{found.st_mtime_ns}", found.st_mtime)  # noqa: PTH100


def _local(folder: str) -> Iterator[Place]:
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        files: list[tuple[str, os.stat_result]] = []
        below: list[str] = []
        names: list[str] = []
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                names.append(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif _is_checkpoint(entry.name):
                    files.append((entry.path, entry.stat()))
        if _belong_together(names) and (files or ".metadata" in names or "_metadata" in names):
            stats = [found for _, found in files] or [os.stat(os.path.join(folder, name)) for name in names]  # noqa: PTH116, PTH118
            newest = max(found.st_mtime_ns for found in stats)
            yield Place(folder, f"{sum(found.st_size for found in stats)}-{newest}", newest / 1e9)
            continue
        waiting += reversed(below)
        for path, found in files:
            yield Place(path, f"{found.st_size}-{found.st_mtime_ns}", found.st_mtime)


def _remote(source: object, url: str) -> Iterator[Place]:
    if not isinstance(source, Folder):
        yield Place(url, "", 0.0)
        return
    names = [name for name in source.names if not name.endswith("/")]
    files = list(filter(_is_checkpoint, names))
    if _belong_together(names) and files:
        yield Place(url, "", 0.0)
        return
    for name in files:
        yield Place(f"{url.rstrip('/')}/{name}", "", 0.0)
    for name in source.names:
        if name.endswith("/"):
            yield from _remote(source.folder(name[:-1]), f"{url.rstrip('/')}/{name[:-1]}")


def _is_checkpoint(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _SUFFIXES and not name.startswith(".")  # noqa: PTH122 - of many


def _belong_together(names: Sequence[str]) -> bool:
    return any(name in _TOGETHER or name.endswith(".index.json") or "-of-0" in name for name in names)
