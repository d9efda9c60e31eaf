"""Masks beside torch.nn.utils.prune's where that is defined, and beside a sort of everything where it is not."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

import statedict as sd
from statedict.errors import StatedictError
from statedict.expressions import nodes
from statedict.expressions.nodes import node_of
from statedict.expressions.selecting import stretches
from statedict.ops.prune import kept
from statedict.ops.prune.masks import masks
from statedict.ops.prune.methods import method_of, units
from statedict.ops.select import NamedTensor

NUMBERS = st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, np.inf, 1e-40]), max_size=30)


def entries(*arrays: Any, kind: str = "Linear") -> list[NamedTensor]:
    """Arrays as parameters of modules of one kind."""
    found: list[NamedTensor] = []
    for at, array in enumerate(arrays):
        module = sd.Module()
        module.kind = kind
        found.append(NamedTensor(f"{at}.weight", sd.Parameter(array), module, "parameter"))
    return found


def made(method: str, pruned: int, *arrays: Any, **options: Any) -> list[Any]:
    kind = options.pop("kind", "Linear")
    return masks(entries(*arrays, kind=kind), method_of(method), pruned, **options)


def distinct(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A tensor without two equal magnitudes, of any type that has so many numbers."""
    count = int(np.prod(shape))
    signs = torch.where(torch.arange(count) % 3 == 0, -1.0, 1.0)
    every = torch.arange(1, count + 1, dtype=torch.float64)[
        torch.randperm(count, generator=torch.Generator().manual_seed(0))
    ]
    return (every * signs).reshape(shape).to(dtype)


def array(tensor: torch.Tensor) -> Any:
    return tensor.float().numpy().astype(ml_dtypes.bfloat16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("amount", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_magnitude_is_torchs(dtype: torch.dtype, amount: float) -> None:
    weight = distinct(12, 20, dtype=dtype)  # bfloat16 tells 256 of them apart
    expected = prune.L1Unstructured(amount).compute_mask(weight, torch.ones_like(weight))
    (found,) = made("magnitude", round(amount * weight.numel()), array(weight))
    np.testing.assert_array_equal(found, expected.bool().numpy())


def test_global_magnitude_is_torchs() -> None:
    net = nn.ModuleList([nn.Linear(30, 20), nn.Linear(20, 50)])
    weights: list[torch.Tensor] = [layer.weight.detach().clone() for layer in net]  # type: ignore[misc]
    prune.global_unstructured([(layer, "weight") for layer in net], prune.L1Unstructured, amount=0.63)
    found = made("magnitude", round(0.63 * 1600), *map(array, weights))
    for mask, layer in zip(found, net, strict=True):
        np.testing.assert_array_equal(mask, layer.weight_mask.bool().numpy())  # type: ignore[operator]


@pytest.mark.parametrize(("method", "dim"), [("rows", 0), ("columns", 1), ("channels", 0)])
def test_whole_slices_are_torchs(method: str, dim: int) -> None:
    weight = distinct(6, 5, 3)
    expected = prune.LnStructured(3, 2, dim).compute_mask(weight, torch.ones_like(weight))
    (found,) = made(method, 3, array(weight), kind="Conv1d")
    np.testing.assert_array_equal(found, expected.bool().numpy())


@pytest.mark.parametrize(("kind", "dim"), [("ConvTranspose2d", 1), ("Conv1D", 1), ("Linear", 0)])
def test_channels_are_outputs(kind: str, dim: int) -> None:
    weight = distinct(6, 5)
    (found,) = made("channels", 2, array(weight), kind=kind)
    assert sorted(found.all(axis=1 - dim).tolist()) == [False] * 2 + [True] * (weight.shape[dim] - 2)


@given(NUMBERS, NUMBERS, st.data())
def test_ties_are_broken_in_the_order_of_the_row(one: list[float], two: list[float], data: Any) -> None:
    both = np.abs(np.array([*one, *two], np.float32))
    pruned = data.draw(st.integers(0, len(both)))
    found = np.concatenate(made("magnitude", pruned, np.array(one, np.float32), np.array(two, np.float32)))
    expected = np.zeros(len(both), bool)
    expected[np.argsort(-both.astype(np.float64), kind="stable")[: len(both) - pruned]] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("method", ["magnitude", "random", "rows"])
def test_all_equal_is_pruned_exactly(method: str, value: float) -> None:
    found = made(method, 50, np.full((100, 3), value, np.float32), np.full((100, 3), value, np.float32))
    assert sum(int((~mask).sum()) for mask in found) == (150 if method == "rows" else 50)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2**40))
def test_random_is_exact_and_more_includes_fewer(one: int, two: int, seed: int) -> None:
    arrays = np.zeros((4, 9), np.float32), np.zeros(24, np.float32)
    fewer, more = sorted((one, two))
    few = np.concatenate([mask.reshape(-1) for mask in made("random", fewer, *arrays, seed=seed)])
    many = np.concatenate([mask.reshape(-1) for mask in made("random", more, *arrays, seed=seed)])
    assert int((~few).sum()) == fewer
    assert int((~many).sum()) == more
    assert not (many & ~few).any()


