"""The leaves of the tree: `Tensor`, which says where its elements lie and reads them when asked, and its two roles."""

import copy
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from statedict.displaying import Displayed
from statedict.dtypes import DTYPES, DType
from statedict.expressions.nodes import recast
from statedict.index import TensorInfo, contiguous
from statedict.source import BytesSource, Extent
from statedict.tree import layouts, reading
from statedict.tree.dequantize import dequantized
from statedict.tree.indexing import Index, dimension, view
from statedict.tree.operators import TensorOperators

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray
    from torch import Tensor as TorchTensor

_Role = TypeVar("_Role", bound="Tensor")
_FLOATS = ("bfloa", "float")


class Tensor(TensorOperators, Displayed):
    """One tensor of a checkpoint, under PyTorch's names. It holds no elements: they are read when asked for, each time.

    Made from a `TensorInfo`, another `Tensor`, a numpy array or a `torch.Tensor`, whose memory it then shares. Raises
    TypeError for anything else.
    """

    __slots__ = ("__weakref__", "info", "requires_grad")

    info: TensorInfo
    requires_grad: bool

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self.info = info_of(data)
        self.requires_grad = False
        if requires_grad:
            self.requires_grad_()

    # What it is

    @property
    def name(self) -> str:
        """The first of its full names."""
        return self.info.name

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Its sizes; None where it is uninitialised, as in PyTorch's lazy modules before their first `forward`."""
        return self.info.shape

    @property
    def dtype(self) -> DType:
        return self.info.dtype

    @property
    def ndim(self) -> int:
        return len(self._shape())

    def dim(self) -> int:
        return len(self._shape())

    @overload
    def size(self, dim: None = None) -> tuple[int, ...]: ...
    @overload
    def size(self, dim: int) -> int: ...
    def size(self, dim: int | None = None) -> tuple[int, ...] | int:
        """Its shape, or one size of it. Raises IndexError for a dimension that it has not."""
        shape = self._shape()
        return shape if dim is None else shape[dimension(dim, len(shape))]

    def numel(self) -> int:
        """Elements in all; 0 where it is uninitialised."""
        return self.info.numel

    @property
    def nbytes(self) -> int:
        """Bytes of its elements when they lie side by side; those of its parts, where it is made of parts."""
        return self.info.nbytes

    def element_size(self) -> int:
        """Bytes of one element; 1 for the packed types."""
        return self.info.dtype.itemsize

    @property
    def itemsize(self) -> int:
        return self.info.dtype.itemsize

    @overload
    def stride(self, dim: None = None) -> tuple[int, ...]: ...
    @overload
    def stride(self, dim: int) -> int: ...
    def stride(self, dim: int | None = None) -> tuple[int, ...] | int:
        """Elements from one index to the next, as it was saved. Raises IndexError for a dimension that it has not."""
        stride = self.info.stride or contiguous(self._shape())
        return stride if dim is None else stride[dimension(dim, len(stride))]

    def storage_offset(self) -> int:
        """Elements before its first one in the storage that it was saved in."""
        extent, storage = self.info.extent, self.info.storage
        return 0 if extent is None or storage is None else self.info.dtype.numel(extent.offset - storage.offset)

    def is_contiguous(self) -> bool:
        shape, stride = self._shape(), self.stride()
        wanted = contiguous(shape)
        return 0 in shape or all(size == 1 or a == b for size, a, b in zip(shape, stride, wanted, strict=True))

    def is_floating_point(self) -> bool:
        return self.info.dtype.is_floating_point

    def is_complex(self) -> bool:
        return self.info.dtype.is_complex

    @property
    def is_meta(self) -> bool:
        """Whether it was saved without its elements."""
        return self.info.device == "meta"

    @property
    def is_sparse(self) -> bool:
        return self.info.encoding.layout == "sparse_coo"

    @property
    def is_quantized(self) -> bool:
        return self.info.dtype.quantized

    @property
    def device(self) -> str:
        """Where it lived when it was saved: "cpu", "cuda:0", "meta"."""
        return self.info.device

    @property
    def layout(self) -> str:
        """PyTorch's name of how elements are kept: "strided", "sparse_coo", "sparse_csr", "jagged", ..."""
        return self.info.encoding.layout

    @property
    def parts(self) -> Mapping[str, "Tensor"]:
        """The tensors that make up one that is not strided, or its quantiser; empty for an ordinary one."""
        return {name: Tensor(part) for name, part in self.info.encoding.parts.items()}

    # The same elements as another object

    @property
    def data(self) -> "Tensor":
        return of_info(Tensor, self.info, False)

    def detach(self) -> "Tensor":
        """The same elements as a tensor without a role that requires no gradient."""
        return of_info(Tensor, self.info, False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """This tensor, marked. Raises RuntimeError where its elements cannot have gradients."""
        if requires_grad and not can_have_gradients(self.dtype):
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        self.requires_grad = requires_grad
        return self

    def copy_(self, src: Any) -> Self:
        """This tensor with the elements of another of its shape, converted to its own dtype when they are read.

        Raises RuntimeError where the shapes differ, TypeError where the elements cannot be converted.
        """
        new = info_of(src)
        if self.info.shape is not None and new.shape != self.info.shape:
            raise RuntimeError(f"tensor `{self.name}` has the shape {self.info.shape}; got elements of {new.shape}")
        new = recast(new, self.info.dtype)
        self.info = new._replace(name=self.info.name, requires_grad=self.info.requires_grad, device=self.info.device)
        return self

    def __getitem__(self, index: Index | tuple[Index, ...]) -> "Tensor":
        """A view that reads only its own bytes: by integers, slices with a positive step, `...` and None.

        Raises IndexError and ValueError as PyTorch does, and TypeError for any other index, or where elements share
        bytes or are not strided.
        """
        picked = Tensor(view(self.info, index))
        picked.requires_grad = self.requires_grad
        return picked

    # Its elements

    def numpy(self) -> "NDArray[Any]":
        """The elements as a new, writable numpy array; bfloat16 and the smaller types through ml_dtypes.

        complex32 comes as complex64, since numpy has no such type; GGUF's quantised types as the float32 that they
        stand for. Raises TypeError for sparse, meta and other quantised tensors, ValueError for uninitialised ones.
        """
        return reading.read(self.info)

    def torch(self) -> "TorchTensor":
        """The elements as a new `torch.Tensor` (`torch.nn.Parameter` for a `Parameter`) on the CPU, bit for bit.

        Raises MissingExtraError where PyTorch is not installed, TypeError for an element type that it has not.
        """
        from statedict.interop.torch import to_torch

        return to_torch(self.info, self.requires_grad, parameter=isinstance(self, Parameter))

    def __array__(self, dtype: "DTypeLike | None" = None, copy: bool | None = None) -> "NDArray[Any]":
        if copy is False:
            raise ValueError(f"tensor `{self.name}` lies in {self._where()}: its elements cannot be had without a copy")
        values = self.numpy()
        return values if dtype is None else values.astype(dtype, copy=False)

    def item(self) -> Any:
        """Its only element as a Python number. Raises RuntimeError where it has more or none."""
        if self.numel() != 1:
            raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
        return _plain(self.numpy()).item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers; a number for a 0-dimensional tensor."""
        return _plain(self.numpy()).tolist()

    def __len__(self) -> int:
        shape = self._shape()
        if not shape:
            raise TypeError("len() of a 0-d tensor")
        return shape[0]

    def __iter__(self) -> "Iterator[Tensor]":
        if not self._shape():
            raise TypeError("iteration over a 0-d tensor")
        return (self[position] for position in range(len(self)))

    def __bool__(self) -> bool:
        if self.numel() != 1:
            amount = "more than one value" if self.numel() else "no values"
            raise RuntimeError(f"Boolean value of Tensor with {amount} is ambiguous")
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def to_dense(self) -> "Tensor":
        """A sparse tensor as an ordinary one, in memory. Raises TypeError where its layout has no dense form."""
        return self if self.layout == "strided" else Tensor(reading.info_of_array(layouts.dense(self.info), self.name))

    def dequantize(self) -> "Tensor":
        """The float32 values that a quantised tensor stands for, in memory; those of GGUF's types when they are read.

        Raises TypeError for any other tensor, MissingExtraError where the library that decodes them is not installed.
        """
        if self.dtype.block_bytes:
            return Tensor(dequantized(self.info))
        return Tensor(reading.info_of_array(layouts.dequantized(self.info), self.name))

    def int_repr(self) -> "Tensor":
        """The whole-number codes of a quantised tensor, one to an element. Raises TypeError for any other."""
        return Tensor(layouts.quantized_codes(self.info))

    def qscheme(self) -> str:
        """How it is quantised: "per_tensor_affine", "per_channel_affine", ... Raises TypeError where it is not."""
        return str(self._quantizer("qscheme"))

    def q_scale(self) -> float:
        """What a code is multiplied by. Raises TypeError where it is not quantised per tensor."""
        return float(self._quantizer("scale"))

    def q_zero_point(self) -> int:
        """The code that stands for zero. Raises TypeError where it is not quantised per tensor."""
        return int(self._quantizer("zero_point"))

    # How it is printed, copied and pickled

    def __repr__(self) -> str:
        said = [f"`{self.name}`"] if self.name else []
        said += [str(self.dtype), "uninitialised" if self.shape is None else str(self.shape)]
        said += [self.layout] if self.layout != "strided" else []
        said += [self.device] if self.device != "cpu" else []
        return f"{type(self).__name__}({', '.join(said)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = memo[id(self)] = copy.copy(self)  # what it describes never changes, so copies share it
        return made

    def _made(self, info: TensorInfo) -> "Tensor":
        return of_info(Tensor, info, False)

    def _operand(self, other: Any) -> Any:
        if isinstance(other, bool | int | float | complex):
            return other
        if is_array(other, "numpy", "generic"):
            return other.item()
        return info_of(other) if is_tensor_like(other) else NotImplemented

    def _shape(self) -> tuple[int, ...]:
        if self.info.shape is None:
            reading.require_values(self.info)
        return self.info.shape or ()

    def _where(self) -> str:
        return "a file" if self.info.extent is None else self.info.extent.source.name

    def _quantizer(self, name: str) -> Any:
        attributes = self.info.encoding.attributes
        if not self.is_quantized or name not in attributes:
            scheme = f"by {attributes['qscheme']}" if "qscheme" in attributes else f"({self.dtype})"
            raise TypeError(
                f"tensor `{self.name}` has no {name}: it is {'' if self.is_quantized else 'not '}quantised {scheme}"
            )
        return attributes[name]


class Parameter(Tensor):
    """A tensor that training changes. Raises RuntimeError if `requires_grad` is asked of whole numbers."""

    __slots__ = ()

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        super().__init__(_nothing() if data is None else data)
        if requires_grad and not can_have_gradients(self.dtype):
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        self.requires_grad = requires_grad


class Buffer(Tensor):
    """A tensor that belongs to a module's state, but that training does not change."""

    __slots__ = ("persistent",)

    persistent: bool
    """Whether a state dict holds it."""

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        super().__init__(_nothing() if data is None else data)
        self.persistent = persistent


def of_info(role: type[_Role], info: TensorInfo, requires_grad: bool) -> _Role:
    """A tensor of that role from its description, unchecked and fast: trees have 60,000 of them."""
    made: _Role = object.__new__(role)
    made.info = info
    made.requires_grad = requires_grad
    return made


def info_of(data: Any, name: str = "") -> TensorInfo:
    """The description of a tensor, or of an array in memory (`name` is given to it); memory is shared, not copied.

    Raises TypeError for what is neither a `TensorInfo`, a `Tensor`, a numpy array nor a `torch.Tensor`.
    """
    if isinstance(data, TensorInfo):
        return data
    if isinstance(data, Tensor):
        return data.info
    if is_array(data, "torch", "Tensor"):
        from statedict.interop.torch import describe

        return describe(data, name)
    if is_array(data, "numpy", "ndarray", "generic"):
        return reading.info_of_array(data, name)
    raise TypeError(f"`{type(data).__name__}` is no tensor; expected a Tensor, a numpy array or a torch.Tensor")


def is_tensor_like(value: Any) -> bool:
    """Whether `info_of` takes it, and PyTorch would call it a tensor: numpy's arrays count, a `TensorInfo` does not."""
    return (
        isinstance(value, Tensor)
        or is_array(value, "torch", "Tensor")
        or is_array(value, "numpy", "ndarray", "generic")
    )


def is_array(value: Any, library: str, *classes: str) -> bool:
    """Whether a value is of one of the classes of a library, which is not loaded to find out."""
    loaded = sys.modules.get(library)
    return loaded is not None and isinstance(value, tuple(getattr(loaded, name) for name in classes))


def can_have_gradients(dtype: DType) -> bool:
    """Whether PyTorch lets tensors of that element type require gradients."""
    return dtype.is_floating_point or dtype.is_complex


def _nothing() -> TensorInfo:
    return TensorInfo("", DTYPES["float32"], (0,), Extent(BytesSource(b""), 0, 0))


def _plain(values: "NDArray[Any]") -> "NDArray[Any]":
    """Values whose elements become Python's own numbers: ml_dtypes' do not by themselves."""
    if values.dtype.kind in "biufc":
        return values
    import numpy as np

    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return values.astype("f8" if values.dtype.name[:5] in _FLOATS else "i8")
