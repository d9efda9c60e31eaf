"""Protocol Buffers' wire format, walked without a schema: fields are met in order, and payloads are not read.

A message is a run of fields: a key (number and wire type, a varint), then a varint, four or eight bytes, or a length
and that many bytes, which may again be a message (protobuf.dev, "Encoding"). Lengths may exceed protobuf's own 2 GiB.
"""

from collections.abc import Iterator
from typing import NamedTuple

from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from statedict.source import Extent, Source

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_BLOCK = 1 << 15
_LONGEST_VARINT = 10
_LONGEST_HEAD = 2 * _LONGEST_VARINT
"""Bytes of a field's key and its number or length."""
_DEEPEST = 100
"""Messages in messages, where protobuf's own readers stop too."""


class Field(NamedTuple):
    """One field of a message. Its bytes, which are not read yet, are `size` from `start` on."""

    number: int
    wire: int
    value: int
    """The number that it is, of a varint."""
    start: int
    size: int


class _Window:
    """The bytes around the place that is being read, fetched a block at a time; what is skipped is never fetched."""

    __slots__ = ("base", "data", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.base = 0
        self.data = b""

    def at(self, position: int) -> int:
        """Where in `data` the byte at `position` is, with the head of a field behind it unless the source ends."""
        place = position - self.base
        if place < 0 or place + _LONGEST_HEAD > len(self.data):
            self.data = self.source.read_at(position, min(_BLOCK, self.source.size - position))
            self.base = position
            return 0
        return place


class Message:
    """A message that lies in a source from `start` to `end`. Iterating it yields its fields."""

    __slots__ = ("_depth", "_end", "_limits", "_start", "_window")

    def __init__(self, window: _Window, start: int, end: int, limits: Limits, depth: int = 0) -> None:
        self._window = window
        self._start = start
        self._end = end
        self._limits = limits
        self._depth = depth

    def __iter__(self) -> Iterator[Field]:
        """Yield each field. Raises FormatError where one does not fit into the message."""
        window, position, end = self._window, self._start, self._end
        while position < end:
            place = first = window.at(position)
            data = window.data
            key, place = self._varint(data, place)
            number, wire, value = key >> 3, key & 7, 0
            start = position + place - first
            if wire == VARINT:
                value, after = self._varint(data, place)
                size = after - place
            elif wire == BYTES:
                size, after = self._varint(data, place)
                start = position + after - first
            elif wire in _FIXED:
                size = _FIXED[wire]
            else:
                raise self._damaged(f"byte {position:,} begins a field of the unknown wire type {wire}")
            position = start + size
            if number == 0 or position > end:
                raise self._damaged(f"field {number} ends at byte {position:,}, but what it is in at byte {end:,}")
            yield Field(number, wire, value, start, size)

    def inner(self, field: Field) -> "Message":
        """The message that a field is. Raises FormatError where it is a number, LimitError where it is too deep."""
        if self._depth >= min(_DEEPEST, self._limits.depth):
            raise LimitError(
                f"{self.where}: holds messages in messages, {self._depth:,} deep and more; that is no model, "
                "for protobuf's own readers stop there"
            )
        extent = self.extent(field)
        return Message(self._window, extent.offset, extent.offset + extent.size, self._limits, self._depth + 1)

    def extent(self, field: Field) -> Extent:
        """Where a field's bytes are. Raises FormatError where it is a number."""
        if field.wire != BYTES:
            raise self._damaged(f"field {field.number} at byte {field.start:,} is a number, but should be bytes")
        return Extent(self._window.source, field.start, field.size)

    def data(self, field: Field) -> bytes:
        """A field's bytes. Raises FormatError where it is a number, LimitError where they are too many."""
        extent = self.extent(field)
        if extent.size > self._limits.header_bytes:
            raise LimitError(
                f"{self.where}: field {field.number} has {extent.size:,} bytes; "
                f"`Limits.header_bytes` allows {self._limits.header_bytes:,}"
            )
        place = field.start - self._window.base
        if 0 <= place and place + field.size <= len(self._window.data):
            return self._window.data[place : place + field.size]
        return extent.read()

    def text(self, field: Field) -> str:
        """A field's bytes as text. What is no UTF-8 is shown as escapes."""
        return self.data(field).decode("utf-8", "backslashreplace")

    def integers(self, field: Field, most: int) -> list[int]:
        """A field of repeated signed varints: one of them, or all that are packed in it, of which `most` are expected.

        Raises FormatError where there must be more, because of how long the field is.
        """
        if field.wire == VARINT:
            return [_signed(field.value)]
        if field.size > most * _LONGEST_VARINT:
            raise self._damaged(f"field {field.number} at byte {field.start:,} has more than {most:,} numbers")
        data, place, found = self.data(field), 0, list[int]()
        while place < len(data):
            value, place = self._varint(data, place)
            found.append(_signed(value))
        return found

    def integer(self, field: Field) -> int:
        """A field that is one signed varint. Raises FormatError where it is something else."""
        if field.wire != VARINT:
            raise self._damaged(f"field {field.number} at byte {field.start:,} should be a number")
        return _signed(field.value)

    @property
    def whole(self) -> Extent:
        """Where the message is."""
        return Extent(self._window.source, self._start, self._end - self._start)

    @property
    def where(self) -> str:
        """The name of the source that it is in."""
        return self._window.source.name

    def _varint(self, data: bytes, place: int) -> tuple[int, int]:
        """A number in groups of seven bits, the lowest first, and where the next byte is."""
        value = shift = 0
        try:
            if (byte := data[place]) < 0x80:  # nearly all are so short
                return byte, place + 1
            while (byte := data[place]) & 0x80:
                value |= (byte & 0x7F) << shift
                shift += 7
                place += 1
                if shift > 63:
                    raise self._damaged("a number has more than ten bytes")
        except IndexError:
            raise self._damaged("it ends in the middle of a number") from None
        return (value | byte << shift) & 0xFFFF_FFFF_FFFF_FFFF, place + 1

    def _damaged(self, what: str) -> FormatError:
        return FormatError(f"{self.where}: {what}; the file is damaged or truncated")


def message(source: Source, limits: Limits, start: int = 0, end: int | None = None) -> Message:
    """The message that a source is, or that lies in it from `start` to `end`."""
    return Message(_Window(source), start, source.size if end is None else end, limits)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
