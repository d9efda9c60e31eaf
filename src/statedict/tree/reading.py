"""From a `TensorInfo` to the numpy array of its values, and back to bytes: the only place that knows how both look."""

from functools import cache
from typing import TYPE_CHECKING, Any

from statedict.dtypes import DTYPES, DType
from statedict.index import TensorInfo, contiguous, span
from statedict.source import BytesSource, Extent, Source
from statedict.tree.dequantize import dequantized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GAP = 1 << 16
"""Bytes that cost less to read and drop than a second read costs."""
_BLOCK = 1 << 22
_PACKED_BLOCK = 1 << 17
_PATTERNS = {1: "u1", 2: "u2", 4: "u4", 8: "u8", 16: "c16"}
_DTYPE_OF = {
    **{name: dtype for name, dtype in DTYPES.items() if dtype.numpy == name and not dtype.quantized},
    **{dtype.numpy: dtype for dtype in DTYPES.values() if dtype.bits < 8 and not dtype.quantized},
}
"""The element type of each numpy dtype, by its name."""


def read(info: TensorInfo) -> "NDArray[Any]":
    """The values of a tensor: a new, writable array of its shape, row by row; 0-dimensional for a scalar.

    bfloat16, the float8 types and smaller ones come as ml_dtypes' types; complex32 as complex64, and two float4 in one
    byte (float4_e2m1fn_x2) as that byte, since numpy has neither; GGUF's blocks as the float32 that they stand for.
    Of a view, little more is read than what it shows.
    Raises TypeError where there are no plain values (sparse, quantised, meta), ValueError where it is uninitialised.
    """
    import numpy as np

    require_values(info)
    dtype = info.dtype
    if dtype.block_bytes:
        return read(dequantized(info))
    if dtype.quantized:
        raise TypeError(
            f"tensor `{info.name}` is quantised ({dtype}); `.dequantize()` gives its values, `.int_repr()` its codes"
        )
    if dtype.bits < 8:
        return codes(info).view(dtype.to_numpy())
    if dtype.name == "complex32":
        halves = patterns(info).reshape(-1).view("f2")
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            values = halves.astype("f4").view("c8").reshape(info.shape or ())
    else:
        values = np.empty(info.shape or (), dtype.to_numpy())
        _fill(info, values.view(_PATTERNS[dtype.itemsize]))
    if info.encoding.conj:
        np.conjugate(values, out=values)
    if info.encoding.neg:
        np.negative(values, out=values)
    return values


def patterns(info: TensorInfo) -> "NDArray[Any]":
    """The elements of a tensor as they are stored, in this machine's byte order: unsigned integers of their size.

    Those of 16 bytes come as complex128. Conjugation and negation are not applied. Raises as `read` does.
    """
    import numpy as np

    require_values(info)
    out = np.empty(info.shape or (), _PATTERNS[info.dtype.itemsize])
    _fill(info, out)
    return out


def codes(info: TensorInfo) -> "NDArray[np.uint8]":
    """The elements of a type of fewer than 8 bits, each in a byte of its own: the first from the lowest bits."""
    import numpy as np
    from numpy.lib.stride_tricks import as_strided

    require_values(info)
    shape, stride = info.shape or (), info.stride
    reach = span(shape, stride or contiguous(shape))
    flat = np.empty(reach, "u1")
    if info.extent is not None:
        for first in range(0, reach, _PACKED_BLOCK):
            block = flat[first : first + _PACKED_BLOCK]
            start = info.extent.offset + first * info.dtype.bits // 8
            block[:] = _unpack(
                info.extent.source.read_at(start, info.dtype.nbytes(len(block))), info.dtype.bits, len(block)
            )
    return flat.reshape(shape) if stride is None else as_strided(flat, shape, stride).copy()


def elements(dtype: DType, data: "NDArray[np.uint8]", count: int) -> "NDArray[Any]":
    """So many elements of which the bytes are in memory, side by side and little end first: a view, where numpy can.

    They look as those that `read` returns.
    """
    import numpy as np

    if dtype.bits < 8:
        return _unpack(data, dtype.bits, count).view(dtype.to_numpy())
    if dtype.name == "complex32":
        with np.errstate(invalid="ignore"):
            return data.view("f2").astype("f4").view("c8")
    return data.view(dtype.to_numpy())


def require_values(info: TensorInfo) -> None:
    """Nothing, where a tensor has strided elements to read. Raises TypeError or ValueError that says what it is."""
    if info.shape is None:
        raise ValueError(
            f"tensor `{info.name}` is uninitialised: its shape is not known before the module's first `forward`, "
            "so the checkpoint holds no values of it"
        )
    if info.encoding.layout != "strided":
        raise TypeError(
            f"tensor `{info.name}` is {info.encoding.layout}, not strided; use `.to_dense()`, or read its `.parts`: "
            f"{', '.join(info.encoding.parts)}"
        )
    if info.extent is None:
        if info.encoding.parts:
            raise TypeError(
                f"tensor `{info.name}` is a `{info.encoding.kind}`; read the `.parts` that it is made of: "
                f"{', '.join(info.encoding.parts)}"
            )
        raise TypeError(
            f"tensor `{info.name}` was saved from the {info.device} device without its values; the checkpoint holds "
            "only its shape and dtype"
        )


