"""Tensors put together beside torch's, whole and in ragged pieces."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import statedict as sd
from statedict.expressions.nodes import settled
from statedict.tree.tensor import Tensor

TYPES = ("uint8", "int16", "float32", "bfloat16", "float64", "complex64", "complex128")
SIDES = st.integers(0, 5)


def live(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    dtype = getattr(torch, name)
    return torch.arange(1, math.prod(shape) + 1).reshape(shape).to(dtype)


def bits(tensor: torch.Tensor) -> bytes:
    return (
        tensor.reshape(-1).clone(memory_format=torch.contiguous_format).view(torch.uint8).numpy().tobytes()
        if tensor.numel()
        else b""
    )


def assert_same(ours: Tensor, theirs: torch.Tensor, seed: int = 0) -> None:
    """The same type, shape and bits, read at once, and written as files hold them, in pieces that begin anywhere."""
    assert (str(ours.dtype), ours.shape) == (str(theirs.dtype).removeprefix("torch."), tuple(theirs.shape))
    expected = bits(theirs)
    assert ours.numpy().tobytes() == expected
    extent = settled(ours.info).extent
    assert extent is not None
    assert extent.size == len(expected)
    ragged, at = random.Random(seed), 0
    while at < len(expected):
        size = min(ragged.randint(1, 1 + len(expected) // 3), len(expected) - at)
        assert extent.source.read_at(extent.offset + at, size) == expected[at : at + size]
        at += size


@st.composite
def arranged(draw: st.DrawFn) -> tuple[Tensor, torch.Tensor]:
    """A tensor, and torch's of the same values, after a few views, joins and reshapes of both."""
    theirs = live(draw(st.sampled_from(TYPES)), tuple(draw(st.lists(SIDES, max_size=4))))
    ours = Tensor(theirs)
    for _ in range(draw(st.integers(0, 4))):
        change = draw(changes_of(theirs))
        ours, theirs = change(ours), change(theirs)
    return ours, theirs


def changes_of(like: torch.Tensor) -> st.SearchStrategy[Callable[[Any], Any]]:
    """What can be done to a tensor of that shape, to ours and to torch's alike."""
    ndim = like.ndim
    dims = st.integers(0, max(0, ndim - 1))
    changes = [
        st.permutations(range(ndim)).map(lambda order: lambda each: each.permute(order)),
        divisors(like.numel()).map(lambda size: lambda each: each.reshape(size, -1)),
        st.just(lambda each: each.reshape(-1) if like.numel() else each),
        st.integers(0, ndim).map(lambda dim: lambda each: joins(each).stack([each, each], dim)),
    ]
    if ndim:
        changes += [
            dims.map(lambda dim: lambda each: joins(each).cat([each, each[:1] if dim == 0 else each, each], dim)),
            st.tuples(dims, dims).map(lambda pair: lambda each: each.transpose(*pair)),
            st.tuples(*[st.slices(size).filter(lambda each: (each.step or 1) > 0) for size in like.shape]).map(
                lambda index: lambda each: each[index]
            ),
            st.just(lambda each: each.contiguous()),
        ]
    return st.one_of(changes)


def divisors(number: int) -> st.SearchStrategy[int]:
    return st.sampled_from([size for size in range(1, number + 1) if number % size == 0] or [1])


def joins(tensor: Any) -> Any:
    """The library with `cat` and `stack` that a tensor is of."""
    return sd if isinstance(tensor, Tensor) else torch


@settings(deadline=None)
@given(arranged(), st.integers(0, 99))
def test_what_is_arranged_equals_torchs(both: tuple[Tensor, torch.Tensor], seed: int) -> None:
    ours, theirs = both
    assert_same(ours, theirs, seed)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.tuples(SIDES, SIDES), st.integers(0, 2), st.integers())
def test_cat_of_different_sizes(sizes: list[int], others: tuple[int, int], dim: int, seed: int) -> None:
    shapes = [(*others[:dim], size, *others[dim:]) for size in sizes]
    parts = [live("float32", shape) + 1000 * at for at, shape in enumerate(shapes)]
    for along in (dim, dim - 3):
        assert_same(sd.cat(map(Tensor, parts), along), torch.cat(parts, along), seed)


