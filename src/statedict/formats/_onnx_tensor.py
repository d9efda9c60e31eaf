"""ONNX's `TensorProto` and `SparseTensorProto`: from the message to a `TensorInfo`, whose bytes stay where they are.

The bytes are `raw_data`, or in another file, or in one of the fields for numbers (`float_data`, `int32_data`, ...),
whose varints are decoded when they are read (onnx.proto; IR version 13).
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from statedict.dtypes import DTYPES, DType
from statedict.errors import FormatError, ReadError
from statedict.formats._protobuf import BYTES, Field, Message, message
from statedict.index import Encoding, TensorInfo, shown
from statedict.limits import DEFAULT_LIMITS
from statedict.opaque import Opaque
from statedict.source import Extent, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STRING = 8
DATA_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8_e4m3fn",
    18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4_packed", 22: "int4_packed", 23: "f4",
    24: "float8_e8m0fnu", 25: "uint2_packed", 26: "int2_packed", 27: "f6_e2m3", 28: "f6_e3m2",
}  # fmt: skip
"""`TensorProto.DataType`, in the words of `dtypes`."""
_FLOAT_DATA, _INT32_DATA, _STRING_DATA, _INT64_DATA, _DOUBLE_DATA, _UINT64_DATA = 4, 5, 6, 7, 10, 11
_NUMBERS = (_FLOAT_DATA, _INT32_DATA, _INT64_DATA, _DOUBLE_DATA, _UINT64_DATA)
_FIELD_OF = {
    **dict.fromkeys(("float32", "complex64"), _FLOAT_DATA),
    **dict.fromkeys(("float64", "complex128"), _DOUBLE_DATA),
    **dict.fromkeys(("uint32", "uint64"), _UINT64_DATA),
    "int64": _INT64_DATA,
}
"""The field for the numbers of a type; `int32_data` for all others."""
_EXTERNAL = 1
_MOST_DIMENSIONS = 64
_LONGEST_NAME = 255
_BLOCK = 1 << 20


class Files:
    """The files beside a model in which its tensors lie, each opened once."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._opened: dict[str, Source] = {}

    def extent(self, name: str, entries: dict[str, str], needed: int) -> Extent:
        """The bytes of a tensor that `external_data` describes. Raises FormatError, or ReadError without that file."""
        location = entries.get("location", "")
        if not location.isprintable() or len(location) > _LONGEST_NAME:
            raise FormatError(
                f"{self.source.name}: tensor `{shown(name)}` lies in the file `{shown(location)}`, which is no name"
            )
        if location not in self._opened:
            try:
                self._opened[location] = self.source.sibling(location)
            except ReadError as error:
                raise ReadError(
                    f"{self.source.name}: tensor `{shown(name)}` lies in the file `{location}` beside it, which cannot "
                    "be opened; fetch that too"
                ) from error
        offset = self._number(name, entries.get("offset", "0"))
        length = self._number(name, entries.get("length", str(needed)))
        return Extent(self._opened[location], offset, length)

    def _number(self, name: str, text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= 20):
            raise FormatError(
                f"{self.source.name}: tensor `{shown(name)}` has `{shown(text)}` for a place in another file"
            )
        return int(text)


