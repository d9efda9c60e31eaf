"""Quantised layers, by the names, element types and shapes of what each library stores in the place of a weight."""
# pyright: reportPrivateUsage=false

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.index import EMPTY, TensorInfo
from statedict.narrow import is_list, is_tuple

if TYPE_CHECKING:
    from statedict.tree.module import Module


class _Stored(NamedTuple):
    """What counts of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    subclass: str | None = None
    bits: int | None = None
    """Of one value as its parts store it, where a subclass has some."""
    group_size: int | None = None

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
    parameters, buffers = module._parameters, module.__dict__.get("_buffers", EMPTY)
    if not _is_suspect(parameters, buffers):
        return None
    found = _stored(module)
    weight = module.__dict__.get("_modules", EMPTY).get("weight")
    if weight is not None:  # names like `weight.quant_state.bitsandbytes__nf4`
        found += _named("weight", weight)
        if (state := weight.__dict__.get("_modules", EMPTY).get("quant_state")) is not None:
            found += _named("weight.quant_state", state)
    infos = dict(found)
    return next((told for rule in _RULES if (told := rule(infos))), None)


def _named(path: str, module: "Module") -> "tuple[tuple[str, _Stored], ...]":
    return tuple((f"{path}.{name}", stored) for name, stored in _stored(module))


def _stored(module: "Module") -> "tuple[tuple[str, _Stored], ...]":
    return tuple(
        (name, _described(held.info, held.info.shape))
        for table in (module._parameters, module.__dict__.get("_buffers", EMPTY))
        for name, held in table.items()
        if held is not None and held.info.shape is not None
    )


def _described(info: TensorInfo, shape: tuple[int, ...]) -> _Stored:
    """What counts of a tensor; of a subclass also what its parts tell."""
    encoding = info.encoding
    if encoding.kind is None:
        return _Stored(info.dtype.name, shape)
    codes, block = encoding.parts.get("qdata"), encoding.attributes.get("block_size")
    bits = 8 * codes.nbytes // info.numel if codes is not None and info.numel else None
    last = block[-1] if (is_list(block) or is_tuple(block)) and block else None
    group = last if isinstance(last, int) and shape and last < shape[-1] else None
    return _Stored(info.dtype.name, shape, encoding.kind, bits, group)


def _is_suspect(parameters: Mapping[str, Any], buffers: Mapping[str, Any]) -> bool:
    """Whether it is worth a closer look: told quickly, since nearly all modules are not."""
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
        return _awq_for_vectors(infos)
    groups, outputs = scales
    bits = _WORD * zeros[1] // outputs
    if weight[1] == outputs and bits:
        method, inputs = "gptq", weight[0] * _WORD // bits
    elif weight[1] == zeros[1] and bits:
        method, inputs = "awq", weight[0]
    else:
        return _awq_for_vectors(infos)
    return Quantization(method, bits, (outputs, inputs), inputs // groups if groups > 1 else None, _packed_names(infos))


def _awq_for_vectors(infos: _Infos) -> Quantization | None:
    """AWQ in the two layouts of AutoAWQ that are fast for one token: 4 bits, with scales for more groups than are."""
    weight, zeros, scales = infos.get("qweight"), _shape(infos, "qzeros"), _shape(infos, "scales")
    if weight is None or not len(weight.shape) == len(zeros) == len(scales) == 2:
        return None
    rows, columns = weight.shape
    if weight.dtype == "int32" and rows == zeros[0] == scales[0]:
        shape = rows, columns * _WORD // 4
    elif weight.dtype == "int16" and zeros == scales and 4 * rows == scales[1]:
        shape = 4 * rows, columns
    else:
        return None
    return Quantization("awq", 4, shape, None, _packed_names(infos))


def _packed_names(infos: _Infos) -> tuple[str, ...]:
    return tuple(name for name in ("qweight", "qzeros", "scales", "g_idx") if name in infos)


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
    if packed.dtype == "uint8":  # floats: in groups of 16 with their scales in eight bits of float, else of 32
        group = 16 if infos["weight_scale"].dtype.startswith("float8") else 32
        inputs = group * scale[1]
        bits = 8 * columns // inputs
        if inputs * bits == 8 * columns and bits in (4, 6):
            return Quantization("compressed-tensors", bits, (outputs, inputs), group, names)
    else:
        inputs = _USUAL_GROUP * scale[1]
        bits = columns * _WORD // inputs
        if inputs * bits == columns * _WORD and 2 <= bits <= 8:
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
        if not (weight.subclass or "").startswith("torchao."):
            return None
        return Quantization("torchao", weight.bits, weight.shape, weight.group_size, ("weight",))
    values = next((name for name in ("_weight_qdata", "weight:qdata", "weight:_data") if name in infos), None)
    if values is None:
        return None
    begin = values.removesuffix("qdata").removesuffix("_data") if values != "weight:_data" else "weight:"
    names = tuple(name for name in infos if name.startswith(begin))
    bits, shape, group = _in_parts(infos[values], infos.get(begin + "scale"), infos.get(begin + "zero_point"))
    return Quantization("torchao", bits, shape, group, names)


def _in_parts(
    codes: _Stored, scale: _Stored | None, zero: _Stored | None
) -> tuple[int | None, tuple[int, ...] | None, int | None]:
    """Bits, shape and group size of a matrix of codes: eight bits, or two to a byte where zero points are floats."""
    if scale is None or not len(codes.shape) == len(scale.shape) == 2 or codes.dtype not in _NARROW:
        return None, None, None
    outputs, columns = codes.shape
    in_pairs = zero is not None and zero.dtype == scale.dtype
    rows, groups = reversed(scale.shape) if in_pairs else scale.shape
    inputs = 2 * columns if in_pairs else columns
    if rows != outputs or not groups or inputs % groups:
        return None, None, None
    return 4 if in_pairs else 8, (outputs, inputs), inputs // groups if groups > 1 else None


_RULES = (_packed, _bitsandbytes, _compressed, _scaled, _torchao)
