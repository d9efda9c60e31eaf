"""Object graphs that two readers made of one pickle: whether they are the same, in kinds, values and what is shared."""

import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from statedict.columns import Columns
from statedict.dtypes import DType
from statedict.formats._inert import PickledDict, SafeDict, is_class
from statedict.formats._numpy import NumpyArray, NumpyDType
from statedict.formats._stored import Storage, StoredTensor
from statedict.formats._zip import Member
from statedict.index import Encoding, TensorInfo
from statedict.opaque import Opaque
from statedict.source import Extent, Source

_TENSOR = ("storage", "offset", "shape", "stride", "dtype", "device", "requires_grad", "parameter", "special", "states")
_PARTS: dict[type, tuple[str, ...]] = {
    StoredTensor: _TENSOR,
    Storage: ("dtype", "numel", "device", "extent", "first", "big_endian"),
    Member: ("name", "size", "_header"),
    Source: ("name", "size"),
    Encoding: ("byteorder", "conj", "neg", "layout", "parts", "kind", "attributes"),
    NumpyArray: ("value",),
    NumpyDType: ("code", "order"),
}
_SINGLE = (str, int, bool, bytes, bytearray, complex, type(None))


def account(graph: Any) -> list[Any]:
    """All that is in a graph, in order; an object met again is the number that it had. As deep as it may be."""
    numbers: dict[int, int] = {}
    kept: list[Any] = []
    said: list[Any] = []
    waiting: list[Any] = [graph]
    while waiting:
        value = waiting.pop()
        if type(value) is float:
            said.append(struct.pack("d", value))
        elif type(value) in _SINGLE or isinstance(value, DType):
            said.append((type(value), value))
        elif is_class(value):
            said.append(value.full_name)
        elif isinstance(value, tuple) and all(type(part) is int for part in value):
            said.append(value)  # shapes, of which it is no matter whether they are one object
        elif id(value) in numbers:
            said.append(numbers[id(value)])
        else:
            numbers[id(value)] = len(numbers)
            kept.append(value)
            parts = list(_parts(value))
            said.append((type(value).__name__, len(parts)))
            waiting += reversed(parts)
    return said


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, PickledDict):
        yield getattr(value, "attributes", None)
    if isinstance(value, Mapping):
        assert type(value) in (dict, SafeDict, PickledDict, MappingProxyType, Columns)
        for key, held in value.items():
            yield key
            yield held
    elif isinstance(value, list | tuple):
        assert type(value) in (list, tuple, Extent, TensorInfo)
        yield from value
    elif isinstance(value, set | frozenset):
        yield from sorted(map(repr, value))
    elif isinstance(value, Opaque):
        yield from (value.name, value.args, value.kwargs, value.state, value.items)
    else:
        kind = Source if isinstance(value, Source) and type(value) not in _PARTS else type(value)
        for name in _PARTS[kind]:
            yield getattr(value, name)
