"""What of a tensor is hashed: its element type and shape, then its bytes in leaves; and the jobs that do so."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from statedict import engine
from statedict.dtypes import DTYPES, DType
from statedict.expressions.nodes import Leaf, computed, is_contiguous, settled
from statedict.index import TensorInfo
from statedict.ops.digests import Hash, hash_of
from statedict.ops.panels import in_panels
from statedict.tree.layouts import quantized_codes
from statedict.tree.reading import require_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAF = 1 << 20
"""Bytes that are hashed at once. Part of the definition, as is every text here."""
_BYTES = DTYPES["uint8"]


@dataclass(init=False)
class Recipe:
    """What of a tensor is hashed: a text, then the bytes of its elements, or the digests of the parts it is made of."""

    dtype: DType
    shape: tuple[int, ...] | None
    _text: str
    _row: TensorInfo | None = None
    """The bytes of its elements."""
    _parts: "dict[str, Recipe]" = field(default_factory=dict[str, "Recipe"])

    def __init__(self, info: TensorInfo) -> None:
        """Raises TypeError or ValueError, which say why, for a tensor without values."""
        if info.encoding.kind is not None:
            raise TypeError(f"tensor `{info.name}` is a `{info.encoding.kind}`; hash the `.parts` that it is made of")
        if info.encoding.layout == "strided" or not info.encoding.parts:
            require_values(info)
        self.dtype, self.shape = _logical(info)
        self._row = None if info.extent is None else _bytes_of(info)
        self._parts = {name: Recipe(part) for name, part in sorted(info.encoding.parts.items())}
        self._text = f"tensor\n{_kind(info, self.dtype)}\n{','.join(map(str, self.shape or ()))}\n"

    def rows(self) -> Iterator[TensorInfo]:
        """All stretches of bytes that are to be read."""
        if self._row is not None:
            yield self._row
        for part in self._parts.values():
            yield from part.rows()

    def digest(self, hashed: Hash, leaves: Iterator[list[bytes] | None]) -> bytes:
        """Its digest, from the digests of the leaves of each of its rows."""
        data = bytearray(self._text.encode())
        if self._row is not None:
            data += b"".join(next(leaves) or ())
        for name, part in self._parts.items():
            data += name.encode() + b"\n" + part.digest(hashed, leaves)
        return hashed(bytes(data))


def digests(recipes: Iterable[Recipe], algorithm: str, **how: Any) -> list[str]:
    """The digest of each, as text. `how` is what `engine.run` takes."""
    recipes = list(recipes)
    hashed = hash_of(algorithm)
    kernel = partial(_leaves, algorithm=algorithm)
    found = engine.run([engine.Job(row, kernel, _joined) for recipe in recipes for row in recipe.rows()], **how)
    leaves = iter(found)
    return [named(algorithm, recipe.digest(hashed, leaves)) for recipe in recipes]


def named(algorithm: str, digest: bytes) -> str:
    """A digest as text, which begins with the name of its algorithm."""
    return f"{algorithm}:{digest.hex()}"


def _leaves(_dtype: DType, values: "NDArray[Any]", algorithm: str) -> list[bytes]:
    """The digests of some bytes of a row. What the engine passes begins where a leaf does."""
    hashed = hash_of(algorithm)
    return [hashed(values[start : start + _LEAF].data) for start in range(0, len(values), _LEAF)]


def _joined(first: list[bytes], second: list[bytes]) -> list[bytes]:
    """The leaves of two stretches, in the list of the first: a large tensor has thousands of stretches."""
    first += second
    return first


def _logical(info: TensorInfo) -> tuple[DType, tuple[int, ...] | None]:
    """Element type and shape, as those say who do not count pairs in a byte."""
    if info.dtype.name != "float4_e2m1fn_x2":
        return info.dtype, info.shape
    *rows, pairs = info.shape or (1,)
    return DTYPES["f4"], (*rows, 2 * pairs)


def _kind(info: TensorInfo, dtype: DType) -> str:
    """The element type, and what else than elements and parts makes values: a sparse layout, one of torch's scales."""
    words = [dtype.name] if info.encoding.layout == "strided" else [dtype.name, info.encoding.layout]
    held = info.encoding.attributes
    quantizer = ("qscheme", "scale", "zero_point", "axis") if _is_coded(info) else ()
    return " ".join([*words, *(f"{key}={held[key]}" for key in quantizer if key in held)])


def _is_coded(info: TensorInfo) -> bool:
    return info.dtype.quantized and not info.dtype.block_bytes


def _bytes_of(info: TensorInfo) -> TensorInfo:
    """The bytes of the elements, row by row and little end first; blocks as they are stored, packed codes one each."""
    if info.dtype.block_bytes and info.encoding.byteorder == "big":
        raise TypeError(f"tensor `{info.name}` of {info.dtype} has big-endian blocks, of which nothing can be told")
    row = quantized_codes(info) if _is_coded(info) else info
    strided = row.stride is not None and not row.dtype.block_bytes and not is_contiguous(row)
    row = in_panels(row) if strided and row.nbytes > _LEAF else settled(row)
    if row.dtype.bits * row.numel % 8 and not row.dtype.block_bytes:
        row = computed(Leaf(row), row.shape or (), row)  # which fills the last byte with zeros
    size = row.nbytes
    return row._replace(dtype=_BYTES, shape=(size,), stride=None)
