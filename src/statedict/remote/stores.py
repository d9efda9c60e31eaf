"""What keeps remote files, as those who read and write them see it; `interop.stores` has the real ones."""

from typing import NamedTuple, Protocol


class Version(NamedTuple):
    """What tells one state of a remote file from another."""

    size: int
    tag: str = ""
    """An ETag, a generation, a checksum or a time, as the store has it; an empty text where it has none."""


class Found(NamedTuple):
    """A remote file that has been opened, and its first bytes."""

    version: Version
    head: bytes


class Passing(Exception):  # noqa: N818 - what happened, and no error yet
    """A fault that may be gone at the next try: a broken connection, a busy server. What came before it is kept."""

    def __init__(self, reason: str, received: bytes = b"", wait: float = 0.0) -> None:
        super().__init__(reason)
        self.received = received
        self.wait = wait
        """Seconds that the server asks to wait."""


class Changed(Exception):  # noqa: N818
    """The file is not the one that was opened any more."""


class Missing(Exception):  # noqa: N818
    """There is no file of that name."""


class NoRanges(Exception):  # noqa: N818
    """The server sends whole files only."""


class Store(Protocol):
    """Where remote files lie. All raise `Passing`, `Missing` or ReadError, which says what to do."""

    def open(self, url: str, ahead: int) -> Found:
        """The file, and `ahead` bytes of its begin, or all. Raises Missing, NoRanges, and IsADirectoryError."""
        ...

    def fetch(self, url: str, start: int, end: int, version: Version) -> bytes:
        """These bytes of that version, or fewer where the connection ended. Raises Changed and NoRanges, too."""
        ...

    def names(self, url: str) -> list[str]:
        """What is in a folder; folders in it end in "/". Raises Missing where it cannot be listed."""
        ...

    def sizes(self, url: str) -> dict[str, int]:
        """The bytes of the files in a folder, by name."""
        ...

    def download(self, url: str, path: str) -> None:
        """All of a file, into a file of this machine."""
        ...
