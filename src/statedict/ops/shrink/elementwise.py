"""What PyTorch's activations make of one number: what becomes of a channel that is the same everywhere."""

import math
from collections.abc import Callable, Mapping
from typing import Any

Attributes = Mapping[str, Any]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _softplus(x: float, beta: float = 1.0, threshold: float = 20.0) -> float:
    return x if beta * x > threshold else math.log1p(math.exp(beta * x)) / beta


def _gelu(x: float, a: Attributes) -> float:
    if a.get("approximate", "none") == "tanh":
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def _elu(x: float, alpha: float, scale: float = 1.0, width: float = 1.0) -> float:
    return scale * (x if x > 0 else alpha * math.expm1(x / width))


def _clamp(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


ACTIVATIONS: Mapping[str, Callable[[float, Attributes], float]] = {
    "CELU": lambda x, a: _elu(x, a["alpha"], width=a["alpha"]),
    "ELU": lambda x, a: _elu(x, a["alpha"]),
    "GELU": _gelu,
    "Hardshrink": lambda x, a: x if abs(x) > a["lambd"] else 0.0,
    "Hardsigmoid": lambda x, _: _clamp(x / 6 + 0.5, 0, 1),
    "Hardswish": lambda x, _: x * _clamp(x / 6 + 0.5, 0, 1),
    "Hardtanh": lambda x, a: _clamp(x, a["min_val"], a["max_val"]),
    "LeakyReLU": lambda x, a: x if x >= 0 else x * a["negative_slope"],
    "LogSigmoid": lambda x, _: -_softplus(-x, threshold=math.inf) if x > -700 else x,
    "Mish": lambda x, _: x * math.tanh(_softplus(x)),
    "ReLU": lambda x, _: max(x, 0.0),
    "ReLU6": lambda x, _: _clamp(x, 0, 6),
    "SELU": lambda x, _: _elu(x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946),
    "SiLU": lambda x, _: x * _sigmoid(x),
    "Sigmoid": lambda x, _: _sigmoid(x),
    "Softplus": lambda x, a: _softplus(x, a["beta"], a["threshold"]),
    "Softshrink": lambda x, a: math.copysign(max(abs(x) - a["lambd"], 0.0), x),
    "Softsign": lambda x, _: x / (1 + abs(x)),
    "Tanh": lambda x, _: math.tanh(x),
    "Tanhshrink": lambda x, _: x - math.tanh(x),
    "Threshold": lambda x, a: x if x > a["threshold"] else a["value"],
}
"""By kind, given a number and the module's attributes. They are those of `torch.nn`'s documentation."""
