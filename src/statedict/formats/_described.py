"""What a pickle described, as an `Index` holds it: a `TensorInfo` for each tensor, plain values for everything else."""

from collections.abc import Mapping
from typing import Any

from statedict import tuples
from statedict.dtypes import DTYPES, DType
from statedict.errors import FormatError, LimitError
from statedict.formats._inert import is_class
from statedict.formats._numpy import NumpyArray, NumpyDType
from statedict.formats._stored import KnownTensor, Storage, StoredTensor
from statedict.index import PLAIN, Encoding, TensorInfo, contiguous, shown, span
from statedict.limits import Limits
from statedict.narrow import is_container, is_dict, is_list, is_set, is_tuple
from statedict.opaque import Opaque
from statedict.source import Extent

BIG_ENDIAN = Encoding(byteorder="big")
_MOST_DIGITS = 4_000
"""Python refuses to print longer whole numbers."""
_MOST_REPEATS = 16
"""How many times longer than itself a value may print because parts of it are shared; more is a bomb."""

_MOST_ATTRIBUTES = 2_000_000
"""Attributes of all tensors together: they may share one dict, but not print as one."""
_MOST_PARTS = 1_000
"""Tensors that one tensor may be made of, counting those of its parts."""


class Described:
    """The infos and values made so far: what is met twice is made once, so that what was shared stays shared."""

    def __init__(self, where: str, limits: Limits) -> None:
        self.where = where
        self.limits = limits
        self._views: dict[tuple[Any, ...], StoredTensor] = {}
        self._strides: dict[Any, tuple[tuple[int, ...] | None, int]] = {}
        self._plain: dict[int, Any] = {}
        self._lengths: dict[int, int] = {}
        self._filling: set[int] = set()
        self._values_met = 1000
        self._attributes = 0

    # Tensors

    def shared(self, tensor: StoredTensor, name: str) -> TensorInfo:
        """The info of a tensor in a dict. A state dict has a new object for each name of a weight: the view decides."""
        storage = tensor.storage
        if storage is None or storage.extent is None or tensor.special or tensor.states or tensor.parameter:
            return self.one(tensor, name)
        if (first := storage.first) is None:
            storage.first = tensor
            if tensor.info is None:  # nearly always: a storage of its own, met for the first time
                tensor.info = self._info(tensor, name, None)
            return tensor.info
        if first is not tensor and first.view != tensor.view:
            first = self._views.setdefault((storage, *tensor.view), tensor)
        return self.one(first, name)

    def one(self, tensor: StoredTensor, name: str, depth: int = 0) -> TensorInfo:
        """The info of a tensor that is told from others by being the same object."""
        if tensor.info is None:
            if tensor.special is None and tensor.states is None:
                tensor.info = self._info(tensor, name, None)
            else:
                encoding = self._encoding(tensor)
                tensor.info = self._info(tensor, name, encoding)
                self._fill(encoding, tensor, name, depth + 2)
        return tensor.info

    def _info(self, tensor: StoredTensor, name: str, encoding: Encoding | None) -> TensorInfo:
        shape, stride, storage, dtype = tensor.shape, tensor.stride, tensor.storage, tensor.dtype
        grad, device = tensor.requires_grad, tensor.device
        encoding = encoding or (BIG_ENDIAN if storage and storage.big_endian else PLAIN)
        if storage is None or storage.extent is None or shape is None or stride is None:
            if isinstance(tensor, KnownTensor):
                return tensor.known._replace(name=name)
            return TensorInfo(name, dtype, shape, None, stride, None, grad, device, encoding)
        key = (shape, stride, dtype)
        if (known := self._strides.get(key)) is None:  # few shapes serve all tensors
            known = self._strides[key] = self._stride(shape, stride, dtype, name)
        stride, length = known
        source, start, size = whole = storage.extent
        begin = dtype.nbytes(tensor.offset) if tensor.offset else 0
        if not length:
            begin = min(begin, size)
        if length == size and not begin:  # nearly always: a storage of its own
            return tuples.made(TensorInfo, (name, dtype, shape, whole, stride, None, grad, device, encoding))
        extent = Extent(source, start + begin, length)
        return TensorInfo(name, dtype, shape, extent, stride, whole, grad, device, encoding)

    def _stride(
        self, shape: tuple[int, ...], stride: tuple[int, ...], dtype: DType, name: str
    ) -> tuple[tuple[int, ...] | None, int]:
        """The stride, None where it is the one that the shape has by itself, and the bytes that it spans."""
        if len(shape) != len(stride) or min(shape, default=0) < 0 or min(stride, default=0) < 0:
            raise FormatError(
                f"{self.where}: tensor `{shown(name)}` has the stride {stride}, "
                f"which does not fit its shape {shape}; the file is damaged"
            )
        return None if stride == contiguous(shape) else stride, dtype.nbytes(span(shape, stride))

    def _encoding(self, tensor: StoredTensor) -> Encoding:
        """The encoding of a special tensor, whose parts and attributes are still to be filled in."""
        fields = {name: value for name, value in (tensor.special or {}).items() if name not in {"parts", "attributes"}}
        return Encoding(
            **fields,
            byteorder="big" if tensor.storage and tensor.storage.big_endian else "little",
            parts={},
            attributes={},
        )

    def _fill(self, encoding: Encoding, tensor: StoredTensor, name: str, depth: int) -> None:
        """Give an encoding its parts and attributes: afterwards, since an attribute may be the tensor itself."""
        special = tensor.special or {}
        attributes = dict(special.get("attributes", {}))
        parts: dict[str, Any] = special.get("parts", {})
        for state in tensor.states or ():
            attributes |= Opaque("", (), state=state).attributes
        if not parts and tensor.storage is None and tensor.shape is not None:  # a subclass that wraps other tensors
            parts = {key: value for key, value in attributes.items() if isinstance(value, StoredTensor)}
            attributes = {key: value for key, value in attributes.items() if key not in parts}
        self._attributes += len(attributes)
        if depth > self.limits.depth or self._attributes > _MOST_ATTRIBUTES:
            raise LimitError(f"{self.where}: tensor `{shown(name)}` is made of too many others, or of itself")
        if parts:
            self._fill_parts(encoding.parts, tensor, parts, name, depth)
        made: Any = encoding.attributes
        made.update(self.values(attributes, depth))

    def _fill_parts(self, made: Any, tensor: StoredTensor, parts: dict[str, Any], name: str, depth: int) -> None:
        """Name the parts, none of which may be part of itself, nor so shared that they are without end."""
        self._filling.add(id(tensor))
        for key, part in parts.items():
            if id(part) in self._filling:
                raise LimitError(
                    f"{self.where}: tensor `{shown(name)}` is a part of itself; the file is made to deceive"
                )
            made[key] = self.one(part, f"{name}.{key}", depth)
        self._filling.remove(id(tensor))
        length = 1 + sum(self._lengths.get(id(part), 1) for part in made.values())
        if length > _MOST_PARTS:
            raise LimitError(f"{self.where}: tensor `{shown(name)}` has {length:,} parts; the file is made to deceive")
        self._lengths[id(tensor.info)] = length

    # Other values

    def values(self, state: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """`value` of each, under its name."""
        return {name: self.value(value, depth) for name, value in state.items()}

    def value(self, value: Any, depth: int) -> Any:
        """`value` as plain Python values, `Opaque` descriptions and `TensorInfo`; shared objects stay shared."""
        self._values_met += 1
        if value is None or type(value) in (str, bool, float):
            return value
        if type(value) is int:
            return value if value.bit_length() < 3 * _MOST_DIGITS else Opaque("int", (f"{value.bit_length():,} bits",))
        if id(value) in self._plain:
            return self._plain[id(value)]
        if depth > self.limits.depth:
            return Opaque("…", ())
        if isinstance(value, Storage):
            value = value.whole()
        if isinstance(value, StoredTensor):
            return self.one(value, "", depth)
        if is_container(value) or is_set(value) or isinstance(value, Opaque):
            return self._bounded(value, self._nested(value, depth + 1))
        return _single(value) if not isinstance(value, NumpyArray) else self.value(value.value, depth + 1)

    def _nested(self, value: Any, depth: int) -> Any:
        made: Any
        memo = self._plain
        if is_dict(value):
            made = memo[id(value)] = {}
            made.update((self.value(key, depth), self.value(held, depth)) for key, held in value.items())
        elif is_list(value):
            made = memo[id(value)] = []
            made.extend(self.value(held, depth) for held in value)
        elif is_tuple(value):
            made = memo[id(value)] = tuple(self.value(held, depth) for held in value)
        elif is_set(value):
            made = memo[id(value)] = type(value)(self.value(held, depth) for held in value)
        else:
            made = memo[id(value)] = Opaque(value.name)
            args, kwargs, items = (self.value(each, depth) for each in (value.args, value.kwargs, value.items))
            made.args = args if args is None or is_tuple(args) else (args,)  # "…", where there are too many
            made.kwargs = kwargs if is_dict(kwargs) else {"…": kwargs}
            made.items = items if items is None or is_dict(items) or is_list(items) else [items]
            made.state = self.value(value.state, depth)
        return made

    def _bounded(self, value: Any, made: Any) -> Any:
        """`made`, unless lists in it share lists so often that printing it would take for ever (a "billion laughs")."""
        held: Any = (made.args, made.kwargs, made.state, made.items) if isinstance(made, Opaque) else made
        lengths = self._lengths
        length = 1 + sum(lengths.get(id(each), 1) for each in held)
        if is_dict(made):
            length += sum(lengths.get(id(each), 1) for each in made.values())
        if length > _MOST_REPEATS * self._values_met:
            made = self._plain[id(value)] = Opaque("…", ())
            length = 1
        lengths[id(made)] = length
        return made


def _single(value: Any) -> Any:
    """A class that stands for itself: an element type as what it is, others by name; bytes and numbers unchanged."""
    if is_class(value):
        found: DType | None = DTYPES.get(value.full_name.removeprefix("torch."))
        return found if found is not None and value.full_name.startswith("torch.") else Opaque(value.full_name)
    if isinstance(value, NumpyDType):
        return Opaque("numpy.dtype", (value.code,))
    if isinstance(value, bytes | bytearray | complex):
        return value
    return Opaque(type(value).__name__.lstrip("_"), ())
