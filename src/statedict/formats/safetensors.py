"""safetensors: eight bytes of length, a JSON header, the tensors' bytes (the format's README, and its Rust reader).

The order of the header says nothing, for the reference writer sorts by size of element and name: tensors come in the
order of their bytes. Of tied tensors only one is there; `safetensors.torch.save_model` says in `__metadata__`, under
the name of each other, which one.
"""

import json
from collections import Counter
from collections.abc import Mapping
from operator import itemgetter, sub
from typing import Any

from statedict import accelerator
from statedict.columns import Columns, Shape
from statedict.dtypes import SAFETENSORS_DTYPES, DType
from statedict.errors import FormatError, LimitError, StatedictError
from statedict.formats._plain import elements, listed, no_such_type, said, ties
from statedict.index import PLAIN, Index, TensorInfo, shown
from statedict.limits import Limits
from statedict.narrow import is_dict
from statedict.plan import Plan
from statedict.source import Extent, Source

_METADATA = "__metadata__"
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})
_WHOLE = frozenset({int})
"""Not bool, which JSON has too."""
_MOST = 1 << 63
_ALIGNMENT = 8
_LONGEST_HEADER = 100_000_000
"""Bytes that the reference reader allows."""
_FORMAT = "format"
"""Metadata that `transformers` asks for: the framework, "pt"."""


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
    data = source.read_at(8, size)
    named: Mapping[str, TensorInfo]
    named, metadata = _told(data, source) or _parsed(data, source)
    if aliases := _aliases(metadata, named):
        named = {**named, **{later: named[first] for later, first in aliases.items()}}
        metadata = {key: text for key, text in metadata.items() if key not in aliases}
    return Index("safetensors", source, named, metadata=metadata, ordered=False).validate(limits)


def _told(data: bytes, source: Source) -> tuple[Columns, dict[str, str]] | None:
    """What `_parsed` finds, told by the C code; None without it, and of a header with anything unusual in it."""
    library = accelerator.headers()
    found = library.safetensors(data, SAFETENSORS_DTYPES, 8 + len(data)) if library else None
    if found is None:
        return None
    names, dtypes, shapes, offsets, sizes, metadata = found
    if len(set(names)) < len(names):
        return None
    return Columns(source, names, dtypes, shapes, offsets, sizes), metadata


def _parsed(data: bytes, source: Source) -> tuple[Columns, dict[str, str]]:
    """The tensors that a header describes, in the order of their bytes, and its metadata."""
    header = _header(data, source.name)
    metadata = header.pop(_METADATA, {})
    if not is_dict(metadata) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError(f"{source.name}: `__metadata__` maps names to strings, but is {str(metadata)[:40]}")
    return _tensors(header, source, 8 + len(data)), metadata


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


def _tensors(header: dict[str, Any], source: Source, start: int) -> Columns:
    """The tensors in the order of their bytes, which begin at `start`. Little work for each: there are 60,000."""
    placed: list[tuple[int, int, str, DType, Shape]] = []
    met: dict[Shape, Shape] = {}
    for name, entry in header.items():
        try:
            begin, end = entry["data_offsets"]
            dtype, shape = SAFETENSORS_DTYPES[entry["dtype"]], tuple(entry["shape"])
        except (KeyError, TypeError, ValueError):
            raise _malformed(name, entry, source) from None
        if not (type(begin) is type(end) is int and 0 <= begin <= end < _MOST and _WHOLE.issuperset(map(type, shape))):
            raise _malformed(name, entry, source)
        placed.append((begin, end, name, dtype, met.setdefault(shape, shape)))
    placed.sort(key=itemgetter(0, 1, 2))
    begins, ends, names, dtypes, shapes = map(list, zip(*placed, strict=True)) if placed else ([], [], [], [], [])
    return Columns(source, names, dtypes, shapes, [start + begin for begin in begins], map(sub, ends, begins))


