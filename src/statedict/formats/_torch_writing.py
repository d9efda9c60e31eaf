"""Tensors as PyTorch pickles them, and the storages that they refer to: the inverse of `_torch` and `_stored`."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, cast

from statedict import collector
from statedict.dtypes import DType
from statedict.errors import StatedictError
from statedict.formats._objects import named, object_of
from statedict.formats._pickle_writing import Call, Global, PickleWriter, integer, integers
from statedict.formats._stored import STORAGES
from statedict.formats._zip_writing import archive
from statedict.index import PLAIN, Index, TensorInfo, contiguous, shown
from statedict.plan import Piece, Plan
from statedict.source import Extent, Source

_ARCHIVE = "archive"
_ALIGNMENT = 64
_CLASSES = {
    name: Global("torch", f"{kind}Storage") for kind, name in reversed(STORAGES.items()) if "Untyped" not in kind
}
"""The storage class of each element type that has one of its own."""
_UNTYPED = frozenset(
    (
        *("complex32", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
        *("float4_e2m1fn_x2", "uint16", "uint32", "uint64", "bits1x8", "bits2x4", "bits4x2", "bits8", "bits16"),
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
    )
)
"""The other ones: their storages are plain bytes, and each tensor tells its type."""
DTYPE_NAMES = _UNTYPED | _CLASSES.keys()
_UTILS = "torch._utils"
_V2, _V3 = Global(_UTILS, "_rebuild_tensor_v2"), Global(_UTILS, "_rebuild_tensor_v3")
_BYTES = Global("torch.storage", "UntypedStorage")
_HOOKS = Global("collections", "OrderedDict")
_LAYOUT = Global("torch.serialization", "_get_layout")
_SPARSE = {
    "sparse_coo": ("indices", "values"),
    "sparse_csr": ("crow_indices", "col_indices", "values"),
    "sparse_bsr": ("crow_indices", "col_indices", "values"),
    "sparse_csc": ("ccol_indices", "row_indices", "values"),
    "sparse_bsc": ("ccol_indices", "row_indices", "values"),
}
_NESTED = ("buffer", "nested_size", "nested_strides", "storage_offsets")


def dtype_global(dtype: DType, name: str) -> Global:
    """The name of an element type in PyTorch. Raises StatedictError, naming the tensor `name`, where it has none."""
    if dtype.name not in DTYPE_NAMES:
        raise StatedictError(
            f"tensor `{shown(name)}` is {dtype}, a type that PyTorch does not have; "
            "cast it first, to bfloat16 for example"
        )
    return Global("torch", dtype.name)


class TorchPickle(PickleWriter):
    """A pickle in which a `TensorInfo` is written as PyTorch writes a tensor. `storages` is what it refers to.

    Of `tensors` those that share bytes will share a storage.
    """

    def __init__(self, tensors: Iterable[TensorInfo] = ()) -> None:
        super().__init__()
        self.storages: list[Extent] = []
        self._numbers: dict[tuple[Extent, Global], int] = {}
        self._shared = overlapping(tensors)
        self._known_sizes: dict[Any, bytes] = {}
        self._uninitialized: list[str] = []
        self._bare: list[str] = []

    def notes(self) -> tuple[str, ...]:
        """One line for each kind of thing that the file does not hold, or not as it should be."""
        kinds = named(list(dict.fromkeys(kind for _, kind in self.left_out)))
        places = [place for place, _ in self.left_out]
        what = (
            (f"values that `torch.load(weights_only=True)` would refuse, left out ({kinds})", places),
            ("attributes of tensors left out, as a state dict has none", self._bare),
            ("not initialised, for which `torch.load` needs `weights_only=False`", self._uninitialized),
        )
        return tuple(f"{text}: {named(names)}" for text, names in what if names)

    def _tensor(self, info: TensorInfo) -> None:
        if info.extent is not None and info.encoding is PLAIN:
            self._strided(info, info.extent)
        elif self.once(info):
            self._special(info)
            self.remember(info)

    def _strided(self, info: TensorInfo, extent: Extent, flags: bytes = b"") -> None:
        """A tensor in a storage. Few frames: it runs often. `flags` is one argument more."""
        dtype, ref = info.dtype, self.ref
        whole, mixed = self._shared.get(extent, (extent, False))
        kind = None if mixed else _CLASSES.get(dtype.name)
        function, storage, itemsize = (_V2, kind, dtype.itemsize) if kind else (_V3, _BYTES, 1)
        self.parts += (
            ref(function),
            b"(",
            self._storage(whole, storage, itemsize),
            integer((extent.offset - whole.offset) // dtype.itemsize),
            self._sizes(info),
            b"\x89",
            ref(_HOOKS),
            b")R",
            b"" if kind else ref(dtype_global(dtype, info.name)),
            flags,
            b"tR",
        )

    def _storage(self, extent: Extent, kind: Global, itemsize: int) -> bytes:
        number = self._numbers.setdefault((extent, kind), len(self.storages))
        if number == len(self.storages):
            self.storages.append(extent)
        return b"".join(
            (
                b"(",
                self.ref("storage"),
                self.ref(kind),
                self.ref(str(number)),
                self.ref("cpu"),
                integer(extent.size // itemsize),
                b"tQ",
            )
        )

    def _sizes(self, info: TensorInfo) -> bytes:
        """Shape and stride, each as a tuple; few serve all tensors."""
        key = (info.shape, info.stride)
        found = self._known_sizes.get(key)
        if found is None:
            shape = info.shape or ()
            stride = contiguous(shape) if info.stride is None else info.stride
            found = self._known_sizes[key] = integers(shape) + integers(stride)
        return found

    # What only PyTorch's own files hold

    def _special(self, info: TensorInfo) -> None:
        encoding, where = info.encoding, f"tensor `{shown(info.name)}`"
        if encoding.kind is not None or encoding.byteorder == "big":
            what = encoding.kind or "stored with the big end first"
            raise StatedictError(
                f"{where} is {shown(what)}, which cannot be written; drop it, or make a plain one of it"
            )
        if encoding.attributes and encoding.layout == "strided" and not info.dtype.quantized:
            self._bare.append(info.name)
        if info.shape is None:
            kind = "UninitializedParameter" if info.requires_grad else "UninitializedBuffer"
            self._uninitialized.append(info.name)
            self.save(Call(Global("torch.nn.parameter", kind), (info.requires_grad,)))
        elif info.dtype.quantized:
            self._quantized(info)
        elif encoding.layout != "strided":
            self._composed(info)
        elif info.extent is None:
            arguments = (dtype_global(info.dtype, info.name), info.shape, info.stride or contiguous(info.shape), False)
            self.save(Call(Global(_UTILS, "_rebuild_meta_tensor_no_storage"), arguments))
        else:
            self._strided(info, info.extent, self._flags(info))

    def _flags(self, info: TensorInfo) -> bytes:
        """What says that the values are conjugated or negated as they are read."""
        bits = [bit for bit in ("conj", "neg") if getattr(info.encoding, bit)]
        return b"".join((b"}(", *(self.ref(bit) + b"\x88" for bit in bits), b"u")) if bits else b""

    def _composed(self, info: TensorInfo) -> None:
        layout, parts = info.encoding.layout, info.encoding.parts
        if layout == "nested" and all(name in parts for name in _NESTED):
            self.save(Call(Global(_UTILS, "_rebuild_nested_tensor"), tuple(parts[name] for name in _NESTED)))
            return
        if layout not in _SPARSE:
            raise StatedictError(
                f"tensor `{shown(info.name)}` has the layout {shown(layout)}, which cannot be written; "
                "drop it, or make a plain one of it"
            )
        coalesced = (info.encoding.attributes.get("is_coalesced"),) if layout == "sparse_coo" else ()
        size = Call(Global("torch", "Size"), (info.shape,))
        arguments = (*(parts[name] for name in _SPARSE[layout]), size, *coalesced)
        self.save(Call(Global(_UTILS, "_rebuild_sparse_tensor"), (Call(_LAYOUT, (f"torch.{layout}",)), arguments)))

    def _quantized(self, info: TensorInfo) -> None:
        attributes, parts, kind = info.encoding.attributes, info.encoding.parts, _CLASSES.get(info.dtype.name)
        scheme = attributes.get("qscheme")
        if kind is None or info.extent is None or not isinstance(scheme, str):
            dtype_global(info.dtype, info.name)
            raise StatedictError(f"tensor `{shown(info.name)}` lacks its quantiser; dequantise it first")
        if scheme.startswith("per_tensor"):
            quantizer = (attributes["scale"], attributes["zero_point"])
        else:
            quantizer = (parts["scales"], parts["zero_points"], attributes["axis"])
        self.parts += self.ref(Global(_UTILS, "_rebuild_qtensor")), b"("
        self.parts += self._storage(info.extent, kind, info.dtype.itemsize), b"K\x00", self._sizes(info)
        self.save((Global("torch", scheme), *quantizer))
        self.parts += b"\x89", self.ref(_HOOKS), b")RtR"

    def _dtype(self, dtype: DType) -> None:
        self.save(dtype_global(dtype, "") if dtype.name in DTYPE_NAMES else str(dtype))

    kinds: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        **PickleWriter.kinds,
        TensorInfo: _tensor,
        DType: _dtype,
    }


def overlapping(infos: Iterable[TensorInfo]) -> dict[Extent, tuple[Extent, bool]]:
    """For each extent that shares bytes with another: the stretch of all these, and whether they differ in type."""
    by_source: dict[Source, list[TensorInfo]] = {}
    for info in infos:
        if info.extent is not None and info.extent.size and not info.dtype.quantized:
            by_source.setdefault(info.extent.source, []).append(info)
    found: dict[Extent, tuple[Extent, bool]] = {}
    for source, held in by_source.items():
        if len(held) > 1:
            for group in _groups(held):
                found |= _stretch(source, group)
    return found


def _groups(infos: list[TensorInfo]) -> Iterator[list[TensorInfo]]:
    """Yield those that share bytes, directly or through others."""
    end, group = -1, list[TensorInfo]()
    for info in sorted(infos, key=lambda info: cast("Extent", info.extent)[1]):
        _, offset, size = cast("Extent", info.extent)
        if offset >= end:
            if len(group) > 1:
                yield group
            group = []
        group.append(info)
        end = max(end, offset + size)
    if len(group) > 1:
        yield group


def _stretch(source: Source, group: list[TensorInfo]) -> dict[Extent, tuple[Extent, bool]]:
    """All bytes of a group for each of its extents; nothing where these do not begin at whole elements of it."""
    extents = [cast("Extent", info.extent) for info in group]
    start, end = extents[0].offset, max(extent.offset + extent.size for extent in extents)
    sizes = {info.dtype.itemsize for info in group}
    if any((extent.offset - start) % size for extent in extents for size in sizes) or (end - start) % max(sizes):
        return {}
    whole = Extent(source, start, end - start), len({info.dtype for info in group}) > 1
    return dict.fromkeys(extents, whole)


def plan(index: Index) -> Plan:
    """The PyTorch zip archive of an index: what `torch_zip.write` says."""
    pickle = TorchPickle(index.tensors.values())
    try:
        with collector.paused():
            value, notes = object_of(index)
            pickle.save(value)
    except RecursionError:
        raise StatedictError(
            "the model is nested deeper than Python can follow; save its parts by themselves"
        ) from None
    return Plan(archived(pickle), notes + pickle.notes())


def archived(pickle: TorchPickle) -> tuple[Piece, ...]:
    """The archive of a pickle and its storages, in PyTorch's order.

    Without `.format_version`, by which PyTorch takes it that it can reckon where each storage begins from the gaps
    that its own writer leaves.
    """
    data = pickle.finished()
    number = int.from_bytes(hashlib.sha256(data).digest()[:16], "little")  # equal content makes equal files
    storages = ((f"{_ARCHIVE}/data/{key}", extent) for key, extent in enumerate(pickle.storages))
    return archive(
        (
            (f"{_ARCHIVE}/data.pkl", data),
            (f"{_ARCHIVE}/.storage_alignment", b"%d" % _ALIGNMENT),
            (f"{_ARCHIVE}/byteorder", b"little"),
            *storages,
            (f"{_ARCHIVE}/version", b"3\n"),
            (f"{_ARCHIVE}/.data/serialization_id", b"%040d" % number),
        ),
        alignment=_ALIGNMENT,
    )
