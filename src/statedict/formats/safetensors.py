"""safetensors: eight bytes of length, a JSON header, the tensors' bytes (the format's README, and its Rust reader).

The order of the header says nothing, for the reference writer sorts by size of element and name: tensors come in the
order of their bytes.
"""

import json
from collections import Counter
from typing import Any

from statedict.dtypes import SAFETENSORS_DTYPES
from statedict.errors import FormatError, LimitError
from statedict.index import Index, TensorInfo, shown
from statedict.limits import Limits
from statedict.narrow import is_dict
from statedict.source import Extent, Source

_METADATA = "__metadata__"
_WHOLE = frozenset({int})
"""Not bool, which JSON has too."""
_MOST = 1 << 63


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file begins with a length and an opening brace."""
    return len(head) > 8 and head[8:9] == b"{" and head[6:8] == b"\0\0"


def read(source: Source, limits: Limits) -> Index:
    """The index of a safetensors file. Raises FormatError where it is damaged, LimitError for too large a header."""
    size = int.from_bytes(source.read_at(0, 8), "little")
    if 8 + size > source.size:
        raise FormatError(
            f"{source.name}: its header ends at byte {8 + size:,}, but the file has {source.size:,}; "
            "it is truncated or still being written"
        )
    if size > limits.header_bytes:
        raise LimitError(
            f"{source.name}: a header of {size:,} bytes; `Limits.header_bytes` allows {limits.header_bytes:,}"
        )
    header = _header(source.read_at(8, size), source.name)
    metadata = header.pop(_METADATA, {})
    if not is_dict(metadata) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError(f"{source.name}: `__metadata__` maps names to strings, but is {str(metadata)[:40]}")
    tensors = [_tensor(name, entry, source, 8 + size) for name, entry in header.items()]
    tensors.sort(key=_place)
    return Index("safetensors", source, {t.name: t for t in tensors}, metadata=metadata, ordered=False).validate(limits)


def _header(data: bytes, where: str) -> dict[str, Any]:
    """The header's JSON object, in which no name stands twice."""
    try:
        header = json.loads(data)
        # Looking at every pair of the file takes as long as parsing it, so it is done only where a name may be hidden.
        if not is_dict(header) or b"\\" in data or data.count(b'"data_offsets"') != len(header) - (_METADATA in header):
            header = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: its header cannot be read: {error}; the file is damaged") from None
    if not is_dict(header):
        raise FormatError(f"{where}: its header is no JSON object; the file is damaged")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name `{shown(twice)}` stands in it twice")
    return entries


def _tensor(name: str, entry: Any, source: Source, start: int) -> TensorInfo:
    try:
        begin, end = entry["data_offsets"]
        kind, shape = entry["dtype"], tuple(entry["shape"])
        whole = type(begin) is type(end) is int and 0 <= begin <= end and _WHOLE.issuperset(map(type, shape))
    except (KeyError, TypeError, ValueError):
        whole, kind, shape, begin, end = False, "", (), 0, 0
    if not whole or end >= _MOST:
        raise FormatError(
            f"{source.name}: tensor `{shown(name)}` needs dtype, shape and data_offsets, but has {shown(str(entry))}"
        )
    dtype = SAFETENSORS_DTYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        raise FormatError(
            f"{source.name}: tensor `{shown(name)}` has the unknown dtype `{shown(str(kind))}`; "
            "a newer statedict may know it"
        )
    return TensorInfo(name, dtype, shape, Extent(source, start + begin, end - begin))


def _place(tensor: TensorInfo) -> tuple[int, int, str]:
    extent = tensor.extent
    return (extent.offset, extent.size, tensor.name) if extent else (0, 0, tensor.name)
