"""Which axes of a weight are its outputs and its inputs, as far as the kind of its module tells."""

import re

_TORCH = re.compile(r"(?:Lazy)?Conv(Transpose)?[123]d")
_KERAS = re.compile(r"Conv[123]D(Transpose)?")
_INPUTS_FIRST = frozenset({"Conv1D", "Dense"})


def channels(kind: str | None, ndim: int) -> tuple[int, int] | None:
    """The axes of output and of input channels of a convolution's kernel; None of what is no kernel.

    PyTorch lays them out as (out, in / groups, ...), transposed ones as (in, out / groups, ...); Keras as
    (..., in, out), transposed ones as (..., out, in).
    """
    if kind is None or ndim < 3:
        return None
    if found := _TORCH.fullmatch(kind):
        return (1, 0) if found[1] else (0, 1)
    if found := _KERAS.fullmatch(kind):
        return (ndim - 2, ndim - 1) if found[1] else (ndim - 1, ndim - 2)
    return None


def has_inputs_first(kind: str | None) -> bool:
    """Whether the matrix of a module of that kind is (in, out): that of GPT-2's Conv1D and of Keras' Dense."""
    return kind in _INPUTS_FIRST
