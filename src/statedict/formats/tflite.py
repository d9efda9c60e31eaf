"""TensorFlow Lite's .tflite, which is LiteRT's too: a FlatBuffer (schema.fbs, version 3).

A tensor of a subgraph is a weight where the buffer that it names holds its elements; the others are what flows between
operators, and are left out. Two tensors of one buffer, shape and scale are tied. Weights of the first subgraph have
their own names, as they are (a slash divides no name), those of the others that of their subgraph before them. What
quantised elements stand for (`scale`, `zero_point`, `quantized_dimension`) is told beside each.
"""

import math
from collections.abc import Mapping
from typing import Any

from statedict.dtypes import DTYPES, DType
from statedict.errors import FormatError
from statedict.formats._flatbuffers import Table, root
from statedict.index import PLAIN, Encoding, Index, ModuleInfo, TensorInfo, shown
from statedict.limits import Limits
from statedict.opaque import Opaque
from statedict.source import Extent, Source

MAGIC = b"TFL3"
TYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 8: "complex64", 9: "int8",
    10: "float64", 11: "complex128", 12: "uint64", 15: "uint32", 16: "uint16", 17: "int4_packed", 18: "bfloat16",
    19: "int2_packed", 20: "uint4_packed", 21: "float8_e4m3fn", 22: "float8_e5m2",
}  # fmt: skip
"""`TensorType`, in the words of `dtypes`. The others hold no numbers: text, resources, variants."""
_VERSION, _SUBGRAPHS, _DESCRIPTION, _BUFFERS, _METADATA, _SIGNATURES = 0, 2, 3, 4, 6, 7  # of a Model
_TENSORS, _NAME = 0, 4  # of a SubGraph
_SHAPE, _TYPE, _BUFFER, _TENSOR_NAME, _QUANTIZATION, _SPARSITY, _VARIANTS = 0, 1, 2, 3, 4, 6, 9  # of a Tensor
_SCALE, _ZERO_POINT, _QUANTIZED_DIMENSION = 2, 3, 6  # of QuantizationParameters
_DATA, _OFFSET, _SIZE = 0, 1, 2  # of a Buffer


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file says that it is one, in its bytes 4 to 8."""
    return head[4:8] == MAGIC


def read(source: Source, limits: Limits) -> Index:
    """The index of a .tflite file. Raises FormatError where it is damaged, LimitError where it describes too much."""
    model = root(source, limits)
    return _Reader(source, model).index().validate(limits)


class _Reader:
    """What was found so far, by full name."""

    def __init__(self, source: Source, model: Table) -> None:
        self._source = source
        self._model = model
        self._buffers = [self._elements(buffer) for buffer in model.tables(_BUFFERS)]
        self._tensors: dict[str, TensorInfo] = {}
        self._described: dict[str, Opaque] = {}
        """Weights that are no plain numbers, by full name."""
        self._seen: dict[tuple[Any, ...], TensorInfo] = {}
        self._again: dict[str, int] = {}

    def index(self) -> Index:
        subgraphs = dict[str, None]()
        for number, subgraph in enumerate(self._model.tables(_SUBGRAPHS)):
            name = (subgraph.text(_NAME) or f"subgraph_{number}") if number else ""
            name = self._free(name, subgraphs)
            subgraphs[name] = None
            self._weights(f"{name}." if name else "", subgraph)
        return Index("tflite", self._source, self._tensors, self._modules())

    def _modules(self) -> dict[str, ModuleInfo]:
        """All modules that hold weights, each of which is a parameter; what the model says of itself is the root's."""
        held: dict[str, list[str]] = {"": []}
        for name in self._tensors:
            module, _, local = name.rpartition(".")
            held.setdefault(module, []).append(local)
        told = {**self._attributes(), **self._described}
        return {
            module: ModuleInfo(attributes={} if module else told, parameters=tuple(names))
            for module, names in held.items()
        }

    def _elements(self, buffer: Table) -> Extent | None:
        """Where a buffer's bytes lie: in the FlatBuffer, or behind it, where a model exceeds the 2 GiB of one."""
        offset, size = buffer.number(_OFFSET, "Q"), buffer.number(_SIZE, "Q")
        return Extent(self._source, offset, size) if offset > 1 else buffer.extent(_DATA)

    def _weights(self, prefix: str, subgraph: Table) -> None:
        """Keep those of a subgraph's tensors that are weights."""
        for tensor in subgraph.tables(_TENSORS):
            extent = self._extent(tensor)
            if extent is not None:
                full = self._free(prefix + (tensor.text(_TENSOR_NAME) or ""), self._tensors)
                if (info := self._info(full, tensor, extent)) is not None:
                    self._tensors[full] = info

    def _free(self, name: str, taken: Mapping[str, Any]) -> str:
        """The name, or one like it where it is taken: names of tensors need not differ."""
        free = name
        while free in taken:
            self._again[name] = self._again.get(name, 1) + 1
            free = f"{name}:{self._again[name]}"
        return free

    def _extent(self, tensor: Table) -> Extent | None:
        """The elements of a tensor, where it is a weight: buffer 0 is nobody's, and an empty one of what flows."""
        number = tensor.number(_BUFFER, "I")
        if number >= max(len(self._buffers), 1):
            name = shown(tensor.text(_TENSOR_NAME) or "")
            raise FormatError(
                f"{self._source.name}: tensor `{name}` is in buffer {number:,} of {len(self._buffers):,}; "
                "the file is damaged"
            )
        if number == 0:
            return None
        extent = self._buffers[number]
        if extent is None or extent.size == 0:
            return Extent(self._source, 0, 0) if 0 in tensor.numbers(_SHAPE, "i") else None
        return extent

    def _info(self, full: str, tensor: Table, extent: Extent) -> TensorInfo | None:
        """A weight, which one of the same elements, type and scale is, too; None where it is not plain numbers."""
        shape, kind = tensor.numbers(_SHAPE, "i"), tensor.number(_TYPE, "b")
        sparse, variants = tensor.table(_SPARSITY), tensor.extent(_VARIANTS, 4)
        if kind not in TYPES or sparse is not None or variants is not None:
            what = {"type": kind, "shape": shape, "bytes": extent.size} | ({"sparse": True} if sparse else {})
            self._described[full] = Opaque("tflite.Tensor", (), what)
            return None
        dtype, quantization = DTYPES[TYPES[kind]], _quantization(tensor.table(_QUANTIZATION))
        key = (extent.offset, extent.size, dtype, shape, *quantization.values())
        if extent.size and (known := self._seen.get(key)) is not None:
            return known
        self._require_size(full, dtype, shape, extent)
        encoding = Encoding(attributes=quantization) if quantization else PLAIN
        info = self._seen[key] = TensorInfo(full, dtype, shape, extent, encoding=encoding)
        return info

    def _require_size(self, full: str, dtype: DType, shape: tuple[int, ...], extent: Extent) -> None:
        if min(shape, default=0) < 0:
            raise FormatError(
                f"{self._source.name}: tensor `{shown(full)}` has the impossible shape {shown(str(shape))}"
            )
        if dtype.nbytes(math.prod(shape)) != extent.size:
            raise FormatError(
                f"{self._source.name}: tensor `{shown(full)}` has {extent.size:,} bytes, but {shown(str(shape))} of "
                f"{dtype} needs {dtype.nbytes(math.prod(shape)):,}; the file is damaged"
            )

    def _attributes(self) -> dict[str, Any]:
        """What the model says of itself: version, description, and the names of what else it carries."""
        attributes: dict[str, Any] = {"version": self._model.number(_VERSION, "I")}
        if description := self._model.text(_DESCRIPTION):
            attributes["description"] = description
        if metadata := [entry.text(0) or "" for entry in self._model.tables(_METADATA)]:
            attributes["metadata"] = metadata
        if signatures := [entry.text(2) or "" for entry in self._model.tables(_SIGNATURES)]:
            attributes["signatures"] = signatures
        return attributes


def _quantization(parameters: Table | None) -> dict[str, Any]:
    """What the integers stand for: one scale for all, or one for each index along the quantised dimension."""
    if parameters is None or not (scale := parameters.numbers(_SCALE, "f")):
        return {}
    told: dict[str, Any] = {"scale": scale, "zero_point": parameters.numbers(_ZERO_POINT, "q")}
    if len(scale) == 1:
        return {name: values[0] if len(values) == 1 else values for name, values in told.items()}
    return told | {"quantized_dimension": parameters.number(_QUANTIZED_DIMENSION, "i")}
