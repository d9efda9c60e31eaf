"""How whoever writes tells how far it is."""

from typing import Protocol


class Progress(Protocol):
    """What is told of a file being written, or of several: the calls come one at a time, from several threads."""

    @property
    def total(self) -> int:
        """Bytes to be written, and to be read back where that is asked for: grows before they are."""
        ...

    @total.setter
    def total(self, total: int) -> None: ...

    def advance(self, size: int) -> None:
        """Say that `size` more bytes are done."""
        ...
