"""`a + 0.3 * (b - a)` on whole modules, and PyTorch's casts of all of a module."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import statedict as sd
from statedict.source import FileSource
from tests.sample_checkpoints import Language


class Net(nn.Module):
    """A little of everything: a tied weight, whole numbers, a mask, a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 4)
        self.head.weight = self.fc.weight
        self.register_buffer("mask", torch.ones(4, 4, dtype=torch.bool).tril())
        self.register_buffer("scratch", torch.randn(3), persistent=False)


@pytest.fixture
def two() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    first, second = Net(), Net()
    with torch.no_grad():
        second.norm.num_batches_tracked += 5  # type: ignore[operator]
        second.norm.running_mean += torch.randn(4)  # type: ignore[operator]
    return first, second


def opened(net: nn.Module, way: str, folder: Path) -> sd.Module:
    """A live model, or the same from a file: as a whole, or as its state dict."""
    if way == "live":
        return sd.open(net)
    path = folder / f"{id(net)}.pt"
    torch.save(net if way == "whole" else net.state_dict(), path)
    return sd.open(path)


@pytest.mark.parametrize("way", ["live", "whole", "state dict"])
def test_interpolation_equals_torchs(way: str, two: tuple[nn.Module, nn.Module], tmp_path: Path) -> None:
    first, second = two
    a, b = (opened(net, way, tmp_path) for net in two)
    merged = a + 0.3 * (b - a)

    expected = first.state_dict()
    for name, x in first.state_dict().items():
        if x.is_floating_point():
            y = second.state_dict()[name].double()
            expected[name] = ((1 - 0.3) * x.double() + 0.3 * y).to(x.dtype)
    state = merged.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert torch.equal(state[name].torch(), value), name
    assert merged.fc.weight is merged.head.weight
    assert state["norm.num_batches_tracked"].item() == 0
    assert type(merged) is type(a if way != "live" else merged)
    assert [name for name, _ in merged.named_modules()] == [name for name, _ in a.named_modules()]


def test_the_tree_stays_what_it_was(two: tuple[nn.Module, nn.Module], tmp_path: Path) -> None:
    first, second = (opened(net, "whole", tmp_path) for net in two)
    half = (first + second) / 2
    assert repr(half) == repr(first)
    assert [name for name, _ in half.named_parameters()] == [name for name, _ in first.named_parameters()]
    assert [name for name, _ in half.named_buffers()] == [name for name, _ in first.named_buffers()]
    assert half._non_persistent_buffers_set == {"scratch"}
    assert half.state_dict()._metadata == first.state_dict()._metadata


def test_numbers(two: tuple[nn.Module, nn.Module]) -> None:
    net = two[0]
    weight = net.fc.weight.detach().double()  # type: ignore[union-attr,operator]
    model = sd.open(net)
    for ours, theirs in [
        (model * 2, weight * 2), (2 * model, weight * 2), (model / 4, weight / 4), (-model, -weight),
        (model + 1, weight + 1), (1 + model, weight + 1), (model - 1, weight - 1), (1 - model, 1 - weight),
        (model * model, weight * weight), (model / model, weight / weight),
    ]:  # fmt: skip
        assert torch.equal(ours.fc.weight.torch(), theirs.float())
        assert ours.norm.num_batches_tracked.item() == 0
        assert ours.mask.dtype.name == "bool"


def test_neither_side_is_changed_or_read(two: tuple[nn.Module, nn.Module], tmp_path: Path) -> None:
    a, b = (opened(net, "state dict", tmp_path) for net in two)
    before = a.fc.weight.info
    merged = a + b
    assert a.fc.weight.info is before
    assert isinstance(before.extent.source.located(0)[0], FileSource)
    assert np.array_equal(merged.fc.bias.numpy(), a.fc.bias.numpy() + b.fc.bias.numpy())


def test_names_that_disagree_are_all_told() -> None:
    a = sd.open({"x": torch.zeros(3), "y": torch.zeros(2), "z": torch.zeros(2)})
    b = sd.open({"x": torch.zeros(4), "y": torch.zeros(2), **{f"w{number}": torch.zeros(1) for number in range(5)}})
    with pytest.raises(sd.StatedictError) as error:
        _ = a + b
    assert str(error.value) == (
        "the two modules cannot be combined: only the first has `z`; only the second has `w0`, `w1`, `w2` and 2 more; "
        "shapes differ: `x` (3,) and (4,); rename, drop or slice those first"
    )


def test_ties_of_one_side_only(two: tuple[nn.Module, nn.Module]) -> None:
    """What is tied in one model alone becomes two tensors, since their values differ."""
    untied = copy.deepcopy(two[1])
    untied.head.weight = nn.Parameter(torch.randn(4, 4))  # type: ignore[union-attr]
    total = sd.open(two[0]) + sd.open(untied)
    assert total.fc.weight is not total.head.weight
    expected = two[0].fc.weight + untied.head.weight  # type: ignore[union-attr,operator]
    assert torch.equal(total.head.weight.torch(), expected.detach())


def test_other_objects_are_left_to_themselves() -> None:
    for other in ("text", None, [1, 2], torch.zeros(3)):
        with pytest.raises(TypeError):
            _ = sd.open({"x": torch.zeros(3)}) + other


@pytest.mark.parametrize("name", ["half", "bfloat16", "float", "double"])
@pytest.mark.parametrize("way", ["whole", "state dict"])
def test_casts_equal_torchs(name: str, way: str, tmp_path: Path) -> None:
    net = Language()
    model = opened(net, way, tmp_path)
    changed: Any = getattr(model, name)()
    expected = getattr(net, name)().state_dict()

    assert changed is model
    for key, value in model.state_dict().items():
        assert torch.equal(value.torch(), expected[key]), key
        assert value.dtype.name == str(expected[key].dtype).removeprefix("torch.")
    assert model.embedding.weight is model.head.weight


def test_a_cast_of_a_live_model_is_one_of_the_model() -> None:
    net = Net()
    sd.open(net).half()
    assert net.fc.weight.dtype == torch.float16
    assert net.norm.num_batches_tracked.dtype == torch.int64  # type: ignore[union-attr]


def test_a_cast_to_whole_numbers_is_refused_in_torchs_words() -> None:
    with pytest.raises(TypeError) as theirs:
        Net().to(torch.int8)
    with pytest.raises(TypeError) as ours:
        sd.open({"x": torch.zeros(3)}).to("int8")
    assert str(ours.value) == str(theirs.value).replace("torch.int8", "int8")
