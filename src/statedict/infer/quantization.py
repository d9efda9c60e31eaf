"""Quantised layers, by the names, element types and shapes of what each library stores in the place of a weight."""
# pyright: reportPrivateUsage=false

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from statedict.module import Module


class _Stored(NamedTuple):
    """What counts of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    subclass: str | None = None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


_Infos = Mapping[str, _Stored]

_WORD = 32
"""Bits of the whole numbers that small ones are packed into."""
_USUAL_GROUP = 128


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the weight of a layer is stored in fewer bits, and what stands for it."""

    method: str
    """ "gptq", "awq", "bitsandbytes", "compressed-tensors", "fp8", "int8" or "torchao"."""
    bits: int | None
    """Of one value; None where shapes alone do not tell."""
    shape: tuple[int, ...] | None
    """Of the weight that it stands for, (out, in); None where shapes alone do not tell."""
    group_size: int | None
    """How many values share a scale; None where all of a row or of the tensor do."""
    tensors: tuple[str, ...]
    """Local names of the tensors that make up the weight, "weight.absmax" for one in a child."""
    kind: str = "Linear"
    """Of the layer."""

    def __str__(self) -> str:
        bits = f"{self.bits}-bit " if self.bits else ""
        return f"{bits}{self.method}{f' {list(self.shape)}' if self.shape else ''}"


def quantization_of(module: "Module") -> Quantization | None:
    """How the weight of a module is quantised; None where it is not."""
    if not _is_suspect(module):
        return None
    found = _stored(module)
    child = module._modules.get("weight")
    if child is not None:
        found += tuple((f"weight.{name}", stored) for name, stored in _stored(child))
    return _recognised(found)


def _stored(module: "Module") -> "tuple[tuple[str, _Stored], ...]":
    return tuple(
        (name, _Stored(held.info.dtype.name, held.info.shape, held.info.encoding.kind))
        for table in (module._parameters, module._buffers)
        for name, held in table.items()
        if held is not None and held.info.shape is not None
    )


@lru_cache(maxsize=256)
def _recognised(stored: "tuple[tuple[str, _Stored], ...]") -> Quantization | None:
    """What the first rule that fits tells; models have thousands of layers that are stored alike."""
    infos = dict(stored)
    return next((found for rule in _RULES if (found := rule(infos))), None)


def _is_suspect(module: "Module") -> bool:
    """Whether it is worth a closer look: told quickly, since nearly all modules are not."""
    parameters, buffers = module._parameters, module._buffers
    weight = parameters.get("weight", buffers.get("weight"))
    if weight is not None:
        return weight.info.dtype.name in _NARROW or weight.info.encoding.kind is not None
    return not (_STAND_INS.isdisjoint(parameters) and _STAND_INS.isdisjoint(buffers))


