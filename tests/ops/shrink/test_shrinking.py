"""Channels that are gone: what is left computes what the whole did with them set to zero, as torch runs both."""

import copy
import io
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

import statedict as sd
from statedict.ops.shrink.elementwise import ACTIVATIONS
from statedict.tree.module import Module

DIMENSIONS: dict[int, Any] = {
    dims: tuple(
        getattr(nn, f"{kind}{dims}d")
        for kind in ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm", "MaxPool", "AvgPool", "AdaptiveAvgPool")
    )
    for dims in (1, 2, 3)
}
ZERO_STAYS: list[Callable[[], nn.Module]] = [
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Hardtanh,
    nn.Hardswish, nn.Softsign, nn.Tanhshrink, nn.Hardshrink, nn.Softshrink, nn.PReLU, nn.Identity, nn.Dropout,
]  # fmt: skip
ZERO_MOVES: list[Callable[[], nn.Module]] = [
    nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid, lambda: nn.Threshold(0.5, 0.25),
]  # fmt: skip


def opened(net: nn.Module) -> Module:
    """The tree of the file that `torch.save` makes of a model."""
    file = io.BytesIO()
    torch.save(net, file)
    return sd.open(file.getvalue())


def settle(net: nn.Module, seed: int) -> nn.Module:
    """The model in evaluation, with norms that have learnt something, in double precision."""
    torch.manual_seed(seed)
    for module in net.modules():
        for name in ("weight", "bias", "running_mean"):
            tensor = getattr(module, name, None)
            if isinstance(tensor, torch.Tensor):
                nn.init.normal_(tensor)
        if isinstance(getattr(module, "running_var", None), torch.Tensor):
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return net.double().eval()


def masked(net: nn.Module, steps: list[nn.Module], gone: dict[nn.Module, torch.Tensor]) -> nn.Module:
    """A copy with channels of layers zero, and the scale and shift of the norms behind."""
    memo: dict[int, Any] = {}
    made = copy.deepcopy(net, memo)
    with torch.no_grad():
        for layer, channels in gone.items():
            after = steps[steps.index(layer) + 1 :]
            dim = int("Transpose" in type(layer).__name__)
            memo[id(layer)].weight.movedim(dim, 0)[channels] = 0
            if "bias" in dict(layer.named_parameters()):
                memo[id(layer)].bias[channels] = 0
            for step in after:
                if "Norm" in type(step).__name__ and "weight" in dict(step.named_parameters()):
                    memo[id(step)].weight[channels] = 0
                    memo[id(step)].bias[channels] = 0
                if isinstance(step, nn.Linear) or "Conv" in type(step).__name__:
                    break
    return made


def least(layer: nn.Module, count: int, power: int) -> torch.Tensor:
    """The channels with the smallest norms, of equal ones the last."""
    weight: torch.Tensor = layer.weight.detach()  # type: ignore[operator, assignment]
    rows = weight.movedim(int("Transpose" in type(layer).__name__), 0).flatten(1)
    order = torch.argsort(rows.norm(power, dim=1), descending=True, stable=True)
    return order[len(order) - count :]


@st.composite
def convolutions(draw: Any) -> tuple[list[nn.Module], torch.Tensor]:
    """Layers of convolutions, with what may lie between, then linear ones; and what goes in."""
    dims, zero = draw(st.sampled_from([1, 1, 2, 2, 3])), draw(st.booleans())
    conv, transposed, norm, instance, most, mean, adaptive = DIMENSIONS[dims]
    activations = ZERO_STAYS if zero else ZERO_STAYS + ZERO_MOVES
    channels, size = draw(st.integers(1, 3)), 6
    inputs = torch.randn(2, channels, *(size,) * dims, dtype=torch.float64)
    steps: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        wide, bias = draw(st.integers(2, 6)), draw(st.booleans())
        if zero and draw(st.booleans()):
            steps.append(transposed(channels, wide, 2, stride=draw(st.integers(1, 2)), bias=bias))
        elif zero:
            steps.append(conv(channels, wide, 3, padding=draw(st.sampled_from([1, "same"])), bias=bias))
        else:
            mode = draw(st.sampled_from(["replicate", "circular"]))
            steps.append(conv(channels, wide, 3, padding=1, padding_mode=mode, bias=bias))
        channels = wide
        if draw(st.booleans()):
            plain = draw(st.booleans()) or zero
            steps.append(norm(channels, affine=plain) if draw(st.booleans()) else instance(channels, affine=plain))
        steps.append(draw(st.sampled_from([*activations, lambda wide=wide: nn.PReLU(wide)]))())
        if draw(st.booleans()):
            steps.append(draw(st.sampled_from([most(2, 1), mean(2, 1), nn.Upsample(scale_factor=2), adaptive(4)])))
    steps += [adaptive(draw(st.integers(1, 2))), nn.Flatten()]
    with torch.no_grad():
        features = nn.Sequential(*steps).double().eval()(inputs).shape[1]
    steps.append(nn.Linear(features, draw(st.integers(2, 7)), bias=draw(st.booleans())))
    return steps, inputs


@st.composite
def networks(draw: Any) -> tuple[nn.Module, list[nn.Module], torch.Tensor]:
    """A model of layers in a row, some of them in rows of their own, the row itself, and what goes in."""
    if draw(st.booleans()):
        steps, inputs = draw(convolutions())
    else:
        width = draw(st.integers(1, 4))
        steps: list[nn.Module] = [nn.Linear(width, draw(st.integers(2, 6)))]
        inputs = torch.randn(3, width, dtype=torch.float64)
    for _ in range(draw(st.integers(0, 2))):
        last: Any = steps[-1]
        if draw(st.booleans()):
            steps.append(nn.BatchNorm1d(last.out_features, affine=draw(st.booleans())))
        steps.append(draw(st.sampled_from(ZERO_STAYS + ZERO_MOVES))())
        steps.append(nn.Linear(last.out_features, draw(st.integers(2, 6)), bias=draw(st.booleans())))
    cut = draw(st.integers(0, len(steps)))
    rows = [nn.Sequential(*steps[:cut]), *steps[cut:]] if draw(st.booleans()) else steps
    return settle(nn.Sequential(*rows), draw(st.integers(0, 99))), steps, inputs


