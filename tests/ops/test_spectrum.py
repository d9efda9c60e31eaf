"""Singular values beside numpy's: all of small matrices, the largest of large ones, and what stands for the rest."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import statedict
from statedict.dtypes import DTYPES
from statedict.index import TensorInfo
from statedict.ops import row_blocks, spectrum
from statedict.ops.spectrum import Spectrum
from statedict.ops.stats import stats
from statedict.source import Extent
from statedict.tree.tensor import Tensor
from tests.test_engine import Watched

FALLING: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "noise": lambda at: np.sqrt(1.2 - at / len(at)),
    "1/i": lambda at: 1 / (at + 1),
    "1/sqrt(i)": lambda at: 1 / np.sqrt(at + 1),
    "low rank and noise": lambda at: np.where(at < 12, 20.0 - at, 0.5 + 0.4 * (1 - at / len(at))),
}


def with_values(rows: int, columns: int, values: NDArray[Any]) -> NDArray[np.float32]:
    random = np.random.default_rng(1)
    left = np.linalg.qr(random.standard_normal((rows, len(values))))[0]
    right = np.linalg.qr(random.standard_normal((columns, len(values))))[0]
    return (left * values @ right.T).astype("f4")


def of(matrix: NDArray[Any], count: int = 8) -> Spectrum:
    wide = matrix.astype("f8")
    return spectrum.spectrum(Tensor(matrix).info, float(np.linalg.norm(wide)), float(np.abs(wide).max()), count)


def oracle(matrix: NDArray[Any]) -> tuple[NDArray[Any], float, float]:
    """All singular values, stable rank and effective rank, as they are defined."""
    values = np.linalg.svd(matrix.astype("f8"), compute_uv=False)
    shares = values[values > 0] / values.sum()
    return values, float((values**2).sum() / values[0] ** 2), math.exp(-float((shares * np.log(shares)).sum()))


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (60, 40), (40, 60), (33, 5000), (5000, 33)])
def test_all_of_small_ones(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_blocks, "_BLOCK", 500)
    monkeypatch.setattr(spectrum, "_BLOCK", 500)
    matrix = np.random.default_rng(0).standard_normal(shape).astype("f4")
    found, (values, stable, effective) = of(matrix), oracle(matrix)
    assert found.exact
    assert found.values == pytest.approx(values[:8].tolist(), rel=1e-12)
    assert (found.norm, found.stable_rank) == pytest.approx((values[0], stable), rel=1e-12)
    assert found.effective_rank == pytest.approx(effective, rel=1e-9)


@pytest.mark.parametrize("shape", [(400, 300), (250, 700)])
@pytest.mark.parametrize("falling", FALLING)
def test_the_largest_of_large_ones(falling: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """To a part in a million where they are apart, to one in a hundred in noise; ranks to a tenth."""
    monkeypatch.setattr(spectrum, "_WHOLE", 100)
    matrix = with_values(*shape, FALLING[falling](np.arange(min(shape))))
    found, (values, stable, effective) = of(matrix), oracle(matrix)
    close = 1e-2 if falling == "noise" else 1e-6
    assert not found.exact
    assert found.values == pytest.approx(values[:8].tolist(), rel=close)
    assert all(each <= value * (1 + 1e-6) for each, value in zip(found.values, values, strict=False))
    assert found.stable_rank == pytest.approx(stable, rel=2 * close)
    assert found.effective_rank == pytest.approx(effective, rel=0.1)


def test_ranks_that_are_low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "_WHOLE", 100)
    found = of(with_values(300, 200, np.array([4.0, 2.0, 1.0])))
    assert found.values[:3] == pytest.approx((4, 2, 1), rel=1e-6)
    assert max(found.values[3:]) < 1e-6
    assert found.stable_rank == pytest.approx(21 / 16)
    assert found.effective_rank == pytest.approx(oracle(np.diag([4.0, 2.0, 1.0]))[2], rel=1e-3)


def test_the_same_seed_gives_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "_WHOLE", 10)
    matrix = np.random.default_rng(0).standard_normal((120, 90)).astype("f4")
    assert of(matrix) == of(matrix)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
@pytest.mark.parametrize("whole", [10, 1000])
def test_numbers_of_which_squares_overflow(scale: float, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "_WHOLE", whole)
    matrix = with_values(50, 40, 1.0 / np.arange(1, 41)).astype("f8") * scale
    found = spectrum.spectrum(Tensor(matrix).info, scale * float(np.linalg.norm(matrix / scale)), scale / 2, 3)
    assert np.array(found.values) / scale == pytest.approx((1, 0.5, 1 / 3), rel=1e-6)
    assert found.effective_rank == pytest.approx(oracle(matrix / scale)[2], rel=0.1)


def test_zeros_and_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for whole in (1000, 10):
        monkeypatch.setattr(spectrum, "_WHOLE", whole)
        found = of(np.zeros((30, 20), "f4"), 3)
        assert (found.values, found.stable_rank, found.effective_rank) == ((0, 0, 0), 0, 0)


def test_memory_is_that_of_thin_matrices() -> None:
    """It is read by as many rows as make a million elements."""
    matrix = np.random.default_rng(0).standard_normal((1025, 2000)).astype("f2")
    source = Watched(matrix.tobytes())
    info = TensorInfo("w", DTYPES["float16"], matrix.shape, Extent(source, 0, source.size))
    spectrum.spectrum(info, math.sqrt(matrix.size), 5.0, 1)
    passes, left = divmod(sum(size for _, size in source.reads), source.size)
    assert left == 0
    assert passes <= spectrum._MOST_PASSES + spectrum._STEPS
    assert max(size for _, size in source.reads) <= 2 * row_blocks._BLOCK


# Through `stats`


def test_kernels_are_matrices_of_outputs() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 5, 2), nn.Linear(4, 6), nn.BatchNorm2d(2))
    net[0].to(memory_format=torch.channels_last)  # type: ignore[call-overload]  torch documents it
    found = {each.name: each.spectrum for each in stats(statedict.open(net), spectrum=4).tensors}
    kernels = {
        "0.weight": net[0].get_parameter("weight").reshape(8, -1),
        "1.weight": net[1].get_parameter("weight").transpose(0, 1).reshape(5, -1),
        "2.weight": net[2].get_parameter("weight"),
    }
    for name, each in found.items():
        if name not in kernels:
            assert each is None
        else:
            assert each is not None
            values = torch.linalg.svdvals(kernels[name].detach().double())
            assert each.values == pytest.approx(values[:4].tolist(), rel=1e-12)


def test_transposed_and_lazily_edited_ones() -> None:
    weight = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    model = statedict.open({"t": weight.T, "e": weight})
    edited = statedict.cast(model, "bf16")
    expected = torch.linalg.svdvals(weight.bfloat16().double())[:8].tolist()
    for each in stats(edited, spectrum=8).tensors:
        assert each.spectrum is not None
        assert each.spectrum.values == pytest.approx(expected, rel=1e-12)


def test_what_has_no_spectrum_has_none() -> None:
    broken = torch.ones(3, 3)
    broken[1, 1] = float("inf")
    tensors = {"inf": broken, "int": torch.ones(3, 3, dtype=torch.int64), "bias": torch.ones(3), "e": torch.ones(0, 3)}
    found = stats(statedict.open({**tensors, "complex": torch.ones(3, 3, dtype=torch.complex64)}), spectrum=2)
    assert [each.name for each in found.tensors if each.spectrum is not None] == []
