"""The one table of element types, under PyTorch's names: size, numpy's name and safetensors' name of each."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class DType:
    """One element type, of which there is one object each. `str(dtype)` is PyTorch's name without `torch.`."""

    name: str
    """PyTorch's name ("bfloat16"), or safetensors' in lower case where PyTorch has none ("f6_e2m3")."""
    bits: int
    """The size of one element. Types of fewer than 8 bits are packed, unless PyTorch stores them one to a byte. Of a
    type that comes in blocks: the average, rounded down."""
    numpy: str
    """The numpy dtype of values: numpy's own, else one that `ml_dtypes` registers."""
    safetensors: str | None = None
    """The name in a safetensors header, where that format has the type."""
    quantized: bool = False
    """Whether the values mean something only together with a scale and a zero point (PyTorch's qint types). GGUF's
    types hold these inside their blocks."""
    block_numel: int = 1
    """How many elements are stored together, with their scale: 1 for all but GGUF's quantised types."""
    block_bytes: int = 0
    """Bytes of such a block."""
    itemsize: int = field(init=False)
    """Bytes of one element; 1 for the packed types, as in PyTorch."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "itemsize", max(1, self.bits // 8))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"statedict.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return dtype, (self.name,)

    @property
    def is_floating_point(self) -> bool:
        return self.name.startswith(("float", "bfloat", "f6_", "f4"))

    @property
    def is_complex(self) -> bool:
        return self.name.startswith("complex")

    @property
    def short(self) -> str:
        """The name as tables print it: "f32", "bf16", "i64", "f8_e4m3fn"."""
        for long, brief in (("bfloat", "bf"), ("float", "f"), ("complex", "c"), ("uint", "u"), ("int", "i")):
            if self.name.startswith(long):
                return brief + self.name.removeprefix(long)
        return self.name

    def nbytes(self, numel: int) -> int:
        """Bytes that `numel` elements occupy when they lie side by side, a block begun counted whole."""
        if self.block_bytes:
            return -(-numel // self.block_numel) * self.block_bytes
        return (numel * self.bits + 7) // 8

    def numel(self, nbytes: int) -> int:
        """Elements that `nbytes` hold when they lie side by side."""
        return nbytes // self.block_bytes * self.block_numel if self.block_bytes else nbytes * 8 // self.bits

    def to_numpy(self) -> "np.dtype[Any]":
        """The numpy dtype of this type's values. Loads numpy, and ml_dtypes for the types that only it has."""
        if self.numpy not in _IN_NUMPY:
            import numpy as np

            if hasattr(np, self.numpy):
                _IN_NUMPY[self.numpy] = np.dtype(self.numpy)
            else:
                import ml_dtypes

                _IN_NUMPY[self.numpy] = np.dtype(getattr(ml_dtypes, self.numpy))
        return _IN_NUMPY[self.numpy]


_IN_NUMPY: "dict[str, np.dtype[Any]]" = {}
"""Those that `to_numpy` was asked for: it is asked for each piece of a tensor that is read."""


