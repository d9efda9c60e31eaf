"""GGUF versions 1 to 3, of either byte order, in one file or split into several (ggml's `docs/gguf.md`).

Metadata (names and typed values), then the tensors' names, shapes and places, then their bytes. Version 1 has lengths
of four bytes where the later ones have eight. GGUF names the fastest dimension first, PyTorch the slowest. It does not
tell buffers from parameters, so all tensors are parameters; the metadata are attributes of the root.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from statedict.dtypes import DTYPES, DType
from statedict.errors import FormatError, ReadError, StatedictError
from statedict.formats._gguf_values import NAMES, GGUFArray, Header, text_bytes, usual_kind, value_pieces
from statedict.formats._plain import elements, listed, no_such_type, said, ties
from statedict.index import PLAIN, Encoding, Index, ModuleInfo, TensorInfo, shown
from statedict.limits import Limits
from statedict.narrow import is_dict, is_tuple
from statedict.plan import Piece, Plan, size_of
from statedict.source import Extent, Folder, Source

TYPES = {
    0: "float32", 1: "float16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 9: "q8_1", 10: "q2_k",
    11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k", 15: "q8_k", 16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s",
    20: "iq4_nl", 21: "iq3_s", 22: "iq2_s", 23: "iq4_xs", 24: "int8", 25: "int16", 26: "int32", 27: "int64",
    28: "float64", 29: "iq1_m", 30: "bfloat16", 31: "q4_0_4_4", 32: "q4_0_4_8", 33: "q4_0_8_8", 34: "tq1_0",
    35: "tq2_0", 36: "iq4_nl_4_4", 37: "iq4_nl_4_8", 38: "iq4_nl_8_8", 39: "mxfp4", 40: "nvfp4", 41: "q1_0",
}  # fmt: skip
"""`ggml_type`, in the words of `dtypes`."""
_KINDS = {name: kind for kind, name in TYPES.items()}
_MAGIC = b"GGUF"
_VERSIONS = (1, 2, 3)
_ALIGNMENT = 32
_MOST_ALIGNMENT = 1 << 20
_MOST_DIMENSIONS = 64
_MOST_WRITTEN_DIMENSIONS = 4
_LONGEST_NAME = 63
"""Bytes of a tensor's name that ggml has room for (GGML_MAX_NAME)."""
_ARCHITECTURE = "general.architecture"
_SPLIT = frozenset({"split.no", "split.count", "split.tensors.count"})
"""Metadata of the files of a split, which the one file that is written is not."""
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file begins with GGUF's four letters, or it is a folder of such files and of no other weights."""
    if isinstance(source, Folder):
        return any(map(_is_ours, source.names)) and not any(map(_is_others, source.names))
    return head[:4] == _MAGIC


def _is_ours(name: str) -> bool:
    return name.lower().endswith(".gguf")


def _is_others(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".index.json"))


def _only_one(folder: Folder) -> Source:
    """The folder's file, or the first of its split. Raises FormatError where there are several to choose from."""
    files = {name: _PART.fullmatch(name) for name in folder.names if _is_ours(name)}
    sets: dict[str, str] = {}
    for name, part in files.items():
        sets.setdefault(f"{part['stem']}-of-{part['count']}" if part else name, name)
    if len(sets) > 1:
        named = [shown(name) for name in sets.values()]
        raise FormatError(
            f"{folder.name}: holds several checkpoints; open one of its files: {', '.join(named[:8])}"
            f"{', …' * (len(named) > 8)}"
        )
    (name,) = sets.values()
    return folder.sibling(name)


def read(source: Source, limits: Limits) -> Index:
    """The index of a GGUF file, or of all files of the split that it is one of; of a folder, of the only such in it.

    Raises FormatError where one is damaged or missing, LimitError for too long a header.
    """
    first = _File(_only_one(source) if isinstance(source, Folder) else source, limits)
    parts = [first, *_others(first, limits)]
    parts.sort(key=lambda part: part.number)
    tensors: dict[str, TensorInfo] = {}
    for part in parts:
        if twice := tensors.keys() & part.tensors.keys():
            raise FormatError(f"{source.name}: tensor `{shown(min(twice))}` stands twice in it; the file is damaged")
        tensors |= part.tensors
    metadata: dict[str, Any] = {"version": first.version, "byteorder": first.byteorder}
    if parts[0].kinds:
        metadata["types"] = parts[0].kinds
    modules = _modules(tensors, parts[0].metadata)
    return Index("gguf", source, tensors, modules, metadata).validate(limits)


