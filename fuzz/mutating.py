"""Mutations that know what a file is made of: numbers and their places, opcodes, JSON values, members of archives."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

from statedict.errors import FormatError
from statedict.limits import Limits
from statedict.ops.check.code.opcodes import Walk
from statedict.source import BytesSource

Mutate = Callable[[bytes, random.Random], bytes]

_NUMBERS = (0, (1 << 32) - 1, (1 << 64) - 1, *(1 << power for power in (0, 1, 3, 7, 8, 15, 16, 31, 32, 40, 63)))
_TEXTS = ("", "\0", "..", "../x", "/etc/passwd", "a" * 300, "\u202e", "é", "0" * 5000, "__class__", "\ud800")
_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    1.5,
    1 << 62,
    1 << 70,
    "x",
    "F32",
    "../x",
    [],
    {},
    [0, 1],
    [-1, 1 << 60],
    {"a": []},
)
_CODES = bytes(range(0x28, 0x7F)) + bytes(range(0x80, 0x99))
_MOST = 1 << 20


def of_bytes(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, taken out, put in, or a stretch copied elsewhere."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        at = chance.randrange(len(out) + 1)
        what = chance.randrange(6)
        if what == 0 and out:
            out[at % len(out)] ^= 1 << chance.randrange(8)
        elif what == 1 and out:
            out[at % len(out)] = chance.randrange(256)
        elif what == 2:
            del out[at : at + chance.choice((1, 2, 4, 16, 256))]
        elif what == 3:
            out[at:at] = chance.randbytes(chance.choice((1, 2, 4, 16)))
        elif what == 4 and out:
            start = chance.randrange(len(out))
            out[at:at] = out[start : start + chance.choice((1, 4, 16, 64))]
        else:
            del out[at:]
    return bytes(out[:_MOST])


def of_numbers(data: bytes, chance: random.Random) -> bytes:
    """One of the numbers that the bytes may hold, of 1 to 8 bytes, set to one that is an edge of something."""
    width = chance.choice((1, 2, 4, 4, 8, 8))
    if len(data) < width:
        return of_bytes(data, chance)
    near = min(len(data) - width, chance.choice((64, 512, len(data))))
    at = chance.randrange(near + 1) if chance.random() < 0.7 else len(data) - width - chance.randrange(near + 1)
    number = chance.choice(_NUMBERS) + chance.choice((0, 0, -1, 1))
    if chance.random() < 0.3:
        number = int.from_bytes(data[at : at + width], "little") + chance.choice((-1, 1, 8, -8, 1 << 20))
    new = (number % (1 << 8 * width)).to_bytes(width, chance.choice(("little", "little", "big")))
    return data[:at] + new + data[at + width :]


def of_opcodes(data: bytes, chance: random.Random, start: int = 0) -> bytes:
    """A pickle with operations taken out, doubled, exchanged, put in, or given other arguments."""
    operations: list[tuple[int, int]] = []
    try:
        for operation in Walk(BytesSource(data), start, Limits(), most=20_000):
            operations.append((operation.at, operation.end))
    except FormatError:
        pass
    if len(operations) < 2:
        return of_bytes(data, chance)
    pieces = [data[:start], *(data[begin:end] for begin, end in operations), data[operations[-1][1] :]]
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(1, len(pieces))
        what = chance.randrange(6)
        if what == 0:
            del pieces[at]
        elif what == 1:
            pieces.insert(at, pieces[chance.randrange(len(pieces))])
        elif what == 2:
            other = chance.randrange(1, len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif what == 3:
            pieces.insert(at, bytes([chance.choice(_CODES)]) + chance.randbytes(chance.choice((0, 0, 1, 2, 4))))
        elif what == 4:
            pieces[at] = pieces[at][:1] + of_numbers(pieces[at][1:], chance)
        else:
            text = chance.choice(_TEXTS).encode("utf-8", "surrogatepass")
            pieces.insert(at, b"X" + struct.pack("<I", len(text)) + text)
        if len(pieces) < 2:
            break
    return b"".join(pieces)[:_MOST]


def of_value(value: Any, chance: random.Random, depth: int = 0) -> Any:
    """A JSON value with one thing in it changed."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        changed = dict(value)
        what = chance.randrange(5)
        if what == 0:
            del changed[key]
        elif what == 1:
            changed[chance.choice(_TEXTS)] = value[key]
        else:
            changed[key] = of_value(value[key], chance, depth + 1)
        return changed
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        return [*value[:at], of_value(value[at], chance, depth + 1), *value[at + chance.randrange(2) :]]
    if isinstance(value, int) and chance.random() < 0.7:
        return value + chance.choice((-1, 1, 1 << 31, 1 << 63, -value, 8))
    if chance.random() < 0.05:
        return [[[[value]]]] * 3
    return chance.choice(_VALUES)


