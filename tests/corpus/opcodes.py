"""Pickles by hand, opcode by opcode."""

import struct

RUN = "touch statedict-was-here"
"""What every hostile file would run."""
PYTHON = f"__import__('os').system('{RUN}')"


def text(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data if len(data) < 256 else b"X" + struct.pack("<I", len(data)) + data


def data(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def name(module: str, name: str) -> bytes:
    """STACK_GLOBAL, which takes dotted names."""
    return text(module) + text(name) + b"\x93"


def old_name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def value(given: object) -> bytes:
    """A plain value."""
    if isinstance(given, bytes):
        return data(given)
    if isinstance(given, str):
        return text(given)
    if isinstance(given, bool) or given is None:
        return {None: b"N", True: b"\x88", False: b"\x89"}[given]
    if isinstance(given, int):
        return number(given)
    if isinstance(given, dict):
        return b"}(" + b"".join(value(each) for pair in given.items() for each in pair) + b"u"
    opening, closing = (b"](", b"e") if isinstance(given, list) else (b"(", b"t")
    return opening + b"".join(map(value, given)) + closing  # type: ignore[call-overload]


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def pickled(body: bytes, protocol: int = 4) -> bytes:
    return bytes([0x80, protocol]) + body + b"."


SYSTEM = call(name("os", "system"), text(RUN))
SYSTEM_OLD = call(old_name("os", "system"), text(RUN))
