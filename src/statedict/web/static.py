"""The files of the page: markup, styles and scripts as they are written, for which nothing is built."""

from functools import cache
from importlib.resources import files

_FOLDER = "files"


@cache
def names() -> frozenset[str]:
    """What they are called."""
    return frozenset(entry.name for entry in (files("statedict.web") / _FOLDER).iterdir() if entry.is_file())


def content(name: str) -> bytes:
    """The bytes of one of them. Raises FileNotFoundError for any other name."""
    if name not in names():
        raise FileNotFoundError(name)
    return (files("statedict.web") / _FOLDER / name).read_bytes()


def text(name: str) -> str:
    """The same as text."""
    return content(name).decode()