def is_layer(step: nn.Module) -> bool:
    return isinstance(step, nn.Linear) or "Conv" in type(step).__name__


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


@pytest.mark.parametrize("kind", ACTIVATIONS)
@given(x=st.floats(-30, 30))
@settings(deadline=None, max_examples=40)
def test_activations_are_those_of_torch(kind: str, x: float) -> None:
    made = nn.Threshold(0.5, 0.25) if kind == "Threshold" else getattr(nn, kind)()
    attributes = dict(sd.open(made).attributes)

    found = ACTIVATIONS[kind](x, attributes)

    assert found == pytest.approx(made(torch.tensor(x, dtype=torch.float64)).item(), rel=1e-6, abs=1e-9)


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


def test_channels_that_padding_would_tell_stay() -> None:
    net = settle(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3, padding=1)), 0)
    with torch.no_grad():
        net[0].weight[1] = 0  # type: ignore[index]

    assert [row.after for row in sd.shrink(opened(net), dead=True).layers] == [3]
    sigmoid = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Sigmoid(), nn.Conv2d(3, 2, 3, padding=1))
    with pytest.raises(
        sd.StatedictError, match=r"channels of `0` \(Conv2d\) cannot go.*`2` \(Conv2d\).*pads with zeros"
    ):
        sd.shrink(opened(sigmoid), 0.5)


class Branching(nn.Module):
    """A model whose `forward` is code."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + self.body(values)


def test_what_code_does_is_not_guessed() -> None:
    net = Branching().double()
    tree = opened(net)

    with pytest.raises(sd.StatedictError, match=re.escape("the model is a Branching, and what its code does")):
        sd.shrink(tree, 0.5)
    inputs = torch.randn(3, 4, dtype=torch.float64)
    body: Any = net.body
    want = masked(body, list(body), {body[0]: least(body[0], 4, 1)})(inputs) + inputs
    small = sd.shrink(tree, 0.5, chains=["body"]).model.to_torch({f"{__name__}.Branching": Branching})
    torch.testing.assert_close(small(inputs), want)


def _named(**changes: Any) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 1), *changes.values(), nn.Conv2d(4, 1, 1))


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (_named(a=nn.GroupNorm(2, 4)), "`1` (GroupNorm) is no layer whose rule is known"),
        (_named(a=Branching()), "Branching) holds modules of its own"),
        (_named(a=nn.Conv2d(4, 4, 1, groups=4)), "`1` (Conv2d) has groups"),
        (nn.Sequential(nn.Linear(4, 4), nn.MaxPool1d(2), nn.Linear(2, 4)), "how its channels reach `2` (Linear)"),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.Linear(4, 4)), "how its channels reach `1` (Linear)"),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(2), nn.Linear(4, 4)), "flattens other dimensions"),
        (nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4)), "the last layer gives"),
        (nn.Sequential(*[nn.Linear(4, 4)] * 2), "`0` (Linear) is called more than once"),
        (nn.Sequential(nn.Linear(4, 4)), "what the last layer gives is what the chain gives"),
        (nn.Sequential(nn.ReLU()), "there is nothing to shrink"),
    ],
)  # fmt: skip
def test_what_is_not_known_stays(net: nn.Module, said: str) -> None:
    with pytest.raises(sd.StatedictError, match=re.escape(said)):
        sd.shrink(sd.open(net) if "parametrizations" in repr(net) else opened(net), 0.5)


def test_tied_weights_stay() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(3, 1))
    net[2].weight = net[0].weight

    shrunk = sd.shrink(opened(net), 0.5)

    assert [row.name for row in shrunk.layers] == ["3"]
    assert "holds other tensors" not in str(shrunk)


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


def test_a_state_dict_names_no_layers() -> None:
    with pytest.raises(sd.StatedictError, match="no whole model, which says the kinds of its layers"):
        sd.shrink(sd.open(nn.Linear(2, 2).state_dict()), 0.5)


def test_nan_is_an_error_that_names_the_tensor() -> None:
    first = nn.Linear(4, 4)
    net = nn.Sequential(first, nn.Linear(4, 4))
    nn.init.constant_(first.weight, torch.nan)

    with pytest.raises(sd.StatedictError, match=re.escape("`0.weight`")):
        sd.shrink(opened(net), 0.5)


@pytest.mark.parametrize(
    ("module", "lacking", "wrong"),
    [
        (nn.LeakyReLU(), "negative_slope", "steep"),
        (nn.BatchNorm1d(4), "num_features", 4.5),
        (nn.BatchNorm1d(4), "eps", None),
        (nn.Softplus(), "beta", 0),
    ],
)
def test_what_a_damaged_file_says_is_no_bug(module: nn.Module, lacking: str, wrong: Any) -> None:
    for change in ("gone", wrong):
        tree = opened(nn.Sequential(nn.Linear(4, 4), copy.deepcopy(module), nn.Linear(4, 4)))
        if change == "gone":
            del tree.get_submodule("1").attributes[lacking]
        else:
            tree.get_submodule("1").attributes[lacking] = change

        with pytest.raises(sd.StatedictError, match="lacks what its kind says of itself"):
            sd.shrink(tree, 0.5)


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
