"""`cast`: a tree whose tensors have elements of another type."""

from collections.abc import Mapping

from statedict import collector
from statedict.dtypes import DType
from statedict.dtypes import dtype as dtype_of
from statedict.errors import StatedictError
from statedict.expressions.nodes import recast
from statedict.expressions.rounding import Overflow
from statedict.index import TensorInfo
from statedict.ops.apart import changed
from statedict.ops.patterns import matching
from statedict.tree.flat import flatten
from statedict.tree.module import Module

_SCALES = ("_scale", "_scale_inv")
"""How names of scales end that follow the name of what they are for: `weight_scale_inv`."""


@collector.paused()
def cast(model: Module, dtype: DType | str | Mapping[str, DType | str], overflow: Overflow = "torch") -> Module:
    """A tree whose floating point tensors are of another type; or those that fit patterns, each of its pattern's type.

    GGUF's quantised tensors count as floating point, and are decoded. Of several patterns that a name fits, the last
    counts; a tensor of several names is one. Values are rounded to nearest when they are read; those beyond the largest
    become what PyTorch makes of them, with `overflow="saturate"` the largest, with "error" a StatedictError.

    Raises PatternError for a pattern that fits nothing, ValueError for what is no type, and StatedictError where
    elements cannot be converted.
    """
    flat = flatten(model)
    if not isinstance(dtype, Mapping):
        wanted = dict.fromkeys((name for name, info in flat.tensors.items() if _is_float(info)), _type(dtype))
    else:
        wanted = {
            name: _type(each)
            for pattern, each in dtype.items()
            for name in matching(list(flat.tensors), [pattern], flat.modules.keys)
        }
    return changed(model, wanted, lambda info, target: _cast(info, target, overflow))


def scaled(model: Module) -> list[str]:
    """The names of 8-bit floats that mean something only times the scale beside them, which `cast` ignores."""
    tensors = flatten(model).tensors
    scales = {name.rpartition("_scale")[0] for name in tensors if name.endswith(_SCALES)}
    return [name for name, info in tensors.items() if name in scales and info.dtype.name.startswith("float8")]


def _type(dtype: DType | str) -> DType:
    return dtype if isinstance(dtype, DType) else dtype_of(dtype)


def _is_float(info: TensorInfo) -> bool:
    return info.dtype.is_floating_point or bool(info.dtype.block_bytes)


def _cast(info: TensorInfo, dtype: DType, overflow: Overflow) -> TensorInfo:
    try:
        return recast(info, dtype, overflow)
    except TypeError as error:
        raise StatedictError(f"{error}; leave it out, or drop it") from None
