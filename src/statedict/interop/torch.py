"""Tensors to PyTorch and from it, bit for bit. Loaded when a user asks for a `torch.Tensor` or passes one."""
# PyTorch exports little of what takes tensors apart and puts them together, and types less of it.
# pyright: reportPrivateImportUsage=false, reportPrivateUsage=false, reportUnknownMemberType=false

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from statedict.dtypes import DTYPES
from statedict.errors import MissingExtraError
from statedict.index import EMPTY, PLAIN, Encoding, TensorInfo, contiguous, span
from statedict.source import BytesSource, Extent, Source
from statedict.tree import reading

try:
    import torch
except ImportError as error:
    raise MissingExtraError("PyTorch is not installed; install it with `pip install 'statedict[torch]'`") from error

_COMPRESSED = {
    "sparse_csr": ("crow_indices", "col_indices"),
    "sparse_bsr": ("crow_indices", "col_indices"),
    "sparse_csc": ("ccol_indices", "row_indices"),
    "sparse_bsc": ("ccol_indices", "row_indices"),
}


def to_torch(info: TensorInfo, requires_grad: bool = False, parameter: bool = False) -> torch.Tensor:
    """The tensor that a description stands for, on the CPU: every bit as it was saved, the conjugate bit included.

    A meta tensor comes as one, an uninitialised one as `UninitializedParameter` or `UninitializedBuffer`. Raises
    TypeError where PyTorch has no such element type, or for a tensor subclass made of parts.
    """
    if info.shape is None:
        kind = torch.nn.UninitializedParameter if parameter else torch.nn.UninitializedBuffer
        return kind(requires_grad=requires_grad)
    made = _made(info)
    if parameter:
        return torch.nn.Parameter(made, requires_grad)
    return made.requires_grad_(requires_grad) if requires_grad else made


def _made(info: TensorInfo) -> torch.Tensor:
    layout = info.encoding.layout
    if layout in _COMPRESSED or layout in _COMPOSED:
        parts = {name: _made(part) for name, part in info.encoding.parts.items()}
        return _compressed(info, parts) if layout in _COMPRESSED else _COMPOSED[layout](info, parts)
    if info.device == "meta" and info.extent is None:
        shape = info.shape or ()
        return torch.empty_strided(shape, info.stride or contiguous(shape), dtype=_dtype(info), device="meta")
    if info.dtype.quantized and not info.dtype.block_bytes:
        return _quantized(info)
    made = _strided(info)
    made = made.conj() if info.encoding.conj else made
    return torch._neg_view(made) if info.encoding.neg else made


def _dtype(info: TensorInfo) -> torch.dtype:
    found = getattr(torch, info.dtype.name, None)
    if not isinstance(found, torch.dtype):
        raise TypeError(f"tensor `{info.name}`: PyTorch {torch.__version__} has no {info.dtype}; use `.numpy()`")
    return found