class TensorProto:
    """What one `TensorProto` says, gathered in one pass over its fields."""

    def __init__(self, proto: Message) -> None:
        self.name = ""
        self.dims: list[int] = []
        self.data_type = 0
        self._proto = proto
        self._raw: Extent | None = None
        self._external: dict[str, str] = {}
        self._location = 0
        self._numbers: dict[int, list[int]] = {}
        """For each field of numbers how often it stands there, its bytes in all, and where the last one begins."""
        for field in proto:
            self._take(field)

    def _take(self, field: Field) -> None:
        proto = self._proto
        match field.number:
            case 1:
                self.dims += _more_dims(proto, field, self.dims)
            case 2:
                self.data_type = proto.integer(field)
            case 8:
                self.name = proto.text(field)
            case 9:
                self._raw = proto.extent(field)
            case 13:
                self._external.update([entry(proto.inner(field))])
            case 14:
                self._location = proto.integer(field)
            case number if number in _NUMBERS:
                count, size, _ = self._numbers.get(number, (0, 0, 0))
                alone = field.start if field.wire == BYTES else -1
                self._numbers[number] = [count + 1, size + field.size, alone]
            case _:
                pass

    def value(self, name: str, files: Files) -> TensorInfo | Opaque:
        """The tensor under that full name; a tensor of text, which PyTorch has not, as an inert description."""
        if self.data_type == STRING:
            texts = [self._proto.text(field) for field in self._proto if field.number == _STRING_DATA]
            return Opaque("onnx.TensorProto", (), {"dims": self.dims, "string_data": texts})
        return self.info(name, files)

    def info(self, name: str, files: Files) -> TensorInfo:
        """The tensor under that full name. Raises FormatError where its fields contradict one another."""
        where = files.source.name
        kind = DATA_TYPES.get(self.data_type)
        if kind is None:
            raise FormatError(
                f"{where}: tensor `{shown(name)}` has the unknown data_type {self.data_type}; a newer statedict may "
                "know it"
            )
        shape = checked_shape(self.dims, name, where)
        dtype, numel = DTYPES[kind], math.prod(shape)
        device, needed = "cpu", dtype.nbytes(numel)
        if self._location == _EXTERNAL:
            extent = files.extent(name, self._external, needed)
        elif self._raw is not None:
            extent = self._raw
        elif _FIELD_OF.get(kind, _INT32_DATA) in self._numbers:
            extent = self._typed(name, dtype, numel, files.source)
        elif numel == 0:
            extent = Extent(files.source, 0, 0)
        else:  # a model that was saved without its weights
            extent, device = None, "meta"
        return TensorInfo(name, dtype, shape, extent, device=device)

    def _typed(self, name: str, dtype: DType, numel: int, source: Source) -> Extent:
        """The bytes of a tensor whose values are in a field of numbers: in place, where they lie side by side."""
        number = _FIELD_OF.get(dtype.name, _INT32_DATA)
        count, size, start = self._numbers[number]
        needed = dtype.nbytes(numel)
        fixed = number in (_FLOAT_DATA, _DOUBLE_DATA)
        if fixed and count == 1 and start >= 0:
            return Extent(source, start, size)
        least = needed if fixed or dtype.bits == 4 or dtype.bits == 2 else numel  # a varint has at least one byte
        if size < least:
            raise FormatError(
                f"{source.name}: tensor `{shown(name)}` takes {size:,} bytes, but {shown(str(tuple(self.dims)))} of "
                f"{dtype} need at least {least:,}; the file is damaged"
            )
        numbers = Numbers(self._proto.whole, number, dtype.name, needed)
        return Extent(numbers, 0, needed)


class Numbers(Source):
    """The values in a message's repeated field of numbers as elements side by side, decoded as they are read.

    Each reading begins at the first number, since varints cannot be counted without looking at them.
    """

    __slots__ = ("_dtype", "_message", "_number")

    def __init__(self, proto: Extent, number: int, dtype: str, size: int) -> None:
        self._message = proto
        self._number = number
        self._dtype = dtype
        self.name = proto.source.name
        self.size = size

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        done, position = 0, 0
        for piece in self._pieces():
            part = piece[max(0, offset - position) :][: len(buffer) - done]
            buffer[done : done + len(part)] = part
            done += len(part)
            position += len(piece)
            if done == len(buffer):
                return
        raise self.ends_before(offset + len(buffer))

    def _pieces(self) -> Iterator[bytes]:
        """Yield the elements' bytes, as many at a time as come."""
        if DTYPES[self._dtype].bits == 6:
            yield _packed_six(b"".join(map(bytes, self._elements("u1"))))
        elif self._number in (_FLOAT_DATA, _DOUBLE_DATA):
            yield from self._blocks()
        else:
            for elements in self._elements(f"<u{DTYPES[self._dtype].itemsize}"):
                yield elements.tobytes()

    def _blocks(self) -> Iterator[bytes]:
        """Yield the bytes of the field, wherever it stands in the message."""
        source, start, size = self._message
        for field in message(source, DEFAULT_LIMITS, start, start + size):
            if field.number == self._number:
                for first in range(0, field.size, _BLOCK):
                    yield source.read_at(field.start + first, min(_BLOCK, field.size - first))

    def _elements(self, kind: str) -> "Iterator[NDArray[Any]]":
        rest = b""
        for block in self._blocks():
            whole = rest + block
            end = len(whole)
            while end and whole[end - 1] & 0x80:
                end -= 1
            rest = whole[end:]
            if len(rest) > 10:
                break
            if end:
                yield _varints(whole[:end], self.name).astype(kind)

    def __reduce__(self) -> tuple[Any, ...]:
        return Numbers, (self._message, self._number, self._dtype, self.size)


