"""Dead rows, columns and channels, and N:M patterns, beside a slow, plain oracle; in one pass over bounded blocks."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from statedict import engine
from statedict.accelerator import BLOCK
from statedict.dtypes import DTYPES
from statedict.engine import Placed, run
from statedict.index import TensorInfo
from statedict.ops.spectrum import as_matrix
from statedict.source import Extent
from statedict.structure import GROUPS, MOST_INDICES, Structure, finding, is_not_zero, layout
from statedict.tree.tensor import Tensor
from tests.numbers import ALL, computing, random_elements
from tests.test_engine import Watched

__all__ = ["computing"]  # a fixture


def oracle(values: NDArray[Any], axes: tuple[int, int], inputs: int) -> tuple[list[int], list[int], dict[int, int]]:
    """The dead indices along two axes, and the most elements other than zero in groups of inputs, one at a time."""
    there = values != 0
    first, second = ([at for at, each in enumerate(np.moveaxis(there, axis, 0)) if not each.any()] for axis in axes)
    along = np.moveaxis(there, inputs, 0)
    most: dict[int, int] = {}
    for group in GROUPS:
        if len(along) % group == 0:
            starts = range(0, len(along), group)
            most[group] = max(int(along[at : at + group].sum(axis=0).max(initial=0)) for at in starts)
    return first, second, most


def found_in(info: TensorInfo, kind: str | None = None, **how: Any) -> Structure:
    where = layout(info, kind)
    assert where is not None
    ((summary, found),) = run([finding(info, where)], **how)
    assert summary.count == info.numel
    return found


def assert_found(found: Structure, expected: tuple[list[int], list[int], dict[int, int]]) -> None:
    outputs, inputs = found.dead.values()
    first, second, most = expected
    assert (list(outputs.indices), list(inputs.indices), dict(found.patterns)) == (first[:MOST_INDICES], second, most)
    assert (outputs.count, inputs.count) == (len(expected[0]), len(expected[1]))


def sparse(shape: tuple[int, ...], seed: int, share: float) -> NDArray[np.float32]:
    """Numbers of which a share is zero, some of either sign, and some whole rows and columns."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape, "f4")
    values[random.random(shape) < share] = 0
    values[random.random(shape[0]) < 0.2] = 0
    values[:, random.random(shape[1]) < 0.2] = -0.0
    return values


