"""The plain bytes of a compressed stream of unknown length, unpacked as they are asked for, in bounded memory."""

import bz2
import lzma
import threading
import zlib
from collections.abc import Callable
from typing import Any

from statedict.errors import FormatError, LimitError
from statedict.limits import Limits
from statedict.source import Extent, Source

_BLOCK = 1 << 18
_LARGE = 1 << 29
_TIMES = 16
_SMALL = 1 << 24
"""Plain bytes that no ratio makes a bomb."""

STREAMS: tuple[tuple[bytes, str, Callable[[], Any]], ...] = (
    (b"\x1f\x8b\x08", "gzip", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", "xz", lzma.LZMADecompressor),
    (b"]\0\0", "lzma", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE)),
    (b"x\x01", "zlib", zlib.decompressobj),
    (b"x\x5e", "zlib", zlib.decompressobj),
    (b"x\x9c", "zlib", zlib.decompressobj),
    (b"x\xda", "zlib", zlib.decompressobj),
)
"""How compressed files begin, what they are called, and what unpacks them."""
CLOSED = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"\x04\x22\x4d\x18", "compressed by lz4"),
    (b"\x02\x21\x4c\x18", "compressed by lz4"),
    (b"MSCF", "a cabinet archive"),
    (b"ustar", "a tar archive"),
)
"""How files begin that are not looked into."""


class Room:
    """How many more bytes may be unpacked, or looked at again and again, of one file: beyond that it is a bomb."""

    def __init__(self, size: int, limits: Limits, least: int = _LARGE) -> None:
        self.left = min(limits.unpacked_bytes, max(least, _TIMES * size))

    def take(self, count: int, where: str) -> None:
        """Count some. Raises LimitError where they are too many."""
        self.left -= count
        if self.left < 0:
            raise LimitError(
                f"{where}: holds the same bytes many times over, or unpacks to far more than it has; "
                "`Limits.unpacked_bytes` bounds what is looked at"
            )


class Unpacked(Source):
    """What a stream unpacks to. Its size is found by unpacking it once, up to what the limits allow.

    Reading forward goes on from where the last read ended, reading backward starts anew.
    """

    __slots__ = ("_consumed", "_decoder", "_lock", "_make", "_packed", "_plain", "_position")

    def __init__(
        self, packed: Extent, make: Callable[[], Any], name: str, limits: Limits, room: Room | None = None
    ) -> None:
        self._packed = packed
        self._make = make
        self.name = name
        self._lock = threading.Lock()
        self._rewind()
        self.size = 1 << 62
        self.size = self._measured(limits, room or Room(packed.size, limits))

    def _rewind(self) -> None:
        self._decoder = self._make()
        self._consumed = self._position = 0
        self._plain = b""

    def _measured(self, limits: Limits, room: Room) -> int:
        """How many plain bytes there are, of a damaged stream those before the damage. Raises LimitError at a bomb."""
        total = 0
        most = min(limits.unpacked_bytes, max(_SMALL, limits.ratio * self._packed.size))
        while piece := self._next():
            total += len(piece)
            room.take(len(piece), self.name)
            if total > most:
                raise LimitError(
                    f"{self.name}: {self._packed.size:,} bytes unpack to more than {most:,}; "
                    "raise `Limits.ratio` and `Limits.unpacked_bytes` if you trust it"
                )
        self._rewind()
        return total

    def _next(self) -> bytes:
        """Some more plain bytes; none at the end, and where the stream is damaged."""
        while not self._decoder.eof:
            pending = getattr(self._decoder, "unconsumed_tail", b"")
            wants = getattr(self._decoder, "needs_input", True)
            if not pending and wants:
                take = min(_BLOCK, self._packed.size - self._consumed)
                if take <= 0:
                    return b""
                pending = self._packed.source.read_at(self._packed.offset + self._consumed, take)
                self._consumed += take
            try:
                plain = self._decoder.decompress(pending, _BLOCK)
            except (zlib.error, OSError, EOFError, lzma.LZMAError):
                return b""
            if plain:
                return plain
        return b""

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        with self._lock:
            if offset < self._position:
                self._rewind()
            done = 0
            while done < len(buffer):
                if not self._plain:
                    self._plain = self._next()
                    if not self._plain:
                        raise FormatError(f"{self.name}: its compressed bytes have changed since it was opened")
                skipped = max(0, offset - self._position)
                if skipped >= len(self._plain):
                    self._position += len(self._plain)
                    self._plain = b""
                    continue
                part = self._plain[skipped : skipped + len(buffer) - done]
                buffer[done : done + len(part)] = part
                done += len(part)
                offset += len(part)
                self._position += skipped + len(part)
                self._plain = self._plain[skipped + len(part) :]

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("what is looked into is not sent to other processes")


def stream(source: Source, head: bytes, limits: Limits, room: Room) -> tuple[str, Source] | None:
    """What a file of this head unpacks to, and how it is packed; None if it is not. Raises LimitError at a bomb."""
    for begins, name, make in STREAMS:
        if head.startswith(begins):
            found = Unpacked(Extent(source, 0, source.size), make, f"{source.name}: unpacked", limits, room)
            return (name, found) if found.size else None
    return None
