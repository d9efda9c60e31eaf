"""A tensor and its storage as a pickle describes them, before anyone knows under which name they stand."""

from functools import lru_cache
from typing import Any

from statedict.dtypes import DTYPES, DType
from statedict.formats._inert import Stub, is_class
from statedict.index import TensorInfo
from statedict.narrow import is_dict, is_tuple
from statedict.opaque import Opaque
from statedict.source import Extent

STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
    "Untyped": "uint8",
    "_Untyped": "uint8",
}
"""PyTorch's storage classes, without "Storage": the element type of each."""
_MOST_DIMENSIONS = 64
_MOST_STATES = 100
_MOST = 1 << 63


class Storage:
    """One allocation that a pickle refers to. `extent` is None until the reader knows where its bytes lie."""

    # There are 60,000: what few of them have takes room, in `__dict__`, only in those.
    __slots__ = ("__dict__", "device", "dtype", "extent", "first", "numel")
    big_endian = False
    _whole: "StoredTensor | None" = None

    def __init__(
        self, dtype: DType, numel: int, device: str, extent: Extent | None = None, big_endian: bool = False
    ) -> None:
        self.dtype = dtype
        self.numel = numel
        self.device = device
        self.extent = extent
        self.first: StoredTensor | None = None  # of its tensors, that was given an info
        if big_endian and dtype.itemsize > 1:
            self.big_endian = True

    def nbytes(self, numel: int) -> int:
        """Bytes of so many of its elements; those packed into bytes are counted as bytes."""
        return numel * self.dtype.itemsize

    def whole(self) -> "StoredTensor":
        """All of it as one tensor in a row, always the same: what a storage is shown as where it stands by itself."""
        if self._whole is None:
            elements = self.dtype.numel(self.nbytes(self.numel))
            self._whole = StoredTensor(self, 0, (elements,), (1,), self.dtype)
        return self._whole

    def __setstate__(self, state: Any) -> None:
        """Nothing: a pickle has no business here."""


class StoredTensor:
    """A tensor as a pickle describes it."""

    __slots__ = ("__dict__", "device", "dtype", "info", "offset", "shape", "storage", "stride")
    requires_grad = False
    parameter = False
    special: dict[str, Any] | None = None
    """The `Encoding` fields of the few that are not plain."""
    states: tuple[Any, ...] | None = None
    """What was to be set on it later."""

    def __init__(
        self,
        storage: Storage | None,
        offset: int,
        shape: tuple[int, ...] | None,
        stride: tuple[int, ...] | None,
        dtype: DType,
        requires_grad: bool = False,
        special: dict[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        self.storage = storage
        self.offset = offset
        self.shape = shape
        self.stride = stride
        self.dtype = dtype
        self.device = storage.device if storage else device
        self.info: TensorInfo | None = None
        if requires_grad:
            self.requires_grad = True
        if special:
            self.special = special

    @property
    def view(self) -> tuple[Any, ...]:
        """What of its storage it shows, and as what: two tensors of one view are tied."""
        return self.offset, self.shape, self.stride, self.dtype

    def __setstate__(self, state: Any) -> None:
        """Take in what PyTorch 0.1 pickled after the fact, or a subclass's attributes."""
        if is_tuple(state) and state and isinstance(state[0], Storage):
            made = tensor(*state[:4])
            self.storage, self.offset, self.shape, self.stride, self.dtype, self.device = (
                made.storage,
                made.offset,
                made.shape,
                made.stride,
                made.dtype,
                made.device,
            )
        elif is_tuple(state) and state and isinstance(state[0], bool):
            self.requires_grad = state[0]
        else:
            self.add_state(state)

    def add_state(self, state: Any) -> None:
        """Record attributes: a dict, or a pair of dicts of which one may be None. Of another form, it is one of them.

        Raises TypeError at the hundredth.
        """
        parts = state if is_tuple(state) and len(state) == 2 else (state,)
        if all(part is None or (is_dict(part) and not part) for part in parts):
            return
        if not any(map(is_dict, parts)):
            state = {"state": state}
        states = (*(self.states or ()), state)
        if len(states) > _MOST_STATES:
            raise TypeError("a tensor is given one state after the other")
        self.states = states


class KnownTensor(StoredTensor):
    """A tensor that lies in memory, with the description that it has already."""

    __slots__ = ("known",)

    def __init__(self, known: TensorInfo, *, parameter: bool = False) -> None:
        super().__init__(None, 0, known.shape, known.stride, known.dtype, known.requires_grad, device=known.device)
        self.known = known
        self.parameter = parameter


def dtype_of(value: Any) -> DType:
    """The element type that a pickle names as a class, `torch.float32`. Raises TypeError for anything else."""
    found = _dtype_of(value) if is_class(value) else None
    if found is None:
        raise TypeError("not an element type")
    return found


@lru_cache(64)
def _dtype_of(value: type[Stub]) -> DType | None:
    return DTYPES.get(value.full_name.removeprefix("torch."))


def storage_dtype(value: Any) -> DType:
    """The element type of a storage class that a pickle names, `torch.cuda.HalfStorage`. Raises TypeError otherwise."""
    if is_class(value):
        name = STORAGES.get(value.full_name.rpartition(".")[2].removesuffix("Storage"))
        if name is not None:
            return DTYPES[name]
    raise TypeError("not a storage class")


def name_of(value: Any) -> str:
    """The name of a class, a string, or of what was made of a name (`torch.device`). Raises TypeError otherwise."""
    if is_class(value):
        return value.full_name
    name = value.name if isinstance(value, Opaque) else value
    if not isinstance(name, str):
        raise TypeError("not a name")
    return name


def count(value: Any) -> int:
    """A number of elements, proved to be one that PyTorch can count to. Raises TypeError otherwise."""
    if type(value) is not int or not 0 <= value < _MOST:
        raise TypeError("not a number of elements")
    return value


def integers(values: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape or a stride, proved to be of whole numbers that PyTorch can count with. Raises TypeError otherwise."""
    sum(values)  # refuses, cheaply, tuples in tuples, which may take for ever to look up
    return _integers(values)


@lru_cache(4096)  # tensors have few shapes: looking one up costs a third of checking it
def _integers(values: tuple[Any, ...]) -> tuple[int, ...]:
    if not is_tuple(values) or len(values) > _MOST_DIMENSIONS:
        raise TypeError("no shape")
    if not all(type(value) is int and -_MOST <= value < _MOST for value in values):
        raise TypeError("not whole numbers")
    return values


@lru_cache(4096)
def _prove_view(size: tuple[Any, ...], stride: tuple[Any, ...]) -> None:
    _integers(size)
    _integers(stride)


def tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    _hooks: Any = None,
    bits: Any = None,
) -> StoredTensor:
    """A strided view of a storage, of the storage's element type, conjugated or negated where `bits` says so.

    Raises TypeError where the arguments are no view.
    """
    if type(storage) is not Storage or type(offset) is not int or not 0 <= offset < _MOST:
        raise TypeError("not a place in a storage")
    sum(size)  # as in `integers`, of which this is two at once
    sum(stride)
    _prove_view(size, stride)
    made = StoredTensor(storage, offset, size, stride, storage.dtype, requires_grad)
    if bits is not None and is_dict(bits):
        made.special = {bit: True for bit in ("conj", "neg") if bits.get(bit)} or None
    return made