def _strided(info: TensorInfo) -> torch.Tensor:
    shape = info.shape or ()
    if info.dtype.name == "f4" and shape and shape[-1] % 2 == 0:
        halved = reading.encode(reading.read(info), info.dtype).reshape(*shape[:-1], shape[-1] // 2)
        return torch.from_numpy(halved).view(torch.float4_e2m1fn_x2)
    kind = _dtype(info)
    stored = reading.patterns(info).reshape(-1).view("u1")
    return torch.from_numpy(stored).view(kind).reshape(shape)


def _quantized(info: TensorInfo) -> torch.Tensor:
    reading.require_values(info)
    shape, attributes = info.shape or (), info.encoding.attributes
    scheme = str(attributes.get("qscheme"))
    if scheme.startswith("per_tensor"):
        made = torch._empty_affine_quantized(
            shape, scale=attributes["scale"], zero_point=attributes["zero_point"], dtype=_dtype(info)
        )
    else:
        made = torch._empty_per_channel_affine_quantized(
            shape,
            scales=_made(info.encoding.parts["scales"]),
            zero_points=_made(info.encoding.parts["zero_points"]),
            axis=attributes["axis"],
            dtype=_dtype(info),
        )
    if info.dtype.bits < 8:
        stored = reading.encode(reading.codes(info).view(info.dtype.to_numpy()), info.dtype)
    else:
        stored = reading.patterns(info).reshape(-1).view("u1")
    return made.set_(torch.from_numpy(stored).untyped_storage(), 0, shape, contiguous(shape))


def _compressed(info: TensorInfo, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    pointers, plain = _COMPRESSED[info.encoding.layout]
    return torch.sparse_compressed_tensor(
        parts[pointers],
        parts[plain],
        parts["values"],
        info.shape or (),
        layout=getattr(torch, info.encoding.layout),
        check_invariants=True,
    )


def _coo(info: TensorInfo, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.sparse_coo_tensor(
        parts["indices"],
        parts["values"],
        info.shape or (),
        check_invariants=True,
        is_coalesced=info.encoding.attributes.get("is_coalesced"),
    )


def _nested(info: TensorInfo, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    names = ("buffer", "nested_size", "nested_strides", "storage_offsets")
    return torch._nested_view_from_buffer(*(parts[name] for name in names))


def _jagged(info: TensorInfo, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.nested.nested_tensor_from_jagged(
        parts["values"], parts["offsets"], parts.get("lengths"), info.encoding.attributes.get("ragged_idx", 1)
    )


_COMPOSED: dict[str, Callable[[TensorInfo, Mapping[str, torch.Tensor]], torch.Tensor]] = {
    "sparse_coo": _coo,
    "nested": _nested,
    "jagged": _jagged,
}


class StorageSource(Source):
    """The memory of live tensors, on whatever device: what is written there later is read here."""

    __slots__ = ("__weakref__", "_storage")

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self._storage = storage
        self.name = "a torch.Tensor"
        self.size = storage.nbytes()

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        if len(buffer):
            held = torch.empty(0, dtype=torch.uint8, device=self._storage.device).set_(self._storage)
            buffer[:] = held[offset : offset + len(buffer)].cpu().numpy().data

    def __reduce__(self) -> tuple[Any, ...]:
        return BytesSource, (self.read_at(0, self.size), self.name)


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether its shape is not known before its module's first `forward`."""
    return torch.nn.parameter.is_lazy(tensor)


def describe(tensor: torch.Tensor, name: str = "", sources: MutableMapping[int, Source] | None = None) -> TensorInfo:
    """The description of a live tensor, which keeps its memory: what is written there later is read here.

    `sources` remembers the storages met before, so that views of one storage stay views of one. Raises TypeError for a
    tensor whose memory PyTorch does not show: nested ones, subclasses without storage.
    """
    sources = {} if sources is None else sources
    grad, device = tensor.requires_grad, str(tensor.device)
    if is_lazy(tensor):
        return TensorInfo(name, DTYPES[_name(tensor.dtype)], None, None, requires_grad=grad, device=device)
    tensor = tensor.detach()
    dtype, shape = DTYPES[_name(tensor.dtype)], tuple(tensor.shape)
    if tensor.layout is not torch.strided or tensor.is_nested:
        return TensorInfo(name, dtype, shape, None, None, None, grad, device, _parts(tensor, name, sources))
    stride = None if tensor.stride() == contiguous(shape) else tuple(tensor.stride())
    if tensor.is_meta:
        return TensorInfo(name, dtype, shape, None, stride, None, grad, device)
    storage = _storage(tensor, sources)
    start = int(tensor.storage_offset()) * dtype.bits // 8
    extent = Extent(storage, start, dtype.nbytes(span(shape, tuple(tensor.stride()))))
    whole = None if extent.size == storage.size else Extent(storage, 0, storage.size)
    return TensorInfo(name, dtype, shape, extent, stride, whole, grad, device, _encoding(tensor, name, sources))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _storage(tensor: torch.Tensor, sources: MutableMapping[int, Source]) -> Source:
    storage = tensor.untyped_storage()
    address = storage.data_ptr()
    found = sources.get(address)
    if found is None or address == 0 or found.size != storage.nbytes():
        found = sources[address] = StorageSource(storage)
    return found


def _encoding(tensor: torch.Tensor, name: str, sources: MutableMapping[int, Source]) -> Encoding:
    if tensor.is_quantized:
        return _quantizer(tensor, name, sources)
    return Encoding(conj=tensor.is_conj(), neg=tensor.is_neg()) if tensor.is_conj() or tensor.is_neg() else PLAIN


def _quantizer(tensor: torch.Tensor, name: str, sources: MutableMapping[int, Source]) -> Encoding:
    scheme = str(tensor.qscheme()).removeprefix("torch.")
    if scheme.startswith("per_tensor"):
        return Encoding(attributes={"qscheme": scheme, "scale": tensor.q_scale(), "zero_point": tensor.q_zero_point()})
    parts = {"scales": tensor.q_per_channel_scales(), "zero_points": tensor.q_per_channel_zero_points()}
    described = {part: describe(value, f"{name}.{part}", sources) for part, value in parts.items()}
    return Encoding(parts=described, attributes={"qscheme": scheme, "axis": tensor.q_per_channel_axis()})


def _parts(tensor: torch.Tensor, name: str, sources: MutableMapping[int, Source]) -> Encoding:
    layout = str(tensor.layout).removeprefix("torch.")
    attributes: Mapping[str, Any] = EMPTY
    if layout == "sparse_coo":
        parts = {"indices": tensor._indices(), "values": tensor._values()}
        attributes = {"is_coalesced": tensor.is_coalesced()}
    elif layout in _COMPRESSED:
        parts = {part: getattr(tensor, part)() for part in (*_COMPRESSED[layout], "values")}
    else:
        raise TypeError(f"a torch.Tensor of layout {tensor.layout} cannot be taken apart; make it strided first")
    described = {part: describe(value, f"{name}.{part}", sources) for part, value in parts.items()}
    return Encoding(layout=layout, parts=described, attributes=attributes)
