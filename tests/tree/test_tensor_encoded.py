"""Tensors that are no plain strided floats: packed, quantised, sparse, conjugated; and those without values."""

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch.nn.parameter import is_lazy

from statedict.dtypes import dtype
from statedict.expressions.nodes import recast as cast
from statedict.index import Encoding
from statedict.source import BytesSource
from statedict.tree.reading import encode
from statedict.tree.tensor import Tensor
from tests.tensors import described


@pytest.mark.parametrize(
    ("kind", "stored"), [("float32", ">f4"), ("complex64", ">c8"), ("int16", ">i2"), ("uint8", "u1")]
)
def test_big_endian(kind: str, stored: str) -> None:
    values = np.arange(6).astype(stored).reshape(2, 3)
    tensor = described(BytesSource(values.tobytes()), kind, (2, 3), encoding=Encoding(byteorder="big"))
    np.testing.assert_array_equal(tensor.numpy(), values)
    assert tensor.numpy().dtype.isnative
    np.testing.assert_array_equal(tensor.torch().numpy(), values.astype(values.dtype.newbyteorder("=")))
    np.testing.assert_array_equal(Tensor(cast(tensor.info, dtype("float64")))[1].numpy(), values[1].real.astype("f8"))


def test_conjugates_and_negatives() -> None:
    value = torch.complex(torch.arange(3.0), torch.ones(3)).conj()
    assert Tensor(value).torch().is_conj()
    np.testing.assert_array_equal(Tensor(value).numpy(), value.resolve_conj().numpy())
    np.testing.assert_array_equal(Tensor(value.imag).numpy(), value.imag.resolve_neg().numpy())
    assert Tensor(value.imag).torch().is_neg()


@pytest.mark.parametrize(
    ("kind", "data", "values"),
    [
        ("f4", bytes([0x21, 0xF7]), [0.5, 1.0, 6.0, -6.0]),  # the first value in the low bits
        ("f6_e2m3", (1 | 8 << 6 | 0b011111 << 12 | 0b101000 << 18).to_bytes(3, "little"), [0.125, 1.0, 7.5, -1.0]),
        ("f6_e3m2", (1 | 12 << 6 | 0b011111 << 12 | 0b101100 << 18).to_bytes(3, "little"), [0.0625, 1.0, 28.0, -1.0]),
    ],
)
def test_packed_types(kind: str, data: bytes, values: list[float]) -> None:
    tensor = described(BytesSource(data), kind, (4,))
    assert tensor.tolist() == values
    assert bytes(encode(tensor.numpy(), tensor.dtype)) == data
    assert Tensor(tensor.numpy()).dtype is tensor.dtype
    if kind == "f4":
        assert tensor[2:].tolist() == values[2:]
        assert tensor.torch().view(torch.uint8).tolist() == list(data)
    with pytest.raises(TypeError, match=r"begins inside a byte; use `.numpy\(\)\[...\]`"):
        tensor[1:]


def test_large_packed_tensors_are_unpacked_block_by_block() -> None:
    data = np.random.default_rng(0).integers(0, 256, 200_001, "u1")
    tensor = described(BytesSource(data.tobytes()), "f4", (400_002,))
    expected = np.stack([data & 15, data >> 4], 1).reshape(-1).view(ml_dtypes.float4_e2m1fn)
    np.testing.assert_array_equal(tensor.numpy().astype("f4"), expected.astype("f4"))


def quantized(scheme: str) -> torch.Tensor:
    values, scales = torch.linspace(-2, 2, 40).reshape(5, 8), torch.linspace(0.1, 0.5, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if scheme == "tensor":
            return torch.quantize_per_tensor(values, 0.1, 3, torch.qint8)
        if scheme == "wide":
            return torch.quantize_per_tensor(values, 0.1, 3, torch.qint32)
        if scheme == "packed":
            return torch.quantize_per_channel(values, scales, torch.linspace(0, 2, 5), 0, torch.quint4x2)
        return torch.quantize_per_channel(values, scales, torch.arange(5), 0, torch.quint8)


@pytest.mark.parametrize("scheme", ["tensor", "wide", "packed", "channel"])
def test_quantised(scheme: str) -> None:
    live = quantized(scheme)
    ours = Tensor(live)
    assert ours.is_quantized
    assert ours.qscheme() == str(live.qscheme()).removeprefix("torch.")
    np.testing.assert_allclose(ours.dequantize().numpy(), live.dequantize().numpy(), rtol=1e-6, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = ours.torch()
    assert (back.dtype, back.qscheme()) == (live.dtype, live.qscheme())
    assert bytes(np.asarray(back.untyped_storage())) == bytes(np.asarray(live.untyped_storage()))
    if scheme != "packed":
        np.testing.assert_array_equal(ours.int_repr().numpy(), live.int_repr().numpy())
    with pytest.raises(
        TypeError,
        match=r"`.dequantize\(\)` gives its values, `.int_repr\(\)` its codes",
    ):
        ours.numpy()


def test_quantiser_of_one_scale() -> None:
    ours = Tensor(quantized("tensor"))
    assert (ours.q_scale(), ours.q_zero_point()) == (0.1, 3)
    with pytest.raises(TypeError, match="has no scale: it is quantised by per_channel_affine"):
        Tensor(quantized("channel")).q_scale()
    with pytest.raises(TypeError, match="is not quantised"):
        Tensor(np.zeros(2)).dequantize()


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc", "batch", "hybrid"])
def test_sparse(layout: str) -> None:
    plain = torch.arange(48.0).reshape(4, 12) * (torch.arange(48).reshape(4, 12) % 5 == 0)
    make: dict[str, Any] = {
        "coo": lambda: torch.sparse_coo_tensor(torch.tensor([[0, 0, 2], [1, 1, 3]]), [1.0, 2.0, 3.0], (4, 12)),
        "csr": plain.to_sparse_csr,
        "csc": plain.to_sparse_csc,
        "bsr": lambda: plain.to_sparse_bsr((2, 3)),
        "bsc": lambda: plain.to_sparse_bsc((2, 3)),
        "batch": lambda: torch.stack([plain, plain]).to_sparse_csr(),
        "hybrid": lambda: plain.reshape(4, 4, 3).to_sparse(1),
    }
    live = make[layout]()
    ours = Tensor(live)
    assert "values" in ours.parts
    np.testing.assert_array_equal(ours.to_dense().numpy(), live.to_dense().numpy())
    assert ours.torch().layout == live.layout
    assert torch.equal(ours.torch().to_dense(), live.to_dense())
    for refused in (ours.numpy, lambda: ours[0]):
        with pytest.raises(TypeError, match=r"use `.to_dense\(\)`"):
            refused()


def test_what_has_no_values_says_so() -> None:
    meta = Tensor(torch.empty(2, 3, device="meta"))
    assert (meta.shape, meta.nbytes, meta[0].shape) == ((2, 3), 24, (3,))
    assert meta.torch().is_meta
    with pytest.raises(TypeError, match="saved from the meta device without its values"):
        meta.numpy()
    lazy = Tensor(torch.nn.LazyLinear(3).weight)
    assert (lazy.shape, lazy.numel()) == (None, 0)
    assert is_lazy(lazy.torch())
    for refused in (lazy.numpy, lazy.dim, lazy.size, lambda: lazy[0]):
        with pytest.raises(ValueError, match="is uninitialised"):
            refused()