def _varints(data: bytes, where: str) -> "NDArray[np.uint64]":
    """All the varints of bytes that begin and end with one, at once."""
    import numpy as np

    each = np.frombuffer(data, "u1")
    last = np.flatnonzero(each < 0x80)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = last - first + 1
    if lengths.max() > 10:
        raise FormatError(f"{where}: a number has more than ten bytes; the file is damaged")
    places = np.arange(len(each)) - np.repeat(first, lengths)
    return np.add.reduceat((each & 0x7F).astype("u8") << (7 * places).astype("u8"), first)


def _packed_six(elements: bytes) -> bytes:
    """Elements of six bits, one to a byte, as they are stored elsewhere: without the two bits between."""
    import numpy as np

    bits = np.unpackbits(np.frombuffer(elements, "u1").reshape(-1, 1), axis=1, bitorder="little")[:, :6]
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


class SparseTensorProto:
    """What one `SparseTensorProto` says: `values`, and where they are by `indices`, one number or one row to each."""

    def __init__(self, proto: Message) -> None:
        self.dims: list[int] = []
        self.values: TensorProto | None = None
        self.indices: TensorProto | None = None
        for field in proto:
            if field.number == 1:
                self.values = TensorProto(proto.inner(field))
            elif field.number == 2:
                self.indices = TensorProto(proto.inner(field))
            elif field.number == 3:
                self.dims += _more_dims(proto, field, self.dims)

    @property
    def name(self) -> str:
        """The name of the sparse tensor is that of its values."""
        return self.values.name if self.values else ""

    def info(self, name: str, files: Files) -> TensorInfo:
        """The tensor under that full name, in PyTorch's COO layout. Raises FormatError where it is damaged."""
        where = files.source.name
        shape = checked_shape(self.dims, name, where)
        if self.values is None or self.indices is None:
            raise FormatError(f"{where}: sparse tensor `{shown(name)}` lacks values or indices; the file is damaged")
        values = self.values.info(f"{name}.values", files)
        indices = self.indices.info(f"{name}.indices", files)
        count, *wide = indices.shape or (0,)
        if values.shape != (count,) or indices.dtype.name != "int64" or wide not in ([], [len(shape)]):
            raise FormatError(
                f"{where}: tensor `{shown(name)}` of {shown(str(shape))} has values of {shown(str(values.shape))} "
                f"and indices of {shown(str(indices.shape))} ({indices.dtype}), which do not fit; the file is damaged"
            )
        if wide:
            indices = indices._replace(shape=(len(shape), count), stride=(1, len(shape)))
        elif indices.extent is not None:
            rows = Unravelled(indices.extent, shape)
            indices = indices._replace(shape=(len(shape), count), extent=Extent(rows, 0, rows.size))
        encoding = Encoding(layout="sparse_coo", parts={"indices": indices, "values": values})
        return TensorInfo(name, values.dtype, shape, None, encoding=encoding)


class Unravelled(Source):
    """The rows of a COO tensor's indices, from the numbers that its elements have when they are counted row by row."""

    __slots__ = ("_numbers", "_shape")

    def __init__(self, numbers: Extent, shape: tuple[int, ...]) -> None:
        self._numbers = numbers
        self._shape = shape
        self.name = numbers.source.name
        self.size = numbers.size * len(shape)

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        import numpy as np

        numbers = np.frombuffer(self._numbers.read(), "<i8")
        try:
            rows = np.array(np.unravel_index(numbers, self._shape), "<i8")
        except ValueError:
            raise FormatError(f"{self.name}: an index lies outside the shape {self._shape}; it is damaged") from None
        buffer[:] = rows.tobytes()[offset : offset + len(buffer)]

    def __reduce__(self) -> tuple[Any, ...]:
        return Unravelled, (self._numbers, self._shape)


def entry(proto: Message) -> tuple[str, str]:
    """The key and value of a `StringStringEntryProto`."""
    texts = {field.number: proto.text(field) for field in proto if field.number in (1, 2)}
    return texts.get(1, ""), texts.get(2, "")


def checked_shape(dims: list[int], name: str, where: str) -> tuple[int, ...]:
    """The dims of a tensor. Raises FormatError where no tensor can have them."""
    if len(dims) > _MOST_DIMENSIONS or min(dims, default=0) < 0:
        raise FormatError(
            f"{where}: tensor `{shown(name)}` has the impossible shape {shown(str(tuple(dims)))}; the file is damaged"
        )
    return tuple(dims)


def _more_dims(proto: Message, field: Field, dims: list[int]) -> list[int]:
    """The dims that a field adds, which are repeated varints; none once there are more than a tensor can have."""
    return proto.integers(field, _MOST_DIMENSIONS) if len(dims) <= _MOST_DIMENSIONS else []
