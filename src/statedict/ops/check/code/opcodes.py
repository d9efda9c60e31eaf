"""A pickle's opcodes one by one, as CPython's own reader takes them (pickletools), with what they carry.

Lenient where readers differ: a number or text that is written oddly is `UNKNOWN`, and the walk goes on. Bytes and texts
that are long are not read.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from statedict.ops.check.code.expressions import UNKNOWN, Blob
from statedict.source import Extent, Source

_NONE, _NUMBER, _LINE, _TWO_LINES, _BYTES, _TEXT, _LONG, _SKIP = range(8)
_KINDS: dict[int, tuple[int, int]] = {
    **dict.fromkeys(b"()012.]abdelostuNQR}\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98", (_NONE, 0)),
    **dict.fromkeys(b"Khq\x80\x82", (_NUMBER, 1)),
    **dict.fromkeys(b"M\x83", (_NUMBER, 2)),
    **dict.fromkeys(b"Jjr\x84", (_NUMBER, 4)),
    **dict.fromkeys(b"G\x95", (_NUMBER, 8)),
    **dict.fromkeys(b"SVILFPgp", (_LINE, 1)),
    **dict.fromkeys(b"ci", (_TWO_LINES, 2)),
    **dict.fromkeys(b"UC", (_BYTES, 1)),
    **dict.fromkeys(b"TB", (_BYTES, 4)),
    **dict.fromkeys(b"\x8e\x96", (_BYTES, 8)),
    ord("\x8c"): (_TEXT, 1),
    ord("X"): (_TEXT, 4),
    ord("\x8d"): (_TEXT, 8),
    ord("\x8a"): (_LONG, 1),
    ord("\x8b"): (_LONG, 4),
}
"""What follows an opcode: its kind, and the bytes of the number or of the length."""
_FIRST_PIECE, _PIECE = 1 << 11, 1 << 16
"""Bytes that are read at first, and at most at a time: there may be ten thousand short pickles in a row."""
_LONGEST_KEPT = 1 << 12
_LONGEST_LINE = 1 << 20
STOP, FRAME = ord("."), 0x95


class Operation(NamedTuple):
    """One opcode, what it carries, and the bytes that it takes."""

    code: int
    value: Any
    at: int
    end: int


class BrokenPickleError(FormatError):
    """What follows is no opcode, or the file ends within one."""


class Walk:
    """The opcodes of a source from `start` on; iterating goes on behind a STOP."""

    def __init__(self, source: Source, start: int, limits: Limits, *, most: int | None = None) -> None:
        self.source = source
        self._size = source.size
        self._most = limits.opcodes if most is None else most
        self._data = b""
        self._base = start
        self._place = 0
        self._piece = _FIRST_PIECE

    @property
    def position(self) -> int:
        """Where the next opcode is."""
        return self._base + self._place

    def skip_to(self, position: int) -> None:
        """Go on at another byte, behind what the pickle's own loader reads by itself."""
        if 0 <= position - self._base <= len(self._data):
            self._place = position - self._base
        else:
            self._base, self._data, self._place, self._piece = position, b"", 0, _FIRST_PIECE

    def __iter__(self) -> Iterator[Operation]:
        """Yield each operation. Raises BrokenPickleError where there is none, LimitError where there are too many."""
        kinds = _KINDS
        for _ in range(self._most):
            if self._place >= len(self._data) and not self._fetch(1):
                raise BrokenPickleError(f"ends at byte {self.position:,}, within a pickle")
            at = self._base + self._place
            code = self._data[self._place]
            self._place += 1
            found = kinds.get(code)
            if found is None:
                raise BrokenPickleError(f"byte {at:,} is no opcode of a pickle ({code:#04x})")
            kind, width = found
            value = None if kind == _NONE else self._value(code, kind, width)
            yield Operation(code, value, at, self._base + self._place)
        raise LimitError(f"a pickle of more than {self._most:,} opcodes; raise `Limits.opcodes` if you trust it")

    def _value(self, code: int, kind: int, width: int) -> Any:
        if kind == _LINE:
            return _of_line(code, self._line())
        if kind == _TWO_LINES:
            return _decoded(self._line()), _decoded(self._line())
        data = self._taken(width)
        if kind == _NUMBER:
            return int.from_bytes(data, "little", signed=code == ord("J")) if code != ord("G") else UNKNOWN
        size = int.from_bytes(data, "little")
        if size > _LONGEST_KEPT:
            return self._blob(size, kind)
        data = self._taken(size)
        if kind == _LONG:
            return int.from_bytes(data, "little", signed=True)
        return _decoded(data) if kind == _TEXT else data

    def _blob(self, size: int, kind: int) -> Any:
        start = self.position
        if start + size > self._size:
            raise BrokenPickleError(f"ends at byte {self._size:,}, within a value of {size:,} bytes")
        self.skip_to(start + size)
        return UNKNOWN if kind == _LONG else Blob(Extent(self.source, start, size), kind == _TEXT)

    def _taken(self, size: int) -> bytes:
        if self._place + size > len(self._data) and not self._fetch(size):
            raise BrokenPickleError(f"ends at byte {self._size:,}, within a pickle")
        self._place += size
        return self._data[self._place - size : self._place]

    def _line(self) -> bytes:
        """The bytes up to the next newline, which is skipped."""
        searched = self._place
        while (end := self._data.find(b"\n", searched)) < 0:
            length = len(self._data) - self._place
            if length > _LONGEST_LINE or not self._fetch(length + 1):
                raise BrokenPickleError(f"byte {self.position:,} begins a line without end")
            searched = self._place + length
        line = self._data[self._place : end]
        self._place = end + 1
        return line

    def _fetch(self, size: int) -> bool:
        """Read on, so that `size` bytes are there from the place on; whether there are as many."""
        rest = self._data[self._place :]
        start = self._base + self._place
        have = start + len(rest)
        take = min(max(self._piece, size), self._size - have)
        self._piece = min(2 * self._piece, _PIECE)
        self._data = rest + self.source.read_at(have, take) if take > 0 else rest
        self._base, self._place = start, 0
        return len(self._data) >= size


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _of_line(code: int, line: bytes) -> Any:
    if code == ord("S"):
        text = line.strip()
        text = text[1:-1] if len(text) > 1 and text[:1] == text[-1:] and text[:1] in b"'\"" else text
        return _ESCAPES.sub(_unescaped, text).decode("latin-1") if len(text) <= _LONGEST_KEPT else UNKNOWN
    if code in b"VP":
        return _raw_unicode(line)
    if code == ord("F"):
        return UNKNOWN
    digits = line.strip().rstrip(b"L")
    if code == ord("I") and digits in (b"00", b"01"):
        return digits == b"01"
    return int(digits) if digits.removeprefix(b"-").isdigit() and len(digits) < 1000 else UNKNOWN


_ESCAPES = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"\n": b""}


def _unescaped(match: re.Match[bytes]) -> bytes:
    """What stands for an escape in a text of protocol 0; the escape itself where there is no such one."""
    code, octal, letter = match.groups()
    if letter is None:
        return bytes([int(code, 16) if code else int(octal, 8) & 0xFF])
    return letter if letter in b"\\'\"" else _LETTERS.get(letter, match.group())


def _raw_unicode(line: bytes) -> str:
    try:
        return line.decode("raw_unicode_escape")
    except UnicodeDecodeError:
        return line.decode("latin-1")
