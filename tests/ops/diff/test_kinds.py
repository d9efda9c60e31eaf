"""Each kind of change planted, on several types and sizes, and recognised; and none claimed where there is none."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import statedict as sd
from statedict.ops.diff.result import Kind

FLOATS = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(64, 96), (300, 512), (700, 1000)]
"""In one block; in two; in several, at which rows end nowhere."""


def kinds(a: torch.Tensor, b: torch.Tensor) -> tuple[Kind, ...]:
    (row,) = sd.diff({"w": a}, {"w": b}).rows
    return row.kinds


def the_kind(a: torch.Tensor, b: torch.Tensor) -> Kind:
    found = kinds(a, b)
    assert len(found) == 1, found
    return found[0]


def random(shape: tuple[int, ...], kind: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.05).to(kind)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("kept", [True, False])
def test_rounding(shape: tuple[int, ...], target: torch.dtype, kept: bool) -> None:
    a = random(shape)
    b = a.to(target).to(a.dtype) if kept else a.to(target)
    assert the_kind(a, b).figures == {"dtype": str(target).removeprefix("torch.")}


def test_rounding_of_float64() -> None:
    a = random((300, 512)).double() * (1 + 1e-9)
    assert the_kind(a, a.float()).figures == {"dtype": "float32"}
    assert the_kind(a, a.float().double()).figures == {"dtype": "float32"}


def test_a_rounding_with_one_element_otherwise_is_none() -> None:
    a = random((300, 512))
    b = a.bfloat16()
    b[200, 3] += 1
    assert kinds(a, b) == ()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("factor", [0.5, 3.0, 0.37, 1.25, -2.0, 1 / 3])
def test_a_scale(shape: tuple[int, ...], kind: torch.dtype, factor: float) -> None:
    found = the_kind(a := random(shape, kind), (a.double() * factor).to(kind))
    assert found.name == "scaled"
    assert found.figures["residual"] == 0
    assert found.figures["factor"] == pytest.approx(factor, rel=2**-8)


def test_a_scale_that_is_not_exact_says_what_it_leaves() -> None:
    a = random((300, 512))
    found = the_kind(a, 0.8 * a + 1e-3 * random((300, 512), seed=1))
    assert found.name == "scaled"
    assert found.figures["factor"] == pytest.approx(0.8, rel=1e-3)
    assert found.figures["residual"] == pytest.approx(1e-3 / 0.8, rel=0.05)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("rank", [2, 16])
def test_a_low_rank(shape: tuple[int, ...], kind: torch.dtype, rank: int) -> None:
    a = random(shape, kind)
    update = random((shape[0], rank), seed=1) @ random((rank, shape[1]), seed=2) * 4
    found = the_kind(a, (a + update).to(kind))
    assert found.name == "low rank"
    assert found.figures["rank"] == rank
    assert 0.95 < float(found.figures["energy"]) <= 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [*FLOATS, torch.float64])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_pruning(shape: tuple[int, ...], kind: torch.dtype, share: float) -> None:
    a = random(shape, kind)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(3)) < share
    found = the_kind(a, a.masked_fill(mask, 0))
    assert found.name == "pruned"
    assert found.figures["sparsity"] == pytest.approx(int((a.masked_fill(mask, 0) == 0).sum()) / a.numel())


@pytest.mark.parametrize("kind", FLOATS)
def test_pruned_rows_leave_whole_blocks_as_they_were(kind: torch.dtype) -> None:
    a = random((2000, 512), kind)
    b = a.clone()
    b[300:400] = 0
    assert the_kind(a, b).name == "pruned"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", FLOATS)
def test_signs(shape: tuple[int, ...], kind: torch.dtype) -> None:
    a = random(shape, kind)
    assert the_kind(a, -a).text == "every sign flipped: b = -a"
    some = torch.rand(shape, generator=torch.Generator().manual_seed(3)) < 0.1
    found = the_kind(a, torch.where(some, -a, a))
    assert found.name == "signs flipped"
    assert found.figures["flipped"] == int((some & (a != 0)).sum())


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_permutations(kind: torch.dtype, dim: int, shape: tuple[int, ...]) -> None:
    a = random(shape, kind)
    order = torch.randperm(shape[dim], generator=torch.Generator().manual_seed(5))
    found = the_kind(a, a.index_select(dim, order))
    assert found.name == "permuted"
    assert found.figures == {"axis": ("rows", "columns")[dim], "moved": int((order != torch.arange(len(order))).sum())}


def rounded_to(values: torch.Tensor, bits: int) -> torch.Tensor:
    """The values on a grid of so many bits for each row."""
    most = 2 ** (bits - 1) - 1
    scale = values.abs().amax(-1, keepdim=True) / most
    return (values / scale).round() * scale


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_quantisation(shape: tuple[int, ...], kind: torch.dtype) -> None:
    a = random(shape, kind)
    whole = rounded_to(a.float().reshape(1, -1), 4).reshape(shape).to(kind)
    assert the_kind(a, whole).figures["levels"] == 15
    rows = rounded_to(a.float(), 6).to(kind)
    assert int(the_kind(a, rows).figures["levels"]) == max(len(row.unique()) for row in rows) <= 63
    if shape[1] % 32 == 0:
        grouped = rounded_to(a.float().reshape(-1, 32), 4).reshape(shape).to(kind)
        assert the_kind(a, grouped).figures == {"levels": 16, "group": 32}


@pytest.mark.parametrize("kind", FLOATS)
def test_damage(kind: torch.dtype) -> None:
    a = random((300, 512), kind)
    b = a.clone()
    b[7, 5:8], b[9, 9] = float("nan"), float("inf")
    found = the_kind(a, b)
    assert found.text == "damaged: 3 NaN and 1 infinite that were numbers, the rest equal"
    b[20] += 1
    assert the_kind(a, b).figures == {"nans": 3, "infinities": 1, "others": 512}
    assert kinds(b, b.clone()) == ()


def changes(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two tensors that no kind of change leads from one to the other of: unrelated, or trained on."""
    generator = torch.Generator().manual_seed(seed)
    kind = [*FLOATS, torch.float64][seed % 4]
    shape = [(40,), (64, 96), (128, 300), (16, 8, 3, 3), (1000,), (200, 260)][seed % 6]
    a, c = (torch.randn(shape, generator=generator) for _ in range(2))
    if seed % 5 == 0:  # heavy tails, as embeddings have
        a, c = a**3, c**3
    return a.to(kind), (c if seed % 2 else a + 0.03 * c).to(kind)


@pytest.mark.parametrize("seed", range(100))
def test_nothing_is_claimed_of_what_is_unrelated(seed: int) -> None:
    assert kinds(*changes(seed)) == ()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1 << 20), st.integers(1, 40))
def test_nothing_is_claimed_of_a_few_elements(seed: int, count: int) -> None:
    torch.manual_seed(seed)
    assert kinds(torch.randn(count), torch.randn(count)) == ()


def test_a_full_update_of_falling_spectrum_is_no_low_rank() -> None:
    """As fine-tuning makes it: each singular value a little less than the one before."""
    left, right = (torch.linalg.qr(random((200, 200), seed=seed))[0] for seed in (1, 2))
    update = left @ torch.diag(torch.arange(1, 201) ** -0.5) @ right
    a = random((200, 200))
    assert kinds(a, a + 0.01 * update) == ()


def test_kinds_may_be_left_out() -> None:
    a = random((64, 96))
    (row,) = sd.diff({"w": a}, {"w": 2 * a}, kinds=False).rows
    assert row.kinds == ()
