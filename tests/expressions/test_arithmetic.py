"""Sums, products and quotients beside torch's, and beside exact rational numbers."""

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from statedict.dtypes import DTYPES
from statedict.expressions.arithmetic import Combination
from statedict.expressions.nodes import Computed
from statedict.expressions.rounding import round_once
from statedict.index import TensorInfo
from statedict.source import BytesSource, Extent
from statedict.tree.tensor import Tensor

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
WHOLE = ("uint8", "int8", "int16", "int32", "int64")
TYPES = (*WHOLE, "float16", "bfloat16", "float32", "float64", "complex64", "complex128")


def live(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, name)
    if name in WHOLE:
        return torch.randint(1, 120, shape, generator=made).to(dtype)
    return torch.randn(shape, generator=made, dtype=dtype if "complex" in name else torch.float64).to(dtype)


def rounded_once(symbol: str, left: Any, right: Any) -> torch.Tensor:
    """The result of the type and shape that torch gives it, computed by numpy in the widest type and rounded once."""
    theirs = BINARY[symbol](left, right)
    if not (theirs.is_floating_point() or theirs.is_complex()):
        return theirs
    wide = "complex128" if theirs.is_complex() else "float64"
    a, b = (
        np.asarray(each.to(getattr(torch, wide)) if isinstance(each, torch.Tensor) else each, wide)
        for each in (left, right)
    )
    exact = np.asarray(BINARY[symbol](a, b))
    rounded = round_once(exact, DTYPES[str(theirs.dtype).removeprefix("torch.")])
    return Tensor(rounded.reshape(theirs.shape)).torch()


def assert_equal(ours: Tensor, theirs: torch.Tensor) -> None:
    found = ours.torch()
    assert (found.dtype, found.shape) == (theirs.dtype, theirs.shape)
    if found.is_complex():
        torch.testing.assert_close(found, theirs, rtol=4 * torch.finfo(found.dtype).eps, atol=0)
    else:
        assert torch.equal(found, theirs)


@pytest.mark.parametrize("symbol", BINARY)
@pytest.mark.parametrize("second", TYPES)
@pytest.mark.parametrize("first", TYPES)
def test_two_tensors(first: str, second: str, symbol: str) -> None:
    for shape_a, shape_b in [((5, 7), (5, 7)), ((5, 7), ()), ((), (5, 7)), ((), ())]:
        a, b = live(first, shape_a, 1), live(second, shape_b, 2)
        if torch.result_type(a, b) == torch.complex32:
            continue  # which PyTorch can hardly compute with
        assert_equal(BINARY[symbol](Tensor(a), Tensor(b)), rounded_once(symbol, a, b))


@pytest.mark.parametrize("symbol", BINARY)
@pytest.mark.parametrize("name", TYPES)
def test_a_tensor_and_a_number(name: str, symbol: str) -> None:
    a = live(name, (5, 7), 1)
    for number in (3, 2.5, -0.75, 1 + 2j):
        for left, right in ((a, number), (number, a)):
            if "complex32" in str(torch.result_type(left, right)):
                continue  # which PyTorch can hardly compute with
            ours = BINARY[symbol](*(Tensor(each) if isinstance(each, torch.Tensor) else each for each in (left, right)))
            assert_equal(ours, rounded_once(symbol, left, right))


def test_truth_values() -> None:
    a, b = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    assert_equal(Tensor(a) + Tensor(b), a + b)
    assert_equal(Tensor(a) * Tensor(b), a * b)
    assert_equal((Tensor(a) + Tensor(b)) + Tensor(torch.arange(4)), (a + b) + torch.arange(4))


def test_whole_numbers_wrap_around_before_they_are_used_further() -> None:
    a, b = torch.tensor([100, -100, 7], dtype=torch.int8), torch.tensor([100, -100, 2], dtype=torch.int8)
    more = torch.tensor([1000, 2000, 3000])
    x, y = Tensor(a), Tensor(b)
    assert_equal(x + y, a + b)
    assert_equal((x + y) / 2, (a + b) / 2)
    assert_equal((x + y) + Tensor(more), (a + b) + more)
    assert_equal((x * y) + Tensor(more), (a * b) + more)
    assert_equal((x * y) * 0.5, (a * b) * 0.5)
    wide = torch.tensor([2**62, -(2**62)])
    assert_equal(Tensor(wide) * 3, wide * 3)
    assert_equal(Tensor(wide) * Tensor(wide), wide * wide)


