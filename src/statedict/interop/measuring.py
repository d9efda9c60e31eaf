"""What a live model is and does: its size, its multiply-accumulates, and the time of a forward pass."""
# pyright: reportUnknownMemberType=false

import time
from typing import Any, NamedTuple

import torch
from torch import nn

from statedict.errors import StatedictError
from statedict.interop.modules import holders
from statedict.interop.running import Arguments, as_in_evaluation, ran
from statedict.interop.summarizing import zeros_of
from statedict.tree.module import Module

_PASSES = 10


class Measured(NamedTuple):
    """What a live model is, and how long it takes."""

    parameters: int
    nbytes: int
    """Bytes of parameters and buffers."""
    macs: int
    """Multiply-accumulates of a forward pass, as `torch.utils.flop_counter` counts them."""
    seconds: float
    """The best of several forward passes."""


def measured(net: nn.Module, given: Arguments) -> Measured:
    """What a live model is, and does when it is called with these arguments, in evaluation."""
    tensors = {id(each): each for each in (*net.parameters(), *net.buffers())}.values()
    with as_in_evaluation(net), torch.no_grad():
        times = [_timed(net, given) for _ in range(_PASSES)]
    return Measured(
        sum(each.numel() for each in net.parameters()),
        sum(each.numel() * each.element_size() for each in tensors),
        ran(net, given).macs or 0,
        min(times),
    )


def _timed(net: nn.Module, given: Arguments) -> float:
    began = time.perf_counter()
    net(*given[0], **given[1])
    return time.perf_counter() - began


def measured_file(module: Module, input_size: Any) -> Measured:
    """The same of a whole model from a file, which is built for that, with zeros of these sizes.

    Raises StatedictError where it has classes that are not PyTorch's, and where it does not take such an input.
    """
    net = module.to_torch()
    if unknown := next(iter(holders(net).values()), None):
        raise StatedictError(
            f"the code of `{unknown}` is not in the file, so the model cannot be run; leave `input_size` out, or "
            "shrink the live model with `sd.shrink_live`"
        )
    given = zeros_of(net, input_size, None)
    try:
        return measured(net, given)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        said = " ".join(str(error).split())
        raise StatedictError(f"the model does not run with zeros of the size {input_size}: {said}") from error
