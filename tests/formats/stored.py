"""Reading an index and its values in the simplest way there is, and comparing them to torch's bit for bit."""

import io
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided

from statedict import formats
from statedict.index import Index, TensorInfo, contiguous
from statedict.limits import DEFAULT_LIMITS, Limits
from statedict.source import BytesSource, Source

NAME = "net.pt"


class CountingSource(BytesSource):
    """Bytes that count how many of them were read."""

    __slots__ = ("read_bytes",)

    def __init__(self, data: bytes, name: str = NAME) -> None:
        super().__init__(data, name)
        self.read_bytes = 0

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        self.read_bytes += len(buffer)
        super().readinto_at(offset, buffer)


def index_of(data: bytes | Source, format: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Index:
    source = data if isinstance(data, Source) else BytesSource(data, NAME)
    return formats.read(source, limits, format)


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def saved_in_stream(value: Any, **options: Any) -> bytes:
    return saved(value, _use_new_zipfile_serialization=False, **options)


def loaded(data: bytes) -> Any:
    """What torch itself makes of a file."""
    return torch.load(io.BytesIO(data), weights_only=False)


def elements(info: TensorInfo) -> bytes:
    """The bytes of a strided tensor's elements, row by row, with the little end first."""
    assert info.shape is not None
    assert info.extent is not None
    size = info.dtype.itemsize
    stored = np.frombuffer(info.extent.read(), f"V{size}")
    stride = info.stride if info.stride is not None else contiguous(info.shape)
    if 0 in info.shape:
        return b""
    view = as_strided(stored, info.shape, [step * size for step in stride])
    plain = np.frombuffer(view.tobytes(), "u1")
    if info.encoding.byteorder == "big":
        unit = size // 2 if info.dtype.is_complex else size
        plain = plain.reshape(-1, unit)[:, ::-1]
    return plain.tobytes()


def bits(tensor: torch.Tensor) -> bytes:
    """The bytes of a live tensor's elements as they are stored, row by row."""
    plain = tensor.detach()
    if plain.is_conj():
        plain = plain.conj()
    if plain.is_neg():
        plain = -plain.resolve_neg()
    plain = plain.as_subclass(torch.Tensor)
    row = torch.empty(plain.numel(), dtype=plain.dtype).copy_(plain.reshape(-1))
    return row.view(torch.uint8).numpy().tobytes()


def assert_same(info: TensorInfo, tensor: torch.Tensor) -> None:
    """Shape, dtype, stride, bits and flags of a strided tensor are those of the live one."""
    assert info.shape is not None
    assert info.shape == tuple(tensor.shape), info.name
    assert str(info.dtype) == str(tensor.dtype).removeprefix("torch."), info.name
    assert (info.stride or contiguous(info.shape)) == tuple(tensor.stride()), info.name
    assert info.requires_grad == tensor.requires_grad, info.name
    assert info.encoding.conj == tensor.is_conj(), info.name
    assert info.encoding.neg == tensor.is_neg(), info.name
    assert elements(info) == bits(tensor), info.name


def assert_same_tensors(index: Index, expected: dict[str, torch.Tensor]) -> None:
    assert list(index.tensors) == list(expected)
    for name, tensor in expected.items():
        assert_same(index.tensors[name], tensor)