@given(
    st.tuples(st.integers(1, 33), st.integers(1, 33)),
    st.sampled_from([(), (3,), (3, 3), (1, 2, 2)]),
    st.sampled_from([None, "Conv2d", "ConvTranspose2d", "Conv1D", "Linear"]),
    st.booleans(),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.integers(5, 300),
    st.integers(0, 1 << 20),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_cut_finds_what_the_oracle_does(
    sizes: tuple[int, int], kernel: tuple[int, ...], kind: str | None, turned: bool, share: float, cut: int, seed: int
) -> None:
    values = sparse((*sizes, *kernel), seed, share)
    if kind is None or kind[-1] != "d":  # a matrix, or a stack of them
        values = values.reshape(-1, values.shape[-1])
    tensor = torch.from_numpy(values.T.copy()).T if turned and values.ndim == 2 else torch.from_numpy(values)
    transposed = values.ndim > 2 and kind == "ConvTranspose2d"
    expected = oracle(values, (1, 0) if transposed else (0, 1), 0 if transposed or kind == "Conv1D" else 1)
    info = Tensor(tensor).info
    where = layout(info, kind)
    assert where is not None
    job = finding(info, where)
    flat = engine.in_any_order(info)
    elements = Tensor(flat).numpy().reshape(-1)
    assert isinstance(job.kernel, Placed)
    assert job.finish is not None
    whole = None
    for start in range(0, len(elements), cut):
        value = job.kernel.at(start)(flat.dtype, elements[start : start + cut])
        whole = value if whole is None else job.merge(whole, value)
    summary, found = job.finish(whole)
    assert summary.zeros == int((values == 0).sum())
    assert_found(found, expected)


@pytest.mark.parametrize("name", ALL)
def test_zeros_of_every_type(computing: str, name: str) -> None:
    values = random_elements(name, 64 * 48)
    values[: 48 * 3] = np.zeros((), values.dtype)
    with np.errstate(invalid="ignore"):
        wide = values.astype("c16") if DTYPES[name].is_complex else values.astype("f8")
        wide = np.where(wide != 0, 1.0, 0.0)
    assert is_not_zero(DTYPES[name], values).tolist() == (wide != 0).tolist()
    found = found_in(Tensor(values.reshape(64, 48)).info)
    assert_found(found, oracle(wide.reshape(64, 48), (0, 1), 1))


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize(
    ("shape", "kind"),
    [((40, 40_000), None), ((40_000, 40), None), ((70, 256, 5, 5), "Conv2d"), ((1000, 333), "Conv1D")],
)
def test_large_ones_in_many_blocks(shape: tuple[int, ...], kind: str | None, few: bool, computing: str) -> None:
    values = np.random.default_rng(0).standard_normal(shape, "f4")
    values[3], values[:, 17] = 0, 0
    if not few:
        values[np.random.default_rng(1).random(shape) < 0.4] = 0
    found = found_in(Tensor(values).info, kind, threads=3)
    assert_found(found, oracle(values, (0, 1), 0 if kind == "Conv1D" else 1))


def test_a_dead_index_that_the_blocks_end_cuts_in_two() -> None:
    """Where a stretch goes round an axis and meets its first index again, neither part alone tells."""
    values = np.ones((2 * BLOCK, 3), "f4")
    values[0, 0] = 0
    values.reshape(-1)[BLOCK * 2 - 1] = 0
    values[::2, 1] = 0
    assert_found(found_in(Tensor(values).info), oracle(values, (0, 1), 1))


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("turned", [False, True])
def test_patterns_of_sparse_tensor_cores(most: int, turned: bool) -> None:
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    kept = weight.abs().reshape(48, 16, 4).argsort(dim=2).argsort(dim=2) >= 4 - most
    weight = weight * kept.reshape(48, 64)
    found = found_in(Tensor(weight.T.contiguous().T if turned else weight).info)
    assert found.pattern == (most, 4)
    assert dict(found.patterns) == {4: most, 8: 2 * most, 16: 4 * most}
    weight[5, 60:] = 1.0
    found = found_in(Tensor(weight).info)
    assert found.patterns[4] == 4
    assert found.pattern == (most + 4, 8)


def test_a_convolutions_channels_are_its_inputs() -> None:
    """Two of four input channels at each place of the kernel, as tensor cores ask for once it is laid out."""
    weight = torch.randn(6, 16, 3, 3)
    weight.view(6, 4, 4, 3, 3)[:, :, :2] = 0
    weight[4] = 0
    found = found_in(Tensor(weight).info, "Conv2d")
    assert (found.pattern, list(found.dead)) == ((2, 4), ["output_channels", "input_channels"])
    assert found.dead["output_channels"].indices == (4,)
    assert found.dead["input_channels"].indices == (0, 1, 4, 5, 8, 9, 12, 13)
    last = weight.to(memory_format=torch.channels_last)
    assert found_in(Tensor(last).info, "Conv2d") == found


@pytest.mark.parametrize(
    ("kind", "outputs", "inputs"),
    [
        ("Conv2d", 0, 1),
        ("LazyConvTranspose2d", 1, 0),
        ("Conv2D", 3, 2),
        ("Conv2DTranspose", 2, 3),
    ],
)
def test_where_libraries_have_their_channels(kind: str, outputs: int, inputs: int) -> None:
    values = np.ones((5, 4, 8, 3), "f4")
    np.moveaxis(values, outputs, 0)[1] = 0
    np.moveaxis(values, inputs, 0)[2] = 0
    found = found_in(Tensor(values).info, kind)
    assert {name: each.indices for name, each in found.dead.items()} == {
        "output_channels": (1,),
        "input_channels": (2,),
    }
    matrix = as_matrix(Tensor(values).info, kind)
    assert matrix is not None
    assert matrix.shape == (values.shape[outputs], values.size // values.shape[outputs])
    rows = np.moveaxis(values, outputs, 0).reshape(values.shape[outputs], -1)
    assert Tensor(matrix).numpy().tolist() == rows.tolist()


def test_nan_is_no_zero() -> None:
    weight = torch.zeros(4, 4)
    weight[1, 2] = float("nan")
    found = found_in(Tensor(weight).info)
    assert (found.dead["rows"].indices, found.dead["columns"].indices) == ((0, 2, 3), (0, 1, 3))
    assert found.patterns == {4: 1}


def test_what_has_no_rows_has_no_structure() -> None:
    assert layout(Tensor(torch.ones(5)).info, "Linear") is None
    assert layout(Tensor(torch.ones(())).info, None) is None
    assert layout(Tensor(torch.ones(4, 3, 2).permute(0, 2, 1)).info, None) is None  # a stack that lies otherwise


def test_indices_are_kept_up_to_a_bound() -> None:
    found = found_in(Tensor(torch.zeros(2 * MOST_INDICES, 2)).info)
    assert (found.dead["rows"].count, len(found.dead["rows"].indices)) == (2 * MOST_INDICES, MOST_INDICES)


def test_every_byte_is_read_once_in_bounded_blocks() -> None:
    values = np.random.default_rng(0).standard_normal((1500, 999), "f4")
    values[np.random.default_rng(1).random(values.shape) < 0.5] = 0
    source = Watched(values.tobytes())
    info = TensorInfo("w", DTYPES["float32"], values.shape, Extent(source, 0, source.size))
    found_in(info, threads=1)
    assert sum(size for _, size in source.reads) == source.size
    assert max(size for _, size in source.reads) <= 1 << 22