def _block(name: str, numel: int, nbytes: int) -> DType:
    """A type of GGUF, whose blocks of `numel` elements take `nbytes`; its values are float32."""
    return DType(name, nbytes * 8 // numel, "float32", quantized=True, block_numel=numel, block_bytes=nbytes)


_TABLE = (
    DType("float64", 64, "float64", "F64"),
    DType("float32", 32, "float32", "F32"),
    DType("float16", 16, "float16", "F16"),
    DType("bfloat16", 16, "bfloat16", "BF16"),
    DType("float8_e4m3fn", 8, "float8_e4m3fn", "F8_E4M3"),
    DType("float8_e5m2", 8, "float8_e5m2", "F8_E5M2"),
    DType("float8_e4m3fnuz", 8, "float8_e4m3fnuz", "F8_E4M3FNUZ"),
    DType("float8_e5m2fnuz", 8, "float8_e5m2fnuz", "F8_E5M2FNUZ"),
    DType("float8_e8m0fnu", 8, "float8_e8m0fnu", "F8_E8M0"),
    DType("float4_e2m1fn_x2", 8, "uint8"),  # PyTorch counts bytes of two values each
    DType("f6_e2m3", 6, "float6_e2m3fn", "F6_E2M3"),
    DType("f6_e3m2", 6, "float6_e3m2fn", "F6_E3M2"),
    DType("f4", 4, "float4_e2m1fn", "F4"),
    DType("int4_packed", 4, "int4"),  # ONNX's: PyTorch's int4 takes a byte
    DType("int2_packed", 2, "int2"),
    DType("uint4_packed", 4, "uint4"),
    DType("uint2_packed", 2, "uint2"),
    DType("int64", 64, "int64", "I64"),
    DType("int32", 32, "int32", "I32"),
    DType("int16", 16, "int16", "I16"),
    DType("int8", 8, "int8", "I8"),
    DType("uint64", 64, "uint64", "U64"),
    DType("uint32", 32, "uint32", "U32"),
    DType("uint16", 16, "uint16", "U16"),
    DType("uint8", 8, "uint8", "U8"),
    DType("bool", 8, "bool", "BOOL"),
    DType("complex128", 128, "complex128"),
    DType("complex64", 64, "complex64", "C64"),
    DType("complex32", 32, "complex64"),  # two float16: numpy has no such type, complex64 holds every value
    DType("qint8", 8, "int8", quantized=True),
    DType("quint8", 8, "uint8", quantized=True),
    DType("qint32", 32, "int32", quantized=True),
    DType("quint4x2", 4, "uint4", quantized=True),
    DType("quint2x4", 2, "uint2", quantized=True),
    *(DType(f"{sign}int{bits}", 8, f"{sign}int8") for sign in ("u", "") for bits in range(1, 8)),
    *(DType(f"bits{width}x{8 // width}", 8, "uint8") for width in (1, 2, 4)),
    DType("bits8", 8, "uint8"),
    DType("bits16", 16, "uint16"),
    _block("q1_0", 128, 18),
    _block("q4_0", 32, 18),
    _block("q4_1", 32, 20),
    _block("q5_0", 32, 22),
    _block("q5_1", 32, 24),
    _block("q8_0", 32, 34),
    _block("q8_1", 32, 40),
    _block("q2_k", 256, 84),
    _block("q3_k", 256, 110),
    _block("q4_k", 256, 144),
    _block("q5_k", 256, 176),
    _block("q6_k", 256, 210),
    _block("q8_k", 256, 292),
    _block("iq1_s", 256, 50),
    _block("iq1_m", 256, 56),
    _block("iq2_xxs", 256, 66),
    _block("iq2_xs", 256, 74),
    _block("iq2_s", 256, 82),
    _block("iq3_xxs", 256, 98),
    _block("iq3_s", 256, 110),
    _block("iq4_nl", 32, 18),
    _block("iq4_xs", 256, 136),
    _block("tq1_0", 256, 54),
    _block("tq2_0", 256, 66),
    _block("mxfp4", 32, 17),
    _block("nvfp4", 64, 36),
    _block("q4_0_4_4", 32, 18),  # q4_0 and iq4_nl with rows interleaved for one kind of processor, as of 2024
    _block("q4_0_4_8", 32, 18),
    _block("q4_0_8_8", 32, 18),
    _block("iq4_nl_4_4", 32, 18),
    _block("iq4_nl_4_8", 32, 18),
    _block("iq4_nl_8_8", 32, 18),
)

DTYPES: dict[str, DType] = {entry.name: entry for entry in _TABLE}
SAFETENSORS_DTYPES: dict[str, DType] = {entry.safetensors: entry for entry in _TABLE if entry.safetensors}
_ALIASES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "chalf": "complex32",
    "cfloat": "complex64",
    "cdouble": "complex128",
    "short": "int16",
    "int": "int32",
    "long": "int64",
}
_SHORT = {entry.short: entry for entry in _TABLE}


EXAMPLES = "bf16, f16, f32 or f8_e4m3fn"
"""Some of the names, for an error's text."""


def dtype(name: str) -> DType:
    """The element type of that name: PyTorch's ("bfloat16", "torch.bfloat16", "half"), or a short one ("bf16").

    Raises ValueError for any other name.
    """
    plain = name.removeprefix("torch.")
    found = DTYPES.get(_ALIASES.get(plain, plain)) or _SHORT.get(plain)
    if found is None:
        raise ValueError(f"`{name}` is no element type; expected one such as {EXAMPLES}")
    return found