def of_json(data: bytes, chance: random.Random) -> bytes:
    """A JSON text with values changed, or of which bytes are."""
    if chance.random() < 0.3:
        return of_bytes(data, chance)
    try:
        held = json.loads(data)
    except (ValueError, RecursionError):
        return of_bytes(data, chance)
    for _ in range(chance.choice((1, 1, 2, 4))):
        held = of_value(held, chance)
    return json.dumps(held).encode("utf-8", "surrogatepass")


def of_safetensors(data: bytes, chance: random.Random) -> bytes:
    """A safetensors file with another header, whose length fits mostly."""
    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= len(data) - 8 or chance.random() < 0.2:
        return of_numbers(data, chance)
    header = of_json(data[8 : 8 + size], chance)
    length = len(header) + (chance.choice((-1, 1, 8)) if chance.random() < 0.05 else 0)
    return struct.pack("<Q", max(0, length)) + header + data[8 + size :]


def of_members(inner: Mutate) -> Mutate:
    """A zip archive with a member changed by `inner`, called otherwise, doubled or taken out; or of other bytes."""

    def mutate(data: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.4:
            return of_numbers(data, chance)
        members = unzipped(data)
        if not members:
            return of_bytes(data, chance)
        at = chance.randrange(len(members))
        at = (
            next((i for i, (name, _) in enumerate(members) if name.endswith((".pkl", ".json"))), at)
            if chance.random() < 0.6
            else at
        )
        name, held = members[at]
        what = chance.randrange(10)
        if what == 0:
            del members[at]
        elif what == 1:
            members.append((name, held))
        elif what == 2:
            members[at] = (chance.choice((name + "x", "../" + name, name.upper(), "x/data.pkl")), held)
        else:
            members[at] = (name, (of_json if name.endswith(".json") else inner)(held, chance))
        return zipped(members, chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))

    return mutate


def unzipped(data: bytes) -> list[tuple[str, bytes]]:
    """The names and bytes of an archive's members; none of one that is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > 16 * _MOST:
                return []
            return [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # noqa: BLE001 - zipfile raises many kinds of errors
        return []


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    import warnings

    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, held in members:
            archive.writestr(zipfile.ZipInfo(name), held, method)
    return file.getvalue()


def of_text(data: bytes, chance: random.Random) -> bytes:
    """A text of a language with its signs exchanged, doubled and put together otherwise."""
    signs = (
        "*",
        "**",
        "{",
        "}",
        ",",
        ".",
        "(",
        ")",
        "==",
        "and",
        "or",
        "not",
        "-",
        "+",
        "1e999",
        "ndim",
        "'",
        "[",
        "]",
        "=",
        "\\",
        "|",
        "^",
    )
    text = data.decode("utf-8", "replace")
    for _ in range(chance.choice((1, 2, 4))):
        at = chance.randrange(len(text) + 1)
        what = chance.randrange(4)
        if what == 0:
            text = text[:at] + chance.choice(signs) + text[at:]
        elif what == 1:
            text = text[:at] + text[at + chance.randrange(1, 4) :]
        elif what == 2:
            start = chance.randrange(len(text) + 1)
            text = text[:at] + text[start : start + chance.randrange(1, 12)] * chance.choice((1, 1, 2, 30)) + text[at:]
        else:
            text = text[:at] + chance.choice(_TEXTS)[:300] + text[at:]
    return text[:5000].encode("utf-8", "replace")


def either(*mutations: Mutate) -> Mutate:
    """One of these, at random."""
    return lambda data, chance: chance.choice(mutations)(data, chance)
