"""Channels that are gone: what is left computes what the whole did with them set to zero, as torch runs both."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import statedict as sd
from tests.ops.shrink.networks import is_layer, least, masked, networks, opened, settle


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(networks(), st.floats(0.0, 0.99), st.sampled_from([("l1", 1), ("l2", 2)]))
def test_a_shrunk_chain_computes_what_the_masked_one_does(
    made: tuple[nn.Module, list[nn.Module], torch.Tensor], amount: float, norm: tuple[str, int]
) -> None:
    net, steps, inputs = made
    layers: list[Any] = [step for step in steps if is_layer(step)][:-1]
    if not layers:
        with pytest.raises(sd.StatedictError, match="no channels can go: those of"):
            sd.shrink(opened(net), amount)
        return
    wide = [layer.weight.shape[int("Transpose" in type(layer).__name__)] for layer in layers]
    counts = [min(round(amount * size), size - 1) for size in wide]
    gone = {layer: least(layer, count, norm[1]) for layer, count in zip(layers, counts, strict=True)}

    shrunk = sd.shrink(opened(net), amount, norm=norm[0])

    small = shrunk.model.to_torch()
    assert [row.after for row in shrunk.layers] == [size - count for size, count in zip(wide, counts, strict=True)]
    assert shrunk.parameters == (sum(p.numel() for p in net.parameters()), sum(p.numel() for p in small.parameters()))
    with torch.no_grad():
        torch.testing.assert_close(small(inputs), masked(net, steps, gone)(inputs), rtol=1e-7, atol=1e-7)


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(networks(), st.integers(0, 999))
def test_without_its_dead_channels_a_model_computes_what_it_did(
    made: tuple[nn.Module, list[nn.Module], torch.Tensor], seed: int
) -> None:
    net, steps, inputs = made
    draws = random.Random(seed)
    wanted = 0
    with torch.no_grad():
        for layer in [step for step in steps if is_layer(step)][:-1]:
            weight: Any = layer.weight.movedim(int("Transpose" in type(layer).__name__), 0)  # type: ignore[operator]
            for channel in range(1, len(weight)):
                if draws.random() < 0.4:
                    weight[channel] = 0
                    wanted += 1
        before = net(inputs)
    if len([step for step in steps if is_layer(step)]) < 2:
        return

    shrunk = sd.shrink(opened(net), dead=True)

    with torch.no_grad():
        torch.testing.assert_close(shrunk.model.to_torch()(inputs), before, rtol=1e-7, atol=1e-7)
    padded = any(getattr(step, "padding_mode", "") == "zeros" or isinstance(step, nn.AvgPool2d) for step in steps)
    if not padded:
        assert sum(row.before - row.after for row in shrunk.layers) >= wanted


def test_a_norm_s_scale_chooses_among_all_layers() -> None:
    net = settle(
        nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)),
        0,
    )
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([0.1, -3.0, 0.2]))  # type: ignore[index]
        net[3].weight.copy_(torch.tensor([0.5, 2.0, -0.1, 1.0]))  # type: ignore[index]

    shrunk = sd.shrink(opened(net), 3, norm="batchnorm", scope="global")

    assert [(row.name, row.before, row.after) for row in shrunk.layers] == [("0", 3, 1), ("2", 4, 3)]
    assert shrunk.model.get_parameter("1.weight").tolist() == [-3.0]
    assert shrunk.model.get_parameter("3.weight").tolist() == [0.5, 2.0, 1.0]
    assert shrunk.model.get_parameter("2.weight").shape == (3, 1, 1, 1)


def test_of_equal_channels_the_first_stay() -> None:
    first = nn.Linear(2, 4)
    net = nn.Sequential(first, nn.Linear(4, 1))
    nn.init.ones_(first.weight)
    with torch.no_grad():
        first.bias.copy_(torch.arange(4))

    assert sd.shrink(opened(net), 0.5).model.get_parameter("0.bias").tolist() == [0, 1]
    assert sd.shrink(opened(net), 0.99).model.get_parameter("0.bias").tolist() == [0]


def test_what_the_next_layer_does_not_read_is_dead() -> None:
    net = settle(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)), 0)
    with torch.no_grad():
        net[2].weight[:, 1] = 0  # type: ignore[index]

    assert [row.after for row in sd.shrink(opened(net), dead=True).layers] == [3]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, "say either an `amount` of channels"),
        ({"amount": 0.5, "dead": True}, "say either an `amount` of channels"),
        ({"amount": 1.5}, "expected a share from 0.0 to 1.0"),
        ({"amount": 1.0}, "leaves no channel"),
        ({"amount": 99}, "`amount` is 99, but there are 4"),
        ({"amount": 0.5, "norm": "l3"}, "expected one of l1, l2, batchnorm"),
        ({"amount": 0.5, "scope": "all"}, "expected one of tensor, global"),
        ({"amount": 0.5, "norm": "batchnorm"}, "no norm with a scale follows `0` (Linear)"),
        ({"amount": 0.5, "chains": ["0"]}, "`0` is a Linear"),
        ({"amount": 0.5, "chains": ["none"]}, "`none` is no"),
    ],
)
def test_wrong_use_is_told(how: dict[str, Any], said: str) -> None:
    with pytest.raises(sd.StatedictError, match=re.escape(said)):
        sd.shrink(opened(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))), **how)


def test_nan_is_an_error_that_names_the_tensor() -> None:
    first = nn.Linear(4, 4)
    net = nn.Sequential(first, nn.Linear(4, 4))
    nn.init.constant_(first.weight, torch.nan)

    with pytest.raises(sd.StatedictError, match=re.escape("`0.weight`")):
        sd.shrink(opened(net), 0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_file_is_a_whole_model_that_torch_runs(dtype: torch.dtype, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 3, bias=False), nn.BatchNorm1d(3)).to(dtype).eval()
    torch.save(net, tmp_path / "net.pt")

    shrunk = sd.shrink(sd.open(tmp_path / "net.pt"), 0.5)
    sd.save(shrunk.model, tmp_path / "small.pt", whole=True, verify=True)

    small = torch.load(tmp_path / "small.pt", weights_only=False)
    assert repr(small) == repr(shrunk.model.to_torch())
    assert (small[0].out_features, small[2].in_features, small[2].bias.dtype) == (4, 4, dtype)
    gone = {net[0]: least(net[0], 4, 1)}
    inputs = torch.randn(5, 4).to(dtype)
    torch.testing.assert_close(small(inputs), masked(net, list(net), gone)(inputs), rtol=2e-2, atol=2e-2)
    assert all(parameter.requires_grad for parameter in small.parameters())


def test_work_before_and_after_is_told() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10))

    shrunk = sd.shrink(opened(net), 0.5, input_size=(2, 3, 8, 8))

    assert shrunk.work is not None
    before, after = shrunk.work
    assert before.macs == sd.summary(net, input_size=(2, 3, 8, 8)).macs == 2 * (36 * 16 * 27 + 16 * 36 * 10)
    assert after.macs == sd.summary(shrunk.model.to_torch(), input_size=(2, 3, 8, 8)).macs == before.macs / 2
    assert (before.parameters, after.parameters) == shrunk.parameters
    assert (before.nbytes, after.nbytes) == shrunk.nbytes
    assert min(before.seconds, after.seconds) > 0
    assert str(shrunk).splitlines()[-1] == f"multiply-accumulates: {before.macs:,} to {after.macs:,}"
    assert sd.shrink(opened(net), 0.5).work is None


class Own(nn.Module):
    """Not one of PyTorch's."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


def test_what_cannot_be_run_is_told() -> None:
    with pytest.raises(sd.StatedictError, match=r"the code of `.*Own` is not in the file"):
        sd.shrink(opened(Own()), 0.5, chains=["features"], input_size=(1, 4))
    net = opened(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)))
    with pytest.raises(sd.StatedictError, match=r"does not run with zeros of the size \(1, 5\): .*shapes cannot be"):
        sd.shrink(net, 0.5, input_size=(1, 5))
    with pytest.raises(sd.StatedictError, match="`input_size` is 'x'; expected such as"):
        sd.shrink(net, 0.5, input_size="x")