def _malformed(name: str, entry: Any, source: Source) -> FormatError:
    where = f"{source.name}: tensor `{shown(name)}`"
    if is_dict(entry) and _FIELDS <= entry.keys():
        kind = entry["dtype"]
        if isinstance(kind, str) and kind not in SAFETENSORS_DTYPES:
            return FormatError(f"{where} has the unknown dtype `{shown(kind)}`; a newer statedict may know it")
    return FormatError(f"{where} needs dtype, shape and data_offsets, but has {shown(str(entry))}")


def _aliases(metadata: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> dict[str, str]:
    """The metadata that name tied tensors: those from a name that no tensor has to one that a tensor has."""
    return {key: text for key, text in metadata.items() if key != _FORMAT and text in tensors and key not in tensors}


def write(index: Index) -> Plan:
    """The safetensors file of an index: aligned, without gaps, and in the index's order where both can be had.

    Tied tensors are written once, as `safetensors.torch.save_model` does. Raises StatedictError, naming the tensor,
    for what the format cannot hold.
    """
    if _METADATA in index.tensors:
        raise StatedictError(f"a tensor is called `{_METADATA}`, a name that safetensors keeps for itself; rename it")
    aliases = {later: first for later, first in index.aliases().items() if later != _FORMAT}
    named = [(name, info) for name, info in index.tensors.items() if name not in aliases]
    metadata, notes = _metadata(index, aliases)
    header: dict[str, Any] = {_METADATA: metadata}
    pieces: list[Extent] = []
    offset = 0
    for name, info in _aligned(named):
        _, dtype, shape, extent, stride, _, _, _, encoding = info
        if shape is None or extent is None or encoding is not PLAIN or stride is not None:
            shape, extent = elements(info, "safetensors")
        if dtype.safetensors is None or (dtype.bits < 8 and dtype.bits * info.numel % 8):
            raise no_such_type(name, dtype, "safetensors", "uint8" if dtype.name.startswith("bits") else "float32")
        end = offset + extent.size
        header[name] = {"dtype": dtype.safetensors, "shape": shape, "data_offsets": (offset, end)}
        pieces.append(extent)
        offset = end
    return Plan((_header_of(header), *pieces), notes)


def _aligned(named: list[tuple[str, TensorInfo]]) -> list[tuple[str, TensorInfo]]:
    """The tensors as they come, if each then begins at a multiple of its elements' size; else larger elements first."""
    offset = 0
    for _, info in named:
        if offset % info.dtype.itemsize:
            return sorted(named, key=lambda entry: -entry[1].dtype.itemsize)
        offset += info.nbytes
    return named


def _header_of(header: dict[str, Any]) -> bytes:
    """Length and header, with spaces behind so that the data begin aligned."""
    try:
        data = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        odd = shown(error.object[max(0, error.start - 40) : error.end])
        raise StatedictError(f"a name or a text of the metadata is no Unicode text (`{odd}`); rename it") from None
    data += b" " * (-len(data) % _ALIGNMENT)
    if len(data) > _LONGEST_HEADER:
        raise StatedictError(
            f"the header has {len(data):,} bytes, of which safetensors' own reader allows {_LONGEST_HEADER:,}; "
            "write a folder of shards"
        )
    return len(data).to_bytes(8, "little") + data


def _metadata(index: Index, aliases: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """What `__metadata__` holds, and notes of what it does not."""
    told = said(index.metadata)
    kept = {key: text for key, text in told.items() if isinstance(text, str) and key not in aliases}
    for key in _aliases(kept, index.tensors):  # it would be read as a tie
        del kept[key]
    notes: list[str] = []
    if lost := told.keys() - kept.keys():
        why = "safetensors keeps texts only, and those that name a tensor as ties"
        notes.append(f"metadata left out, as {why}: {listed(key for key in told if key in lost)}")
    if aliases:
        notes.append(f"tied tensors are written once, which `{_METADATA}` says: {ties(aliases)}")
    return {_FORMAT: "pt", **kept, **aliases}, tuple(notes)