def _modules(tensors: dict[str, TensorInfo], metadata: dict[str, Any]) -> dict[str, ModuleInfo]:
    """All modules that hold tensors, each of which is a parameter."""
    held: dict[str, list[str]] = {"": []}
    for name in tensors:
        module, _, local = name.rpartition(".")
        held.setdefault(module, []).append(local)
    return {
        module: ModuleInfo(attributes={} if module else metadata, parameters=tuple(names))
        for module, names in held.items()
    }


def _others(first: "_File", limits: Limits) -> Iterator["_File"]:
    """Yield the other files of a split. Raises FormatError, naming them, where some are missing or of another split."""
    source, count = first.source, first.count
    if count <= 1:
        return
    name = source.name.replace("\\", "/").rpartition("/")[2]
    part = _PART.fullmatch(name)
    if part is None or int(part["count"]) != count or int(part["number"]) != first.number + 1:
        raise FormatError(
            f"{source.name}: is part {first.number + 1:,} of {count:,}, which are found by their names; "
            f"name them NAME-{first.number + 1:05}-of-{count:05}.gguf"
        )
    missing: list[str] = []
    for number in range(count):
        sibling = f"{part['stem']}-{number + 1:05}-of-{count:05}.gguf"
        if number == first.number:
            continue
        try:
            beside = source.sibling(sibling)
        except ReadError:
            missing.append(sibling)
            continue
        if not missing:
            yield _same_split(_File(beside, limits), first, number)
    if missing:
        raise FormatError(
            f"{source.name}: of the {count:,} files of this split {len(missing):,} are missing: "
            f"{', '.join(missing[:8])}{', …' * (len(missing) > 8)}; fetch them"
        )


def _same_split(part: "_File", first: "_File", number: int) -> "_File":
    if (part.number, part.count) == (number, first.count):
        return part
    raise FormatError(
        f"{part.source.name}: says that it is part {part.number + 1:,} of {part.count:,}, not {number + 1:,} of "
        f"{first.count:,}; it is of another split than {first.source.name}"
    )