_STAND_INS = frozenset({"qweight", "weight_packed", "_weight_qdata", "weight:qdata", "weight:_data"})
"""What some libraries store in the place of a weight."""
_NARROW = frozenset({"int8", "uint8", "int4", "uint4", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"})


def _shape(infos: _Infos, name: str) -> tuple[int, ...]:
    info = infos.get(name)
    return info.shape if info is not None else ()


def _integers(infos: _Infos, name: str) -> tuple[int, int] | None:
    """The shape of a matrix of 32-bit whole numbers."""
    info = infos.get(name)
    if info is None or info.dtype != "int32" or len(info.shape) != 2 or 0 in info.shape:
        return None
    return info.shape[0], info.shape[1]


def _packed(infos: _Infos) -> Quantization | None:
    """GPTQ packs the inputs of an output into whole numbers, AWQ the outputs of an input."""
    weight, zeros, scales = _integers(infos, "qweight"), _integers(infos, "qzeros"), _shape(infos, "scales")
    if weight is None or zeros is None or len(scales) != 2 or 0 in scales:
        return None
    outputs = scales[1]
    bits = _WORD * zeros[1] // outputs
    if weight[1] == outputs and bits:
        method, inputs = "gptq", weight[0] * _WORD // bits
    elif weight[1] == zeros[1] and bits:
        method, inputs = "awq", weight[0]
    else:
        return None
    names = tuple(name for name in ("qweight", "qzeros", "scales", "g_idx") if name in infos)
    return Quantization(method, bits, (outputs, inputs), inputs // scales[0], names)


def _bitsandbytes(infos: _Infos) -> Quantization | None:
    weight = infos.get("weight")
    if weight is None:
        return None
    if weight.dtype == "int8" and "SCB" in infos:
        names = tuple(name for name in ("weight", "SCB", "weight_format") if name in infos)
        return Quantization("bitsandbytes", 8, weight.shape, None, names)
    scales = infos.get("weight.absmax")
    if scales is None or weight.dtype != "uint8":
        return None
    values = 2 * weight.numel
    outputs = _shape(infos, "bias")
    shape = (outputs[0], values // outputs[0]) if outputs and outputs[0] and values % outputs[0] == 0 else None
    names = tuple(name for name in infos if name == "weight" or name.startswith("weight."))
    return Quantization("bitsandbytes", 4, shape, values // scales.numel if scales.numel else None, names)


def _compressed(infos: _Infos) -> Quantization | None:
    """A packed weight of the compressed-tensors library: whole numbers of some bits, or floats of four."""
    packed, scale = infos.get("weight_packed"), _shape(infos, "weight_scale")
    if packed is None or len(packed.shape) != 2 or len(scale) != 2 or 0 in scale:
        return None
    names = tuple(name for name in infos if name.startswith("weight_"))
    outputs, columns = packed.shape
    if packed.dtype == "uint8":
        inputs = 2 * columns
        return Quantization("compressed-tensors", 4, (outputs, inputs), inputs // scale[1], names)
    for bits in (4, 8):
        inputs = columns * _WORD // bits
        if inputs == _USUAL_GROUP * scale[1]:
            return Quantization("compressed-tensors", bits, (outputs, inputs), _USUAL_GROUP, names)
    return Quantization("compressed-tensors", None, None, None, names)


def _scaled(infos: _Infos) -> Quantization | None:
    """A weight of eight bits beside its scales: one for all, one for a row, or one for a block."""
    weight = infos.get("weight")
    scale = next((name for name in ("weight_scale_inv", "weight_scale") if name in infos), None)
    if weight is None or scale is None or weight.dtype not in _NARROW or not weight.shape:
        return None
    scales = _shape(infos, scale)
    blocks = scales[-1] if len(scales) == len(weight.shape) > 1 else 1
    group = 1 << (-(-weight.shape[-1] // blocks) - 1).bit_length() if blocks > 1 else None
    names = ("weight", *(name for name in infos if name.endswith(("_scale", "_scale_inv")) and name != "weight"))
    method = "fp8" if weight.dtype.startswith("float8") else "int8"
    return Quantization(method, 8, weight.shape, group, names)


def _torchao(infos: _Infos) -> Quantization | None:
    """A tensor subclass of torchao: one tensor where a pickle keeps it, several where safetensors does."""
    weight = infos.get("weight")
    if weight is not None:
        kind = weight.subclass or ""
        return Quantization("torchao", None, weight.shape, None, ("weight",)) if kind.startswith("torchao.") else None
    values = next((name for name in ("_weight_qdata", "weight:qdata", "weight:_data") if name in infos), None)
    if values is None:
        return None
    begin = values.removesuffix("qdata").removesuffix("_data") if values != "weight:_data" else "weight:"
    names = tuple(name for name in infos if name.startswith(begin))
    scale = _shape(infos, begin + "scale")
    whole = infos[values].dtype in _NARROW and len(scale) == 2 and _shape(infos, values)[:1] == scale[:1]
    return Quantization("torchao", 8 if whole else None, _shape(infos, values) if whole else None, None, names)


_RULES = (_packed, _bitsandbytes, _compressed, _scaled, _torchao)
