"""What a format's writer returns: all that a file will hold, piece after piece. Nothing is read or written yet."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from statedict.source import Extent


class Summed(NamedTuple):
    """An extent of which the CRC-32 is wanted, too: zip archives tell it before and behind the bytes."""

    extent: Extent

    @property
    def size(self) -> int:
        return self.extent.size


class Late(NamedTuple):
    """Bytes of a known number that depend on the checksums."""

    size: int
    make: Callable[[Sequence[int]], bytes]
    """From the CRC-32 of each `Summed` piece of the plan, in their order, to these bytes."""


Piece = bytes | Extent | Summed | Late


@dataclass(frozen=True, slots=True)
class Plan:
    """One file to be written: its pieces, without a gap between them.

    An `Extent` is copied, or computed, if its source computes what is read from it.
    """

    pieces: tuple[Piece, ...]
    notes: tuple[str, ...] = ()
    """What the format holds otherwise than the tree did, or not at all: one line each, for the user."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(map(size_of, self.pieces))

    def placed(self) -> Iterator[tuple[int, Piece]]:
        """Yield each piece with its offset in the file."""
        starts = itertools.accumulate(map(size_of, self.pieces), initial=0)
        return zip(starts, self.pieces, strict=False)


def size_of(piece: Piece) -> int:
    """Bytes of a piece."""
    return len(piece) if isinstance(piece, bytes) else piece.size
