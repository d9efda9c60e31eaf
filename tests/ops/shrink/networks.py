"""Models of layers in a row, made at random, and what each computes with some of its channels zero."""

import copy
import io
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

import statedict as sd
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
