"""Tensors that are not plain rows of numbers: the dense form of sparse ones, the values of quantised ones."""

from typing import TYPE_CHECKING, Any

from statedict.dtypes import DTYPES
from statedict.errors import FormatError
from statedict.index import Encoding, TensorInfo
from statedict.tree.reading import codes, info_of_array, read

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def dense(info: TensorInfo) -> "NDArray[Any]":
    """The values of a sparse tensor (COO, CSR, CSC, BSR, BSC) as an ordinary array, with duplicates added up.

    Raises TypeError for other layouts, FormatError where an index lies outside the shape.
    """
    import numpy as np

    parts, layout, shape = info.encoding.parts, info.encoding.layout, info.shape or ()
    if layout == "strided":
        return read(info)
    if not layout.startswith("sparse_") or not {"values"} < set(parts):
        raise TypeError(
            f"tensor `{info.name}` is {layout}, which has no dense form; read its `.parts`: {', '.join(parts)}"
        )
    values = read(parts["values"])
    out = np.zeros(shape, values.dtype)
    try:
        if layout == "sparse_coo":
            np.add.at(out, tuple(read(parts["indices"])), values)
        else:
            _add_compressed(out, {name: read(part) for name, part in parts.items()}, by_row="row" in next(iter(parts)))
    except (IndexError, ValueError) as error:
        raise FormatError(
            f"tensor `{info.name}`: its indices do not fit its shape {shape}; the file is damaged"
        ) from error
    return out


def _add_compressed(out: "NDArray[Any]", parts: "dict[str, NDArray[Any]]", by_row: bool) -> None:
    """Add the values of CSR or BSR (`by_row`) or CSC or BSC to `out`, one matrix of a batch after the other."""
    import numpy as np

    pointers, plain, values = parts.values()
    for batch in np.ndindex(pointers.shape[:-1]):
        counts = np.diff(pointers[batch])
        compressed = np.repeat(np.arange(len(counts)), counts)
        rows, columns = (compressed, plain[batch]) if by_row else (plain[batch], compressed)
        block = values[batch].shape[1:3] if values.ndim - len(batch) > 2 else (1, 1)
        _add_blocks(out[batch], rows, columns, values[batch], block)


def _add_blocks(
    out: "NDArray[Any]", rows: "NDArray[Any]", columns: "NDArray[Any]", values: "NDArray[Any]", block: tuple[int, ...]
) -> None:
    import numpy as np

    if block == (1, 1) and values.ndim == 1:
        np.add.at(out, (rows, columns), values)
        return
    high, wide = block
    for row, column, value in zip(rows, columns, values, strict=True):
        out[row * high : (row + 1) * high, column * wide : (column + 1) * wide] += value


def dequantized(info: TensorInfo) -> "NDArray[np.float32]":
    """The float32 values that a quantised tensor stands for: `(code - zero_point) * scale`.

    Raises TypeError where it is not quantised, or by a scheme that is not per tensor or per channel.
    """
    import numpy as np

    scheme = info.encoding.attributes.get("qscheme")
    if not info.dtype.quantized or not isinstance(scheme, str):
        raise TypeError(f"tensor `{info.name}` of {info.dtype} is not quantised; read it with `.numpy()`")
    stored = read(quantized_codes(info)).astype(np.float32)
    if scheme.startswith("per_tensor"):
        scale, zero = info.encoding.attributes["scale"], info.encoding.attributes["zero_point"]
        return (stored - np.float32(zero)) * np.float32(scale)
    axis = info.encoding.attributes["axis"]
    along = tuple(-1 if each == axis else 1 for each in range(stored.ndim))
    scales, zeros = (read(info.encoding.parts[name]).astype(np.float32) for name in ("scales", "zero_points"))
    return (stored - zeros.reshape(along)) * scales.reshape(along)


def quantized_codes(info: TensorInfo) -> TensorInfo:
    """The whole-number codes of a quantised tensor as one of int8, uint8 or int32; packed ones get a byte each."""
    if not info.dtype.quantized:
        raise TypeError(f"tensor `{info.name}` of {info.dtype} is not quantised, so it has no codes")
    if info.dtype.block_bytes:
        raise TypeError(f"tensor `{info.name}` of {info.dtype} has its codes in blocks; `.numpy()` gives its values")
    if info.dtype.bits < 8:
        return info_of_array(codes(info), info.name)
    encoding = Encoding(byteorder=info.encoding.byteorder)
    return info._replace(dtype=DTYPES[info.dtype.numpy], encoding=encoding)
