"""The values of GGUF's quantised types, whose blocks hold codes together with their scales: by the `gguf` package."""

from typing import Any

from statedict.dtypes import DTYPES, DType
from statedict.extras import needed
from statedict.index import PLAIN, TensorInfo
from statedict.source import Extent, Source

_FLOAT = DTYPES["float32"]
_BLOCK = 1 << 22


def dequantized(info: TensorInfo) -> TensorInfo:
    """A tensor of blocks as one of the float32 values that they stand for, which are decoded when they are read.

    Raises MissingExtraError where the `gguf` package is not installed, TypeError where the blocks' bytes are in
    big-endian order; reading raises TypeError where the package does not know the type.
    """
    if info.encoding.byteorder == "big":
        raise TypeError(
            f"tensor `{info.name}` of {info.dtype} has big-endian blocks, of which no values can be had; convert the "
            "file with `gguf-convert-endian`, which comes with the `gguf` package"
        )
    _library(info.name, info.dtype)
    if info.extent is None:
        return info._replace(dtype=_FLOAT)
    values = Values(info.name, info.dtype, info.extent)
    return info._replace(dtype=_FLOAT, extent=Extent(values, 0, values.size), storage=None, encoding=PLAIN)


class Values(Source):
    """The values of blocks as float32 side by side. Reading some of them decodes the blocks that they are in."""

    __slots__ = ("_blocks", "_dtype", "_tensor")

    def __init__(self, tensor: str, dtype: DType, blocks: Extent) -> None:
        self._tensor = tensor
        self._dtype = dtype
        self._blocks = blocks
        self.name = blocks.source.name
        self.size = _FLOAT.nbytes(dtype.numel(blocks.size))

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        width, most = _FLOAT.nbytes(self._dtype.block_numel), _BLOCK // self._dtype.block_bytes
        done = 0
        while done < len(buffer):
            left = len(buffer) - done
            first, skip = divmod(offset + done, width)
            stored = self._decoded(first, min(most, -(-(skip + left) // width)))[skip : skip + left]
            buffer[done : done + len(stored)] = stored
            done += len(stored)

    def _decoded(self, first: int, count: int) -> memoryview:
        """The values of some blocks, as bytes. Raises TypeError where the `gguf` package does not know the type."""
        import numpy as np

        types, quants = _library(self._tensor, self._dtype)
        source, start, _ = self._blocks
        size = self._dtype.block_bytes
        blocks = np.frombuffer(source.read_at(start + first * size, count * size), "u1").reshape(count, size)
        kind = getattr(types, self._dtype.name.upper(), None)
        try:
            if kind is None:
                raise NotImplementedError
            with np.errstate(all="ignore"):  # a scale may be infinite, in a damaged file
                values = quants.dequantize(blocks, kind)
        except NotImplementedError:
            raise TypeError(
                f"tensor `{self._tensor}` is {self._dtype}, which the `gguf` package cannot turn into values"
            ) from None
        return np.ascontiguousarray(values, "<f4").reshape(-1).view("u1").data

    def __reduce__(self) -> tuple[Any, ...]:
        return Values, (self._tensor, self._dtype, self._blocks)


def _library(tensor: str, dtype: DType) -> tuple[Any, Any]:
    """The `gguf` package's table of types and its module of decoders."""
    gguf = needed("gguf", "gguf", f"tensor `{tensor}` is {dtype}, whose values need gguf, which is not installed")
    return gguf.GGMLQuantizationType, gguf.quants
