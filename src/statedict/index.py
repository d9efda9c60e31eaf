"""What a format's reader returns and everything else begins from: flat, validated, immutable. It holds no data."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

from statedict import accelerator
from statedict.dtypes import DType
from statedict.errors import FormatError, LimitError
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.source import Extent, Source

_MOST_DIMENSIONS = 64
_MOST_ELEMENTS = 1 << 63
_LONGEST_SHOWN = 80
EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """What is special about a tensor beyond dtype, shape and stride. Nearly all tensors share `PLAIN`."""

    byteorder: Literal["little", "big"] = "little"
    conj: bool = False
    """The values are the complex conjugates of what is stored (PyTorch's lazy conjugation bit)."""
    neg: bool = False
    """The values are the negatives of what is stored (PyTorch's lazy negation bit)."""
    layout: str = "strided"
    """PyTorch's layout: "strided", "sparse_coo", "sparse_csr", "jagged", ..."""
    parts: "Mapping[str, TensorInfo]" = field(default_factory=lambda: EMPTY)
    """The tensors that make up one that is not strided: `indices` and `values` of a sparse one, for example."""
    kind: str | None = None
    """The class of a tensor subclass."""
    attributes: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """What else the file says of it: a quantiser's scale and zero point, a subclass's state."""

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self is PLAIN:
            return "PLAIN"
        return Encoding, (
            self.byteorder,
            self.conj,
            self.neg,
            self.layout,
            dict(self.parts),
            self.kind,
            dict(self.attributes),
        )


PLAIN = Encoding()


class TensorInfo(NamedTuple):
    """Where one tensor lies and how to read it. Two names of one tensor (tied weights) share one `TensorInfo` object.

    A tuple, because that is made fastest, which shows when there are 60,000.
    """

    name: str
    """The first of its full names."""
    dtype: DType
    shape: tuple[int, ...] | None
    """None: not initialised yet (PyTorch's lazy modules)."""
    extent: Extent | None
    """The bytes from its first to its last element; None where none were stored (meta tensors) or it has `parts`."""
    stride: tuple[int, ...] | None = None
    """In elements; None: contiguous, row by row."""
    storage: Extent | None = None
    """The whole allocation that it was saved in, which other tensors may share; None: nothing but `extent`."""
    requires_grad: bool = False
    device: str = "cpu"
    """Where it lived when it was saved."""
    encoding: Encoding = PLAIN

    def __repr__(self) -> str:
        return f"TensorInfo({self.name!r}, {self.dtype}, {self.shape})"

    @property
    def numel(self) -> int:
        """Elements in all; 0 where the shape is not known."""
        return 0 if self.shape is None else math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements when they lie side by side; those of its parts, where it has parts."""
        if self.encoding.parts:
            return sum(part.nbytes for part in self.encoding.parts.values())
        return self.dtype.nbytes(self.numel)


@dataclass(frozen=True, slots=True, eq=False)
class ModuleInfo:
    """What a file says of one module beyond the tensors under its name. Two names of one module share one object."""

    kind: str | None = None
    """The name of its class ("Conv2d"), where the file tells."""
    class_name: str | None = None
    """The full name of its class ("torch.nn.modules.conv.Conv2d")."""
    attributes: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """Its other attributes, by name, as plain values, `Opaque` descriptions and `TensorInfo`."""
    parameters: tuple[str, ...] = ()
    """Local names registered as parameters, in order; one that has no tensor in the index is registered as None."""
    buffers: tuple[str, ...] = ()
    """The same for buffers. A tensor of a name in neither has a role that the file does not tell."""
    non_persistent: frozenset[str] = frozenset()
    """Those of the buffers that a state dict leaves out."""
    modules: tuple[str, ...] = ()
    """Local names registered as modules, in order, where the file tells; one not in the index is registered as None."""
    training: bool = True
    version: int | None = None
    """The version that PyTorch writes for it into a state dict's `_metadata`."""
    container: Literal["dict", "list", "tuple"] | None = None
    """The Python container that it was, where it was no module: of a nested checkpoint, for example."""
    keys: Mapping[Any, Any] = field(default_factory=lambda: EMPTY)
    """The keys of a dict by their names here, in order; none where all are texts of tensors."""


class Described(Mapping[str, TensorInfo]):
    """The tensors of an index that are no objects yet: see `columns`."""

    __slots__ = ()

    @abstractmethod
    def proved(self) -> bool:
        """Whether every tensor lies in its source and has the size that it needs. What is wrong an index says."""


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Everything that is known of a checkpoint once it is opened, in the order in which the file has it.

    Names are full and dotted. A module that is named only as part of another's or a tensor's name need not be in
    `modules`. The second name of a shared module maps to the same `ModuleInfo`, and nothing below it is listed again.
    """

    format: str
    """The name of the format that was read, as in `formats.FORMATS`."""
    source: Source
    tensors: Mapping[str, TensorInfo]
    modules: Mapping[str, ModuleInfo] = field(default_factory=lambda: EMPTY)
    metadata: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """What the file says of itself as a whole: safetensors' `__metadata__`, a torch file's version."""
    ordered: bool = True
    """Whether the order is that of the one who saved. Where the format shuffles it, numbered modules go by number."""

    def aliases(self) -> dict[str, str]:
        """The later names of tied tensors, in order, each with the first name of that tensor."""
        first: dict[int, str] = {}
        if len(set(map(id, self.tensors.values()))) == len(self.tensors):
            return {}
        return {name: at for name, info in self.tensors.items() if (at := first.setdefault(id(info), name)) != name}

    def validate(self, limits: Limits = DEFAULT_LIMITS) -> Self:
        """This index, proved: every extent lies in its source and has the size that dtype, shape and stride ask for.

        The only place that checks bounds; whoever holds a validated index need not. Raises FormatError, or LimitError.
        """
        self.require_few(limits)
        for names in (self.tensors, self.modules):
            longest = max(names, key=len, default="")
            if len(longest) > limits.name_bytes:
                raise LimitError(
                    f"{self.source.name}: the name `{shown(longest)}` has {len(longest):,} characters; "
                    f"`Limits.name_bytes` allows {limits.name_bytes:,}"
                )
            depth = max(map(str.count, names, repeat(".")), default=0)
            if depth > limits.depth:
                deepest = next(name for name in names if name.count(".") == depth)
                raise LimitError(
                    f"{self.source.name}: the name `{shown(deepest)}` is nested {depth:,} deep; "
                    f"`Limits.depth` allows {limits.depth:,}"
                )
        if not (isinstance(self.tensors, Described) and self.tensors.proved()):
            _Proof(self.source.name, limits).of(self.tensors.values())
        return self

    def require_few(self, limits: Limits) -> Self:
        """This index, proved to have few names: all that is left to prove of one that was joined of proved ones."""
        if len(self.tensors) + len(self.modules) > limits.names:
            raise LimitError(
                f"{self.source.name}: more than {limits.names:,} names; raise `Limits.names` if you trust it"
            )
        return self


def shown(name: str) -> str:
    """A name as an error's text has it: on one line, and cut where it is long."""
    text = name[: _LONGEST_SHOWN + 1]
    text = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


class _Proof:
    """That tensors are where they say. What dtype, shape and stride need is found once for each: tensors have few."""

    def __init__(self, where: str, limits: Limits) -> None:
        self._where = where
        self._limits = limits
        self._composed: set[int] = set()
        self._sizes: dict[tuple[Any, ...], int] = {}

    def of(self, infos: Iterable[TensorInfo]) -> None:
        sizes = self._sizes
        library = accelerator.headers()
        for info in library.unproved(list(infos), PLAIN, self._size) if library else infos:
            _, dtype, shape, extent, stride, storage, _, _, encoding = info
            if encoding.parts and id(info) not in self._composed:
                self._composed.add(id(info))
                self.of(encoding.parts.values())
            if shape is None:
                continue
            key = (dtype, shape, stride)
            if (needed := sizes.get(key)) is None:
                needed = sizes[key] = self._size(info)
            if extent is None:
                continue
            source, offset, size = extent
            if needed != size or offset < 0 or offset + size > source.size:
                raise self._misplaced(info, needed, extent)
            if storage is not None and not storage.offset <= offset <= offset + size <= storage.offset + storage.size:
                raise FormatError(
                    f"{self._where}: tensor `{shown(info.name)}` reaches to byte {offset + size - storage.offset:,} "
                    f"of a storage of {storage.size:,}; the file is damaged"
                )

    def _size(self, info: TensorInfo) -> int:
        """The bytes from the first to the last element of a tensor of that dtype, shape and stride."""
        where, shape, stride = f"{self._where}: tensor `{shown(info.name)}`", info.shape or (), info.stride
        if not is_possible(shape):
            raise FormatError(f"{where} has the impossible shape {shown(str(shape))}")
        if stride is None:
            return info.dtype.nbytes(math.prod(shape))
        if len(stride) != len(shape) or min(stride, default=0) < 0:
            if info.extent is None:
                return 0
            raise FormatError(f"{where} has the stride {stride}, which does not fit its shape {shape}")
        size = info.dtype.nbytes(span(shape, stride))
        if (whole := info.dtype.nbytes(math.prod(shape))) > max(size, self._limits.expanded_bytes):
            raise LimitError(
                f"{where} repeats {size:,} bytes until there are {whole:,}; "
                f"`Limits.expanded_bytes` allows {self._limits.expanded_bytes:,}"
            )
        return size

    def _misplaced(self, info: TensorInfo, needed: int, extent: Extent) -> FormatError:
        source, offset, size = extent
        where = f"{self._where}: tensor `{shown(info.name)}`"
        if needed != size:
            return FormatError(
                f"{where} takes {size:,} bytes, but {info.shape} of {info.dtype} need {needed:,}; the file is damaged"
            )
        return FormatError(
            f"{where} ends at byte {offset + size:,}, but {source.name} has {source.size:,}; "
            "it is truncated or still being written"
        )


def is_possible(shape: tuple[int, ...]) -> bool:
    """Whether a tensor can have that shape."""
    return len(shape) <= _MOST_DIMENSIONS and 0 <= min(shape, default=0) <= max(shape, default=0) < _MOST_ELEMENTS


def span(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Elements from the first to the last of a strided tensor, those between included; 0 when it has none."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The stride, in elements, of a tensor whose elements lie row by row, as PyTorch counts it."""
    stride: list[int] = []
    step = 1
    for size in reversed(shape):
        stride.append(step)
        step *= max(size, 1)
    return tuple(reversed(stride))
