"""Keras 3's .keras: a zip archive of `config.json`, `metadata.json` and `model.weights.h5`, an HDF5 file.

The config tells each layer's class and its arguments, which become attributes; nothing of it is built or run.
"""

from typing import Any

from statedict.errors import FormatError, LimitError
from statedict.formats import _keras
from statedict.formats._hdf5 import tree
from statedict.formats._zip import Member, first_name, read_zip
from statedict.index import Index
from statedict.limits import Limits
from statedict.source import BytesSource, Source

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def sniff(head: bytes, source: Source) -> bool:
    """Whether it is a zip archive whose first member is one of Keras's."""
    return first_name(head, source).startswith((_CONFIG, _METADATA, _WEIGHTS, "assets/"))


def read(source: Source, limits: Limits) -> Index:
    """The index of a .keras file. Raises FormatError where it is damaged."""
    members = read_zip(source, limits)
    if _WEIGHTS not in members:
        held = ", ".join(list(members)[:5])
        raise FormatError(f"{source.name}: a zip archive, but no Keras model: it holds {held}, and no {_WEIGHTS}")
    config = _json(source, members, _CONFIG, limits)
    metadata = _json(source, members, _METADATA, limits)
    root = tree(_at_random(members[_WEIGHTS], source, limits), limits, f"{source.name}: {_WEIGHTS}")
    return _keras.index_of(root, "keras", source, limits, config, metadata)


def _json(source: Source, members: dict[str, Source], name: str, limits: Limits) -> dict[str, Any]:
    member = members.get(name)
    if member is None:
        return {}
    if member.size > limits.header_bytes:
        raise LimitError(
            f"{source.name}: {name} has {member.size:,} bytes; `Limits.header_bytes` allows {limits.header_bytes:,}"
        )
    return _keras.parsed(member.read_at(0, member.size), f"{source.name}: {name}")


def _at_random(member: Source, source: Source, limits: Limits) -> Source:
    """The weights, to be read here and there. Keras stores them; what someone else deflated is unpacked into memory."""
    if isinstance(member, Member):
        return member
    if member.size > limits.header_bytes:
        raise LimitError(
            f"{source.name}: {_WEIGHTS} is compressed, and has {member.size:,} bytes; store it with `zip -0`, or raise "
            f"`Limits.header_bytes` ({limits.header_bytes:,}) to unpack it into memory"
        )
    return BytesSource(member.read_at(0, member.size), member.name)
