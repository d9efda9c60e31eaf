"""Where a checkpoint is to be written: a path of this machine, or a place in a store."""

import os
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from statedict.remote.urls import LOCAL, is_url, last_part, local_path, scheme, shown_url, within


class RemotePlace:
    """A file or folder of a store, which need not be there, with as much of `Path` as whoever saves asks for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = last_part(url)
        self.suffix = PurePosixPath(self.name).suffix if not url.endswith("/") else ""

    def exists(self) -> bool:
        """Whether anything is there."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether there is a file."""
        from statedict.interop.uploads import is_file

        return is_file(self.url)

    def is_dir(self) -> bool:
        """Whether there is a folder: one with something in it, where a store has no others."""
        from statedict.interop.uploads import names

        return bool(names(self.url))

    def names(self) -> list[str]:
        """The files in it, sorted; none where there is no folder."""
        from statedict.interop.uploads import names

        return names(self.url)

    def glob(self, pattern: str) -> "list[RemotePlace]":
        """The files in it whose names fit."""
        return [self / name for name in self.names() if fnmatchcase(name, pattern)]

    def __truediv__(self, name: str) -> "RemotePlace":
        return RemotePlace(within(self.url, name))

    def __str__(self) -> str:
        return shown_url(self.url)

    def __repr__(self) -> str:
        return f"RemotePlace({str(self)!r})"


Place = Path | RemotePlace


def place_of(path: str | os.PathLike[str]) -> Place:
    """The place that a path or a URL names; one of `file://` is a path."""
    if not is_url(path):
        return Path(path)
    url = os.fspath(path)
    return Path(local_path(url)) if scheme(url) in LOCAL else RemotePlace(url)