@settings(deadline=None)
@given(st.lists(SIDES, max_size=3).map(tuple), st.integers())
def test_where(shape: tuple[int, ...], seed: int) -> None:
    made = torch.Generator().manual_seed(abs(seed) % 2**31)
    a, b = torch.randn(shape, generator=made), torch.randn(shape, generator=made)
    mask = torch.randn(shape, generator=made) > 0
    holds, x, y = Tensor(mask), Tensor(a), Tensor(b)
    assert_same(sd.where(holds, x, y), torch.where(mask, a, b), seed)
    assert_same(sd.where(holds, x, 2.5), torch.where(mask, a, 2.5), seed)
    assert_same(sd.where(holds, -1.0, y), torch.where(mask, -1.0, b), seed)
    assert_same(x.masked_fill(holds, 7), a.masked_fill(mask, 7), seed)
    assert_same(sd.where(holds, 1.0, 0.0), torch.where(mask, 1.0, 0.0), seed)


@pytest.mark.parametrize("name", TYPES)
def test_full(name: str) -> None:
    assert_same(sd.full((3, 5), 2, name), torch.full((3, 5), 2, dtype=getattr(torch, name)))
    assert_same(sd.full((), 2, name), torch.full((), 2, dtype=getattr(torch, name)))


def test_full_takes_no_memory() -> None:
    huge = sd.full((1 << 20, 1 << 20), 0.5)
    assert huge.nbytes == 1 << 42
    assert huge[-1, -3:].tolist() == [0.5] * 3


def test_negative_dimensions_and_views_of_joins() -> None:
    a, b = torch.randn(37, 53), torch.randn(37, 53)
    x, y = Tensor(a), Tensor(b)
    for dim in (0, 1, -1, -2):
        assert_same(sd.cat([x, y], dim)[3:50:2, 5:], torch.cat([a, b], dim)[3:50:2, 5:])
        assert_same(sd.stack([x, y], dim), torch.stack([a, b], dim))
    assert_same(sd.stack([x, y], 2), torch.stack([a, b], 2))


def test_larger_than_a_stretch() -> None:
    a = torch.randn(700, 500)
    x = Tensor(a)
    assert_same(sd.cat([x.t(), x.t()], 1), torch.cat([a.t(), a.t()], 1))
    assert_same((x + x).t().reshape(-1), (a + a).t().reshape(-1))


A, B = torch.zeros(2, 3), torch.zeros(2, 4)
REFUSED: list[Callable[[Any, Any, Any], Any]] = [
    lambda lib, a, b: lib.cat([], 0),
    lambda lib, a, b: lib.stack([], 0),
    lambda lib, a, b: lib.stack([a, b], 0),
    lambda lib, a, b: lib.stack([a, a], 3),
    lambda lib, a, b: lib.cat([a, a], 2),
    lambda lib, a, b: a.reshape(4, 2),
    lambda lib, a, b: a.reshape(-1, -1),
    lambda lib, a, b: a.reshape(4, -1),
    lambda lib, a, b: a.permute(0, 0),
    lambda lib, a, b: a.permute(0, 2),
    lambda lib, a, b: a.transpose(0, 2),
    lambda lib, a, b: a.reshape(1, 2, 3).t(),
]


@pytest.mark.parametrize("at", range(len(REFUSED)))
def test_what_does_not_fit_is_refused_in_torchs_words(at: int) -> None:
    with pytest.raises((RuntimeError, IndexError, ValueError)) as theirs:
        REFUSED[at](torch, A, B)
    with pytest.raises(theirs.type) as ours:
        REFUSED[at](sd, Tensor(A), Tensor(B))
    assert str(ours.value) == str(theirs.value)


def test_sizes_and_types_that_cannot_be_one() -> None:
    with pytest.raises(RuntimeError, match="Sizes of tensors must match except in dimension 0"):
        sd.cat([Tensor(A), Tensor(B)])
    with pytest.raises(RuntimeError, match="permute"):
        Tensor(A).permute(0)
    with pytest.raises(TypeError, match="cast them first"):
        sd.cat([Tensor(A), Tensor(A.half())])
    with pytest.raises(TypeError, match="boolean tensor"):
        sd.where(Tensor(A), Tensor(A), Tensor(A))
    with pytest.raises(TypeError, match="cast one of them first"):
        sd.where(Tensor(A > 0), Tensor(A), Tensor(A.half()))
    with pytest.raises(RuntimeError, match="its mask"):
        sd.where(Tensor(A > 0), Tensor(B), 0.0)
