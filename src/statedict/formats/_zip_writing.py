"""A zip archive of members stored as they are, as the pieces of a plan (PKWARE's APPNOTE 6.3.10).

Every member's data begin at a multiple of some alignment, for those who map the file: an extra field in front of them,
which readers skip, is as long as it takes. ZIP64 is used where a size, an offset or the number of members asks for it.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from statedict.errors import StatedictError
from statedict.index import shown
from statedict.plan import Late, Piece, Summed
from statedict.source import Extent

_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_LOCATOR = struct.Struct("<4sLQL")
_UTF8 = 0x800
_STORED = 0
_VERSION, _VERSION64 = 20, 45
_NO_TIME, _NO_DATE = 0, 0x21
"""Midnight of 1980-01-01, the first day that zip knows: equal content makes equal files."""
_PADDING = struct.Struct("<2sH")
_PADDING_ID = b"FB"
_MOST16, _MOST32 = 0xFFFF, 0xFFFFFFFF
_CRC_POLYNOMIAL = 0xEDB88320


class _Member(NamedTuple):
    name: bytes
    flags: int
    offset: int
    size: int
    head_crc: int
    tail_size: int
    """Of the extent that follows the bytes in it, whose checksum is known later."""
    number: int
    """Of that extent among all whose checksum is asked for; -1: there is none."""

    def crc(self, sums: Sequence[int]) -> int:
        return self.head_crc if self.number < 0 else _joined(self.head_crc, sums[self.number], self.tail_size)


def archive(
    members: Iterable[tuple[str, bytes | Extent | tuple[bytes, Extent]]], *, alignment: int = 64
) -> tuple[Piece, ...]:
    """The pieces of a whole zip archive of these members: each its name and its data, bytes, an extent, or both.

    Data begin at multiples of `alignment` (at most 32,768). Raises StatedictError for a name that zip cannot hold.
    """
    pieces: list[Piece] = []
    listed: list[_Member] = []
    offset, number = 0, 0
    for name, data in members:
        head, extent = data if isinstance(data, tuple) and not isinstance(data, Extent) else (b"", data)
        if isinstance(extent, bytes):
            head, extent = extent, None
        tail = extent.size if extent else 0
        encoded = _encoded(name)
        flags = 0 if encoded.isascii() else _UTF8
        member = _Member(encoded, flags, offset, len(head) + tail, zlib.crc32(head), tail, number if tail else -1)
        listed.append(member)
        extra = _local_extra(member, alignment)
        offset += _LOCAL.size + len(encoded) + len(extra) + member.size
        if extent and tail:
            pieces += (
                Late(_LOCAL.size + len(encoded) + len(extra), partial(_local, member, extra)),
                head,
                Summed(extent),
            )
            number += 1
        else:
            pieces.append(_local(member, extra, ()) + head)
    directory = partial(_directory, tuple(listed), offset)
    nothing = (0,) * number
    pieces.append(Late(len(directory(nothing)), directory) if number else directory(()))
    return tuple(piece for piece in pieces if piece != b"")


def _encoded(name: str) -> bytes:
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise StatedictError(f"`{shown(name)}` is no text that a zip archive can name a member by; rename it") from None
    if len(encoded) > _MOST16:
        raise StatedictError(
            f"`{shown(name)}` has {len(encoded):,} bytes; a zip archive's names have {_MOST16:,} at most; rename it"
        )
    return encoded


def _local_extra(member: _Member, alignment: int) -> bytes:
    """What stands between a member's name and its data: wide sizes where they are needed, then padding."""
    wide = struct.pack("<2H2Q", 1, 16, member.size, member.size) if member.size >= _MOST32 else b""
    start = member.offset + _LOCAL.size + len(member.name) + len(wide) + _PADDING.size
    padding = -start % alignment
    return wide + _PADDING.pack(_PADDING_ID, padding) + bytes(padding)


def _local(member: _Member, extra: bytes, sums: Sequence[int]) -> bytes:
    """The header in front of a member's data."""
    wide = member.size >= _MOST32
    size = _MOST32 if wide else member.size
    version = _VERSION64 if wide else _VERSION
    return (
        _LOCAL.pack(
            b"PK\x03\x04",
            version,
            member.flags,
            _STORED,
            _NO_TIME,
            _NO_DATE,
            member.crc(sums),
            size,
            size,
            len(member.name),
            len(extra),
        )
        + member.name
        + extra
    )


def _directory(members: Sequence[_Member], start: int, sums: Sequence[int]) -> bytes:
    """All behind the last member: an entry for each, and where these begin."""
    entries = b"".join([_entry(member, sums) for member in members])
    count, size = len(members), len(entries)
    wide = b""
    if count >= _MOST16 or size >= _MOST32 or start >= _MOST32:
        fields = (_END64.size - 12, _VERSION64, _VERSION64, 0, 0, count, count, size, start)
        wide = _END64.pack(b"PK\x06\x06", *fields) + _END64_LOCATOR.pack(b"PK\x06\x07", 0, start + size, 1)
    count = min(count, _MOST16)
    return entries + wide + _END.pack(b"PK\x05\x06", 0, 0, count, count, min(size, _MOST32), min(start, _MOST32), 0)


def _entry(member: _Member, sums: Sequence[int]) -> bytes:
    size, offset, extra = member.size, member.offset, b""
    if size >= _MOST32 or offset >= _MOST32:
        extra = struct.pack("<2Q", size, size) if size >= _MOST32 else b""
        extra += struct.pack("<Q", offset) if offset >= _MOST32 else b""
        extra = struct.pack("<2H", 1, len(extra)) + extra
        size, offset = min(size, _MOST32), min(offset, _MOST32)
    version = _VERSION64 if extra else _VERSION
    fields = (version, version, member.flags, _STORED, _NO_TIME, _NO_DATE, member.crc(sums), size, size)
    return _ENTRY.pack(b"PK\x01\x02", *fields, len(member.name), len(extra), 0, 0, 0, 0, offset) + member.name + extra


def _joined(first: int, second: int, size: int) -> int:
    """The CRC-32 of two runs of bytes, from that of each and the size of the second."""
    return _times(_shift(size), first) ^ second if first else second


@lru_cache(1024)
def _shift(size: int) -> int:
    """The polynomial x to the power of 8 `size`, which a CRC-32 is multiplied by where `size` bytes follow."""
    product, square, power = 1 << 31, 1 << 30, 8 * size
    while power:
        if power & 1:
            product = _times(square, product)
        square = _times(square, square)
        power >>= 1
    return product


def _times(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), modulo that of CRC-32; the highest bit is the coefficient of 1."""
    product, bit = 0, 1 << 31
    while bit:
        if a & bit:
            product ^= b
        b = b >> 1 ^ _CRC_POLYNOMIAL if b & 1 else b >> 1
        bit >>= 1
    return product
