"""The members of a tar archive, as its headers say, whatever wrote them (POSIX.1-2008, pax; GNU; the old format)."""

from collections.abc import Iterator
from typing import NamedTuple

from statedict.limits import Limits
from statedict.source import Source

BLOCK = 512
_LONG_NAME = b"L"


class TarMember(NamedTuple):
    """One member."""

    name: str
    kind: str
    """The header's type flag: "0" of a file, "1" of a hard link, "2" of a symbolic link."""
    link: str
    data: int
    size: int


def begins(head: bytes) -> bool:
    """Whether a file of these first 512 bytes begins with a tar header: its magic, or the checksum that all have."""
    return len(head) == BLOCK and (head[257:262] == b"ustar" or _is_header(head))


def members(source: Source, limits: Limits) -> Iterator[TarMember]:
    """Yield the members; nothing of a file that is no tar archive. Ends where a header is damaged."""
    if not begins(source.head(BLOCK)):
        return
    position, name = 0, ""
    for _ in range(limits.members):
        if position + BLOCK > source.size:
            return
        head = source.read_at(position, BLOCK)
        if not head.rstrip(b"\0"):
            return
        size = _number(head[124:136])
        data = position + BLOCK
        if size is None or data + size > source.size:
            return
        if head[156:157] == _LONG_NAME:
            name = _text(source.read_at(data, min(size, limits.name_bytes)))
        else:
            prefix = _text(head[345:500]) if head[257:262] == b"ustar" and head[263:265] == b"00" else ""
            own = f"{prefix}/{_text(head[:100])}" if prefix else _text(head[:100])
            yield TarMember(name or own, chr(head[156] or 48), _text(head[157:257]), data, size)
            name = ""
        position = data + -(-size // BLOCK) * BLOCK


def _is_header(head: bytes) -> bool:
    said = _number(head[148:156])
    return said is not None and said == sum(head[:148]) + 8 * 32 + sum(head[156:]) and said > 8 * 32


def _number(field: bytes) -> int | None:
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits or not digits.isdigit() or b"8" in digits or b"9" in digits:
        return None if digits else 0
    return int(digits, 8)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "backslashreplace")