def test_infinities_and_no_numbers() -> None:
    values = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1.0])
    a, b = values[:, None].expand(6, 6).contiguous(), values.expand(6, 6).contiguous()
    for symbol, compute in BINARY.items():
        assert str(compute(Tensor(a), Tensor(b)).tolist()) == str(compute(a, b).tolist()), symbol
    assert str((Tensor(a) - Tensor(a)).tolist()) == str((a - a).tolist())


@settings(deadline=None)
@given(st.data())
def test_shapes_are_broadcast_as_torch_does(data: st.DataObject) -> None:
    shapes = data.draw(arrays.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_dims=4, max_side=4))
    a, b = (live("float64", shape, seed) for seed, shape in enumerate(shapes.input_shapes))
    x, y = Tensor(a), Tensor(b)
    assert_equal(x * y, a * b)
    assert_equal(x - y, a - b)


def test_shapes_that_do_not_fit_are_refused_in_torchs_words() -> None:
    a, b = torch.zeros(3, 4), torch.zeros(3, 5)
    with pytest.raises(RuntimeError) as theirs:
        _ = a + b
    with pytest.raises(RuntimeError) as ours:
        _ = Tensor(a) + Tensor(b)
    assert str(ours.value) == str(theirs.value)


SMALL = st.integers(-64, 64).map(lambda number: number / 8)


@settings(deadline=None)
@given(st.lists(st.tuples(SMALL, SMALL, SMALL), min_size=1, max_size=9), SMALL, SMALL)
def test_a_combination_is_rounded_once(values: list[tuple[float, float, float]], weight: float, more: float) -> None:
    """Nothing is lost on the way: each result is the bfloat16 next to the exact one."""
    a, b, c = (torch.tensor(column).bfloat16() for column in zip(*values, strict=True))
    ours = (Tensor(a) + weight * (Tensor(b) - Tensor(a)) * 0.125 + more) / 4 - Tensor(c)

    exact = [
        (Fraction(x) + Fraction(weight) * (Fraction(y) - Fraction(x)) / 8 + Fraction(more)) / 4 - Fraction(z)
        for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    ]
    expected = torch.tensor([float(value) for value in exact], dtype=torch.float64)
    assert [Fraction(value) for value in expected.tolist()] == exact  # so the next line rounds exact numbers
    assert torch.equal(ours.torch(), expected.float().bfloat16())


def test_a_combination_reads_each_tensor_once() -> None:
    a, b = Tensor(torch.randn(4)), Tensor(torch.randn(4))
    extent = (a + 0.3 * (b - a)).info.extent
    assert extent is not None
    assert isinstance(extent.source, Computed)
    node = extent.source.node
    assert isinstance(node, Combination)
    assert [weight for weight, _ in node.terms] == [1 - 0.3, 0.3]


def test_strided_and_viewed_operands() -> None:
    a = torch.randn(37, 53)
    x = Tensor(a)
    assert_equal(x[3:20:2].t() + 1, a[3:20:2].t() + 1)
    assert_equal(x.t() * 2, a.t() * 2)
    assert_equal((x + x)[5], (a + a)[5])
    assert_equal((x + x)[:, 3:9].t() - 1, (a + a)[:, 3:9].t() - 1)


def test_more_elements_than_are_computed_at_once() -> None:
    a, b = torch.randn(300_001), torch.randn(300_001)
    whole = (Tensor(a) * 3 + Tensor(b)).info
    expected = (a.double() * 3 + b.double()).float().numpy().tobytes()
    assert whole.extent is not None
    assert whole.extent.source.read_at(0, whole.nbytes) == expected
    start = (1 << 19) - 3
    assert whole.extent.source.read_at(start, 7) == expected[start : start + 7]


def test_gguf_blocks_are_computed_as_what_they_stand_for() -> None:
    gguf = pytest.importorskip("gguf")
    values = np.linspace(-1, 1, 64, dtype="f4").reshape(2, 32)
    stored = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0).tobytes()
    info = TensorInfo("w", DTYPES["q8_0"], (2, 32), Extent(BytesSource(stored), 0, len(stored)))
    half = (Tensor(info) * 0.5).torch()
    decoded = gguf.quants.dequantize(np.frombuffer(stored, "u1").reshape(2, -1), gguf.GGMLQuantizationType.Q8_0)
    assert torch.equal(half, torch.from_numpy(decoded * 0.5))