def test_random_depends_on_seed_and_is_spread() -> None:
    zeros = np.zeros(10_000, np.float32)
    (one,), (same,), (other,) = (made("random", 5000, zeros, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert 4500 < (one == other).sum() < 5500
    assert all(400 < part.sum() < 600 for part in np.split(one, 10))


@pytest.mark.parametrize(
    ("method", "shape", "kind", "axis"),
    [
        ("2:4", (3, 8), "Linear", 1),
        ("4:8", (3, 16), "Linear", 1),
        ("1:2", (2, 3, 6), "Experts", 2),
        ("2:4", (3, 8, 3, 3), "Conv2d", 1),
        ("2:4", (8, 3, 3), "ConvTranspose1d", 0),
        ("2:4", (8, 3), "Conv1D", 0),
    ],
)
def test_n_of_m_along_the_inputs(method: str, shape: tuple[int, ...], kind: str, axis: int) -> None:
    n, m = map(int, method.split(":"))
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    (found,) = made(method, 0, weight, kind=kind)
    groups = np.moveaxis(np.abs(weight), axis, -1).reshape(-1, m)
    stays = np.moveaxis(found, axis, -1).reshape(-1, m)
    assert (stays.sum(axis=1) == n).all()
    assert (np.where(stays, groups, np.inf).min(axis=1) >= np.where(stays, 0, groups).max(axis=1)).all()


def test_two_of_four_of_equal_ones_are_the_first() -> None:
    (found,) = made("2:4", 0, np.ones((2, 8), np.float32))
    assert found.tolist() == [[True, True, False, False] * 2] * 2


@pytest.mark.parametrize("stretch", [1, 5, 7, 64])
@pytest.mark.parametrize("method", ["magnitude", "random", "rows", "columns", "2:4"])
def test_any_stretches_say_the_same(method: str, stretch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pruning a file block by block needs."""
    weight = np.random.default_rng(0).integers(-3, 3, size=(6, 8)).astype(np.float32)
    whole = made(method, 3, weight)[0]
    monkeypatch.setattr(nodes, "_STRETCH", stretch)
    node, shape = node_of(sd.Parameter(weight).info), weight.shape
    says = {
        "magnitude": lambda: kept.magnitude([node], 3),
        "random": lambda: kept.random([node], ["0.weight"], 3, 0),
        "rows": lambda: kept.slices([node], [shape], [0], 3),
        "columns": lambda: kept.slices([node], [shape], [1], 3),
        "2:4": lambda: [kept.NofM(node, shape, 1, 2, 4)],
    }[method]()[0]
    pieces = [says.keeps(values, start) for start, values in stretches(node)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole.reshape(-1))


@pytest.mark.parametrize("method", ["magnitude", "rows", "columns"])
@given(st.integers(0, 8), st.integers(0, 8))
def test_what_was_pruned_stays_pruned(method: str, one: int, two: int) -> None:
    few, many = sorted((one, two))
    weight = np.random.default_rng(0).integers(-2, 3, size=(9, 8)).astype(np.float32)  # with zeros of its own
    first = made(method, few, weight)
    (second,) = made(method, many, np.where(first[0], weight, 0), before=first)
    assert not (second & ~first[0]).any()
    per = {"magnitude": 1, "rows": 8, "columns": 9}[method]
    assert int((~second).sum()) == many * per


@pytest.mark.parametrize("method", ["magnitude", "random", "rows", "2:4"])
def test_nan_is_an_error_that_names_the_tensor(method: str) -> None:
    weight = np.zeros((4, 4), np.float32)
    weight[2, 1] = np.nan
    with pytest.raises(StatedictError, match=r"^tensor `1\.weight` holds NaN"):
        made(method, 1, np.ones((4, 4), np.float32), weight)


@pytest.mark.parametrize(
    ("method", "shape", "message"),
    [
        ("columns", (4,), r"tensor `0\.weight`: the shape \[4\] has no columns; leave it out"),
        ("rows", (), r"tensor `0\.weight`: the shape \[\] has no rows"),
        ("2:4", (4, 6), r"tensor `0\.weight`: the shape \[4, 6\] has no multiple of 4 in dimension 1"),
    ],
)
def test_shapes_that_do_not_allow_it(method: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(StatedictError, match=message):
        units(entries(np.zeros(shape, np.float32))[0], method_of(method))


@pytest.mark.parametrize("text", ["", "l1", "4:2", "2:2", "0:4", "2:4:8", "2:1000"])
def test_words_for_no_method(text: str) -> None:
    with pytest.raises(StatedictError, match="is no way to prune; expected magnitude, random, rows"):
        method_of(text)


def test_empty_tensors() -> None:
    found = made("magnitude", 1, np.empty((0, 3), np.float32), np.ones(2, np.float32))
    assert [mask.tolist() for mask in found] == [[], [True, False]]
    assert made("rows", 0, np.empty((0, 3), np.float32))[0].shape == (0, 3)
    assert made("2:4", 0, np.empty((0, 4), np.float32))[0].shape == (0, 4)
