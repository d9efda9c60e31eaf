"""A tensor and its storage as a pickle describes them, before anyone knows under which name they stand."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from statedict.dtypes import DTYPES, DType
from statedict.formats._pickle import is_class
from statedict.narrow import is_tuple
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


class Storage:
    """One allocation that a pickle refers to. `extent` is None until the reader knows where its bytes lie."""

    __slots__ = ("big_endian", "device", "dtype", "extent", "numel")

    def __init__(
        self, dtype: DType, numel: int, device: str, extent: Extent | None = None, big_endian: bool = False
    ) -> None:
        self.dtype = dtype
        self.numel = numel
        self.device = device
        self.extent = extent
        self.big_endian = big_endian and dtype.itemsize > 1

    def __setstate__(self, state: Any) -> None:
        """Nothing: a pickle has no business here."""


class StoredTensor:
    """A tensor as a pickle describes it. `special` holds the `Encoding` fields of the few that are not plain."""

    __slots__ = ("device", "dtype", "offset", "parameter", "requires_grad", "shape", "special", "storage", "stride")

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
        self.requires_grad = requires_grad
        self.special = special
        self.device = storage.device if storage else device
        self.parameter = False

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
        elif attributes := Opaque("", (), state=state).attributes:
            self.add_state(attributes)

    def add_state(self, attributes: Mapping[str, Any]) -> None:
        """Record a subclass's attributes: those that are tensors as parts where it stores no bytes of its own."""
        special = self.special = dict(self.special or {})
        tensors = {name: value for name, value in attributes.items() if isinstance(value, StoredTensor)}
        if self.storage is None and self.shape is not None and "parts" not in special and tensors:
            special["parts"] = tensors
            attributes = {name: value for name, value in attributes.items() if name not in tensors}
        special["attributes"] = {**special.get("attributes", {}), **attributes}


def dtype_of(value: Any) -> DType:
    """The element type that a pickle names as a class, `torch.float32`. Raises TypeError for anything else."""
    if is_class(value):
        found = DTYPES.get(value.full_name.removeprefix("torch."))
        if found is not None:
            return found
    raise TypeError("not an element type")


def storage_dtype(value: Any) -> DType:
    """The element type of a storage class that a pickle names, `torch.cuda.HalfStorage`. Raises TypeError otherwise."""
    if is_class(value):
        name = STORAGES.get(value.full_name.rpartition(".")[2].removesuffix("Storage"))
        if name is not None:
            return DTYPES[name]
    raise TypeError("not a storage class")


def name_of(value: Any) -> str:
    if is_class(value):
        return value.full_name
    return value if isinstance(value, str) else str(getattr(value, "name", value))


@lru_cache(4096)  # tensors have few shapes: looking one up costs a third of checking it
def integers(values: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape or a stride, proved to be of whole numbers. Raises TypeError otherwise."""
    if not is_tuple(values):
        raise TypeError("not a tuple")
    for value in values:
        if type(value) is not int:
            raise TypeError("not a whole number")
    return values


def tensor(storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, *_hooks: Any) -> StoredTensor:
    """A strided view of a storage, of the storage's element type. Raises TypeError where the arguments are no view."""
    if type(storage) is not Storage or type(offset) is not int:
        raise TypeError("not a storage")
    return StoredTensor(storage, offset, integers(size), integers(stride), storage.dtype, bool(requires_grad))
