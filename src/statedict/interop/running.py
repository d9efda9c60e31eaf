"""One forward pass of a live model, watched: in shapes alone where that is possible, which takes no memory."""
# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false, reportPrivateUsage=false

import contextlib
import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

Shape = tuple[int, ...]
Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
"""What a model is called with: in order, and by name."""


@dataclass(slots=True)
class Call:
    """What was seen of one module."""

    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape, ...] = ()
    """Shapes of the tensors in its first call."""
    macs: int = 0
    """Multiply-accumulates in all calls."""
    count: int = 0


@dataclass(slots=True)
class Run:
    """What was seen of one forward pass."""

    calls: dict[nn.Module, Call] = field(default_factory=dict[nn.Module, Call])
    macs: int | None = None
    activations: int | None = None
    """Bytes that modules without children returned, without views of what they took."""
    simulated: bool = True


def ran(model: nn.Module, arguments: Arguments) -> Run:
    """What is seen of one forward pass in evaluation, without gradients.

    It goes through PyTorch's fake tensors, which have shapes and no elements; where the model asks for elements, it
    runs, and raises what that raises.
    """
    with as_in_evaluation(model), torch.no_grad(), torch.random.fork_rng(devices=[]), _plain_kernels():
        try:
            with _quiet():
                return _watched(model, lambda: _simulate(model, arguments))
        except Exception:  # noqa: BLE001 - whatever a model does to a tensor without elements: it may do it to real ones
            run = _watched(model, lambda: model(*arguments[0], **arguments[1]))
            run.simulated = False
            return run


def _simulate(model: nn.Module, arguments: Arguments) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        made: dict[int, torch.Tensor] = {}

        def fake(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            if id(value) not in made:
                made[id(value)] = mode.from_tensor(value)
            return made[id(value)]

        state = {name: fake(tensor) for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        inputs, named = tree_map(fake, (arguments[0], dict(arguments[1])))
        torch.func.functional_call(model, state, inputs, named)


def _watched(model: nn.Module, forward: Callable[[], object]) -> Run:
    run = Run(activations=0)
    counter = FlopCounterMode(display=False, custom_mapping=_ALSO)
    began: list[int] = []

    def before(_module: nn.Module, _inputs: Any, _named: Any) -> None:
        began.append(counter.get_total_flops())

    def after(module: nn.Module, inputs: Any, named: Any, output: Any) -> None:
        call = run.calls.setdefault(module, Call())
        taken, returned = _tensors((inputs, named)), _tensors(output)
        if not call.count:
            call.inputs, call.outputs = _shapes(taken), _shapes(returned)
        call.count += 1
        call.macs += (counter.get_total_flops() - began.pop()) // 2
        if not module._modules:
            run.activations = (run.activations or 0) + _new_bytes(taken, returned)

    hooks = [
        hook
        for module in model.modules()
        for hook in (
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after, with_kwargs=True),
        )
    ]
    try:
        with counter:
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    run.macs = counter.get_total_flops() // 2
    return run


def _grouped_product(left: Shape, right: Shape, *_others: Any, **_named: Any) -> int:
    """Floating-point operations of one matrix product for each group of rows, as mixtures of experts make them."""
    groups = left[0] if len(left) == len(right) == 3 else 1
    return 2 * groups * left[-2] * left[-1] * right[-1]


_ALSO = {torch.ops.aten._grouped_mm: _grouped_product} if hasattr(torch.ops.aten, "_grouped_mm") else {}
"""What FlopCounterMode has no formula for."""


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _shapes(tensors: list[torch.Tensor]) -> tuple[Shape, ...]:
    return tuple(tuple(int(size) for size in tensor.shape) for tensor in tensors)


def _new_bytes(taken: list[torch.Tensor], returned: list[torch.Tensor]) -> int:
    """Bytes of what is returned that is not the memory of what was taken."""
    known = {tensor.untyped_storage()._cdata for tensor in taken if tensor.layout is torch.strided}
    total = 0
    for tensor in returned:
        if tensor.layout is torch.strided and tensor.untyped_storage()._cdata not in known:
            known.add(tensor.untyped_storage()._cdata)
            total += tensor.numel() * tensor.element_size()
    return total


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """No log of what fake tensors cannot do: then the model runs."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextlib.contextmanager
def as_in_evaluation(model: nn.Module) -> Generator[None]:
    """All modules in evaluation, so that nothing is learnt or drawn; each is then what it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _plain_kernels() -> Generator[None]:
    """Attention and recurrent layers as matrix products: of fused ones FlopCounterMode counts nothing."""
    attention: Any = torch.backends.mha
    library: Any = torch.backends.mkldnn
    before = attention.get_fastpath_enabled(), library.enabled
    attention.set_fastpath_enabled(False)
    library.enabled = False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        attention.set_fastpath_enabled(before[0])
        library.enabled = before[1]