class _File:
    """What one file's header says."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source = source
        self._limits = limits
        self.version, self.byteorder = _version(source)
        self._header = header = Header(source, 8, self.version, self.byteorder, limits)
        tensors, values = header.size(), header.size()
        self.metadata: dict[str, Any] = {}
        self.kinds: dict[str, str] = {}
        """The types of those metadata whose values do not tell it."""
        for _ in range(values):
            key, kind = header.text(), header.number("I")
            value = self.metadata[key] = header.value(kind)
            if kind != usual_kind(value):
                self.kinds[key] = NAMES[kind]
        self.count = self._whole("split.count", 0)
        self.number = self._whole("split.no", 0)
        self.tensors = self._tensors(tensors)

    def _whole(self, key: str, default: int) -> int:
        value = self.metadata.get(key, default)
        if type(value) is not int or not 0 <= value < 1 << 32:
            raise FormatError(f"{self.source.name}: `{key}` is {shown(repr(value))}, but should be a whole number")
        return value

    def _tensors(self, count: int) -> dict[str, TensorInfo]:
        """The tensors, whose places are counted from the end of the header, rounded up."""
        header = self._header
        described = [self._described() for _ in range(count)]
        alignment = self._whole("general.alignment", _ALIGNMENT) or 1
        start = -(-header.position // alignment) * alignment
        encoding = Encoding(byteorder="big") if self.byteorder == "big" else PLAIN
        tensors: dict[str, TensorInfo] = {}
        for name, kind, shape, offset in described:
            dtype = self._dtype(name, kind, shape)
            if name in tensors:
                raise FormatError(f"{self.source.name}: tensor `{shown(name)}` stands twice in it; the file is damaged")
            numel = 1
            for size in shape:
                numel *= size
            extent = Extent(self.source, start + offset, dtype.nbytes(numel))
            tensors[name] = TensorInfo(name, dtype, shape, extent, encoding=encoding)
        return tensors

    def _described(self) -> tuple[str, int, tuple[int, ...], int]:
        """Name, type, shape and offset of the next tensor."""
        header = self._header
        name, dimensions = header.text(), header.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise FormatError(
                f"{self.source.name}: tensor `{shown(name)}` has {dimensions:,} dimensions; the file is damaged"
            )
        shape = tuple(reversed([header.size() for _ in range(dimensions)]))
        return name, header.number("I"), shape, header.number("Q")

    def _dtype(self, name: str, kind: int, shape: tuple[int, ...]) -> Any:
        if kind not in TYPES:
            raise FormatError(
                f"{self.source.name}: tensor `{shown(name)}` has the unknown type {kind}; a newer statedict may know it"
            )
        dtype = DTYPES[TYPES[kind]]
        if dtype.block_bytes and (shape or (1,))[-1] % dtype.block_numel:
            raise FormatError(
                f"{self.source.name}: tensor `{shown(name)}` of {dtype} has rows of {(shape or (1,))[-1]:,}, which are "
                f"no blocks of {dtype.block_numel}; the file is damaged"
            )
        return dtype


def _version(source: Source) -> tuple[int, str]:
    """Version and byte order: the one in which the version is a small number."""
    data = source.read_at(4, 4)
    little, big = int.from_bytes(data, "little"), int.from_bytes(data, "big")
    version, order = (little, "little") if little <= big else (big, "big")
    if version not in _VERSIONS:
        raise FormatError(f"{source.name}: is GGUF version {version:,}, but statedict reads 1 to 3; update statedict")
    return version, order


def write(index: Index) -> Plan:
    """The GGUF file (version 3, little end first) of an index; blocks of quantised types are kept as they are.

    The metadata are the attributes of the root and what the index says of itself, typed as in the file that they are
    from. Raises StatedictError, naming the tensor, for what llama.cpp would refuse.
    """
    values, notes = _values(index)
    alignment = values.get("general.alignment", _ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= _MOST_ALIGNMENT:
        raise StatedictError(f"`general.alignment` is {shown(repr(alignment))}, but should be a whole number like 32")
    aliases = index.aliases()
    if aliases:
        notes.append(f"tied tensors are written under their first names only, as GGUF has no ties: {ties(aliases)}")
    described: list[bytes] = []
    data: list[Extent | bytes] = []
    offset = 0
    for name, info in index.tensors.items():
        if name not in aliases:
            shape, extent = elements(info, "GGUF")
            described.append(_description(name, info.dtype, shape, offset))
            padding = -extent.size % alignment
            data += (extent, bytes(padding)) if padding else (extent,)
            offset += extent.size + padding
    head = [_MAGIC + struct.pack("<IQQ", 3, len(described), len(values)), *_metadata_pieces(values, index)]
    head.append(b"".join(described))
    head.append(bytes(-sum(map(size_of, head)) % alignment))
    return Plan((*head, *data), tuple(notes))


def _values(index: Index) -> tuple[dict[str, Any], list[str]]:
    """What is written as metadata, and notes of what is not."""
    root = index.modules.get("", ModuleInfo())
    told = {key: value for key, value in {**root.attributes, **said(index.metadata)}.items() if key not in _SPLIT}
    values = {key: list(value) if is_tuple(value) else value for key, value in told.items()}
    values: dict[str, Any] = {key: value for key, value in values.items() if usual_kind(value) is not None}
    notes: list[str] = []
    if lost := [key for key in told if key not in values]:
        notes.append(f"metadata left out, as GGUF has no type for them: {listed(lost)}")
    if _ARCHITECTURE not in values:
        notes.append(f"without `{_ARCHITECTURE}` among its metadata llama.cpp will not load the file")
    return values, notes


def _metadata_pieces(values: Mapping[str, Any], index: Index) -> Iterator[Piece]:
    types = index.metadata.get("types")
    types = types if is_dict(types) else {}
    for key, value in values.items():
        wanted = types.get(key)
        yield text_bytes(key)
        yield from value_pieces(value, NAMES.index(wanted) if wanted in NAMES else None)


def _description(name: str, dtype: DType, shape: tuple[int, ...], offset: int) -> bytes:
    """What the header says of a tensor."""
    where, encoded = f"tensor `{shown(name)}`", text_bytes(name)
    if len(encoded) > 8 + _LONGEST_NAME:
        raise StatedictError(
            f"{where} has a name of {len(encoded) - 8} bytes, of which ggml allows {_LONGEST_NAME}; rename it"
        )
    if len(shape) > _MOST_WRITTEN_DIMENSIONS:
        raise StatedictError(
            f"{where} has {len(shape)} dimensions, of which ggml allows {_MOST_WRITTEN_DIMENSIONS}; reshape or drop it"
        )
    if dtype.name not in _KINDS or (dtype.block_bytes and (shape or (1,))[-1] % dtype.block_numel):
        raise no_such_type(name, dtype, "GGUF")
    return encoded + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), _KINDS[dtype.name], offset)


__all__ = ["TYPES", "GGUFArray", "read", "sniff", "write"]
