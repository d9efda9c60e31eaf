"""What the formats of plain tensors have in common when they are written: what they refuse, and what they say of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from statedict.dtypes import DType
from statedict.errors import StatedictError
from statedict.index import TensorInfo, shown
from statedict.source import Extent

_MOST_NAMED = 3
_OF_FILES = frozenset({"byteorder", "version", "format_version", "storage_alignment", "data/serialization_id", "types"})
_OF_SHARDS = frozenset({"total_size", "total_parameters", "surplus"})


def elements(info: TensorInfo, format_name: str) -> tuple[tuple[int, ...], Extent]:
    """The shape of a tensor and its elements, row by row, little end first.

    Raises StatedictError, which says what to do, for one that is more than its elements, or has none.
    """
    shape, extent, encoding = info.shape, info.extent, info.encoding
    where = f"tensor `{shown(info.name)}`"
    if shape is None:
        raise StatedictError(f"{where} was never initialised, so there is nothing to write; drop it first")
    if encoding.parts or encoding.layout != "strided":
        raise StatedictError(
            f"{where} is {shown(encoding.layout)}, which {format_name} cannot hold; drop it, or write a .pt file"
        )
    if extent is None:
        raise StatedictError(f"{where} is on the meta device and has no values to write; load some, or drop it first")
    if encoding.byteorder == "big" or info.stride is not None:
        raise StatedictError(f"{where} is stored big end first or strided; cast it to another type first")
    return shape, extent


def no_such_type(name: str, dtype: DType, format_name: str, instead: str = "float32") -> StatedictError:
    """The error that says that a format has no type for a tensor's elements."""
    what = f"tensor `{shown(name)}` is {dtype}, which {format_name} cannot hold"
    if dtype.quantized and not dtype.block_bytes:
        return StatedictError(f"{what}; dequantise it first, or write a .pt file")
    return StatedictError(f"{what}; cast it first, as `--cast '{shown(name)}={instead}'` or `--dtype {instead}` do")


def said(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that say something of the model, not of how the files that were opened are laid out.

    Those of PyTorch's and of GGUF's files are known by the byte order among them; those of shards are no texts.
    """
    laid_out = _OF_FILES if "byteorder" in metadata else frozenset[str]()
    return {
        key: value
        for key, value in metadata.items()
        if key not in laid_out and not (key in _OF_SHARDS and not isinstance(value, str))
    }


def listed(names: Iterable[str]) -> str:
    """Some names as a note has them: the first few."""
    held = list(names)
    return ", ".join(f"`{shown(name)}`" for name in held[:_MOST_NAMED]) + ", …" * (len(held) > _MOST_NAMED)


def ties(aliases: Mapping[str, str]) -> str:
    """Tied names as a note has them: the first few."""
    pairs = [f"`{shown(later)}` is `{shown(first)}`" for later, first in aliases.items()]
    return ", ".join(pairs[:_MOST_NAMED]) + ", …" * (len(pairs) > _MOST_NAMED)
