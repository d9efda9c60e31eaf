"""FlatBuffers' layout, followed without a schema: tables, vectors and strings, found by the offsets that lead to them.

A table begins with the distance back to its vtable, which says where in the table each field lies, if at all; fields
that are no numbers are again offsets, forwards (flatbuffers.dev, "FlatBuffers Internals"). Nothing but what is asked
for is read, in blocks that are kept; each read is counted against `Limits.header_bytes`, however often it is the same.
"""

import struct
from collections.abc import Iterator

from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from statedict.source import Extent, Source

_BLOCK = 1 << 12
_OFFSET = 4
_CODES = {"b": 1, "B": 1, "H": 2, "i": 4, "I": 4, "q": 8, "Q": 8, "f": 4}
"""The bytes of each kind of number, in `struct`'s letters."""


class Reading:
    """What is read of one file, in blocks. Raises LimitError where that is more than a description can be."""

    __slots__ = ("_blocks", "_left", "_limits", "source")

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source = source
        self._limits = limits
        self._left = limits.header_bytes
        self._blocks: dict[int, bytes] = {}

    def bytes_at(self, position: int, size: int) -> bytes:
        """The `size` bytes from `position` on."""
        if position < 0 or position + size > self.source.size:
            raise self.damaged(f"bytes {position:,} to {position + size:,} are referred to, of {self.source.size:,}")
        self._left -= size
        if self._left < 0:
            raise LimitError(
                f"{self.source.name}: its description takes more than the {self._limits.header_bytes:,} bytes of "
                "`Limits.header_bytes`"
            )
        first, last = position // _BLOCK, (position + size - 1) // _BLOCK
        if first == last:
            start = position - first * _BLOCK
            return self._block(first)[start : start + size]
        if size > _BLOCK:
            return self.source.read_at(position, size)
        return (self._block(first) + self._block(last))[position - first * _BLOCK :][:size]

    def _block(self, number: int) -> bytes:
        if (block := self._blocks.get(number)) is None:
            start = number * _BLOCK
            block = self._blocks[number] = self.source.read_at(start, min(_BLOCK, self.source.size - start))
        return block

    def number(self, code: str, position: int) -> int:
        """The number at `position`, of the kind of `struct`'s letter."""
        (value,) = struct.unpack("<" + code, self.bytes_at(position, _CODES[code]))
        return value

    def follow(self, position: int) -> int:
        """Where the offset at `position` leads. Raises FormatError where that is beyond the file."""
        target = position + self.number("I", position)
        if target == position or target + _OFFSET > self.source.size:
            raise self.damaged(f"the offset at byte {position:,} leads to byte {target:,} of {self.source.size:,}")
        return target

    def damaged(self, what: str) -> FormatError:
        """The error that says what is wrong with the file."""
        return FormatError(f"{self.source.name}: {what}; the file is damaged or truncated")


class Table:
    """A table of a file. Its fields are asked for by their numbers, in the order of the schema from 0 on."""

    __slots__ = ("_fields", "_position", "_reading")

    def __init__(self, reading: Reading, position: int) -> None:
        self._reading = reading
        self._position = position
        vtable = position - reading.number("i", position)
        size = reading.number("H", vtable)
        if size < 4 or size % 2:
            raise reading.damaged(f"the table at byte {position:,} has an impossible list of its fields")
        self._fields = struct.unpack(f"<{size // 2 - 2}H", reading.bytes_at(vtable + 4, size - 4))

    def _at(self, field: int) -> int | None:
        """Where a field lies; None where the table leaves it out, and its default holds."""
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._position + offset if offset else None

    def number(self, field: int, code: str, default: int = 0) -> int:
        """A field that is a number of the kind of `struct`'s letter."""
        at = self._at(field)
        return default if at is None else self._reading.number(code, at)

    def table(self, field: int) -> "Table | None":
        """A field that is a table."""
        at = self._at(field)
        return None if at is None else Table(self._reading, self._reading.follow(at))

    def extent(self, field: int, size: int = 1) -> Extent | None:
        """Where the elements of a vector lie, each of `size` bytes. Raises FormatError where it exceeds the file."""
        at = self._at(field)
        if at is None:
            return None
        reading = self._reading
        start = reading.follow(at)
        nbytes = reading.number("I", start) * size
        if start + _OFFSET + nbytes > reading.source.size:
            end = start + _OFFSET + nbytes
            raise reading.damaged(f"the list at byte {start:,} ends at byte {end:,} of {reading.source.size:,}")
        return Extent(reading.source, start + _OFFSET, nbytes)

    def numbers(self, field: int, code: str) -> tuple[int, ...]:
        """A field that is a vector of numbers; none where it is left out."""
        extent = self.extent(field, _CODES[code])
        if extent is None:
            return ()
        return struct.unpack(f"<{extent.size // _CODES[code]}{code}", self._bytes(extent))

    def text(self, field: int) -> str | None:
        """A field that is a string; what is no UTF-8 is shown as escapes."""
        extent = self.extent(field)
        return None if extent is None else self._bytes(extent).decode("utf-8", "backslashreplace")

    def tables(self, field: int) -> Iterator["Table"]:
        """Yield each table of a field that is a vector of them."""
        extent = self.extent(field, _OFFSET)
        if extent is not None:
            for position in range(extent.offset, extent.offset + extent.size, _OFFSET):
                yield Table(self._reading, self._reading.follow(position))

    def _bytes(self, extent: Extent) -> bytes:
        return self._reading.bytes_at(extent.offset, extent.size)


def root(source: Source, limits: Limits) -> Table:
    """The table that a file is. Raises FormatError where its first four bytes lead to none."""
    reading = Reading(source, limits)
    return Table(reading, reading.follow(0))