def _fill(info: TensorInfo, out: "NDArray[Any]") -> None:
    """Read the elements into `out`, a contiguous array of patterns, and turn them to this machine's byte order."""
    if info.extent is None or out.size == 0:
        return
    source, offset, _ = info.extent
    if info.stride is None:
        source.readinto_at(offset, out.reshape(-1).view("u1").data)
    else:
        _gather(source, offset, info.stride, out)
    component = info.dtype.itemsize // (2 if info.dtype.is_complex else 1)
    if info.encoding.byteorder == "big" and component > 1:
        out.reshape(-1).view(f"u{component}").byteswap(inplace=True)


def _gather(source: Source, offset: int, stride: tuple[int, ...], out: "NDArray[Any]") -> None:
    """Read strided elements in few pieces: the whole stretch if it is mostly wanted, else its outermost steps apart."""
    import numpy as np

    reach = span(out.shape, stride)
    if reach * out.itemsize <= max(2 * out.size * out.itemsize, _GAP):
        _gather_stretch(source, offset, stride, reach, out)
        return
    axis = max(range(out.ndim), key=lambda each: (out.shape[each] > 1, stride[each]))
    out, step, inner = np.moveaxis(out, axis, 0), stride[axis], stride[:axis] + stride[axis + 1 :]
    gap = (step - span(out.shape[1:], inner)) * out.itemsize
    rows = max(1, _BLOCK // (step * out.itemsize)) if gap <= _GAP else 1
    for first in range(0, len(out), rows):
        start = offset + first * step * out.itemsize
        if rows == 1:
            _gather(source, start, inner, out[first, ...])
        else:
            part = out[first : first + rows]
            _gather_stretch(source, start, (step, *inner), span(part.shape, (step, *inner)), part)


def _gather_stretch(source: Source, offset: int, stride: tuple[int, ...], reach: int, out: "NDArray[Any]") -> None:
    import numpy as np
    from numpy.lib.stride_tricks import as_strided

    stretch = np.empty(reach, out.dtype)
    source.readinto_at(offset, stretch.view("u1").data)
    out[...] = as_strided(stretch, out.shape, [step * out.itemsize for step in stride])


def _unpack(data: "bytes | NDArray[np.uint8]", bits: int, count: int) -> "NDArray[np.uint8]":
    import numpy as np

    stored = np.frombuffer(data, "u1")
    if 8 % bits == 0:
        return _codes_in_a_byte(bits)[stored].view("u1")[:count]
    words = np.zeros((-(-len(stored) // bits), 8), "u1")  # in each the bytes that eight codes fill
    whole = len(stored) // bits
    words[:whole, :bits] = stored[: whole * bits].reshape(whole, bits)
    words[whole:, : len(stored) % bits] = stored[whole * bits :]
    shifted = words.view("<u8") >> np.arange(0, 8 * bits, bits).astype("u8")
    return (shifted & np.uint64((1 << bits) - 1)).astype("u1").reshape(-1)[:count]


@cache
def _codes_in_a_byte(bits: int) -> "NDArray[Any]":
    """Of each byte the codes that it holds, a byte each, side by side in one number."""
    import numpy as np

    codes = np.arange(256)[:, None] >> np.arange(0, 8, bits) & (1 << bits) - 1
    return codes.astype("u1").view(f"u{8 // bits}").reshape(256)


def _pack(elements: "NDArray[np.uint8]", bits: int) -> "NDArray[np.uint8]":
    import numpy as np

    apart = np.unpackbits(elements.reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    return np.packbits(apart.reshape(-1), bitorder="little")


def encode(values: "NDArray[Any]", dtype: DType) -> "NDArray[np.uint8]":
    """The bytes, in one row, that store `values` as elements of `dtype`: the inverse of `read`, little end first.

    Rounds as PyTorch does: to nearest, ties to even; to an integer type towards zero.
    """
    import numpy as np

    if values.dtype.kind == "c" and not dtype.is_complex:
        values = np.real(values)
    with np.errstate(invalid="ignore", over="ignore"):
        flat = np.ascontiguousarray(values, dtype=dtype.to_numpy()).reshape(-1)
        if dtype.name == "complex32":
            flat = flat.view("f4").astype("f2")
    stored = flat.view("u1")
    return stored if dtype.bits >= 8 else _pack(stored, dtype.bits)


def info_of_array(array: "NDArray[Any]", name: str = "") -> TensorInfo:
    """The description of an array in memory; it shares the memory, unless the array is neither contiguous nor native.

    Raises TypeError for a dtype that no tensor can have, such as text or Python objects.
    """
    dtype = _DTYPE_OF.get(array.dtype.name)
    if dtype is None:
        raise TypeError(f"an array of {array.dtype} cannot be a tensor; expected one of {', '.join(_DTYPE_OF)}")
    if dtype.bits < 8 or not (array.flags.c_contiguous and array.dtype.isnative):
        stored = encode(array, dtype)
    else:
        stored = array.reshape(-1).view("u1")
    return TensorInfo(name, dtype, array.shape, Extent(BytesSource(stored.data, "an array"), 0, stored.size))
