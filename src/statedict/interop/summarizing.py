"""What a live model is, layer by layer: kinds, shapes in and out, parameters, multiply-accumulates, memory."""
# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false, reportPrivateUsage=false

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from statedict.errors import StatedictError
from statedict.interop.groups import live, live_module, parameters
from statedict.interop.live import live_tree
from statedict.interop.running import Run, ran
from statedict.interop.torch import is_lazy
from statedict.ops.groups import Named, named_once
from statedict.ops.select import named_modules
from statedict.tree.module import Module

Shape = tuple[int, ...]


class Layer(NamedTuple):
    """One name of one module."""

    name: str
    kind: str
    parameters: int = 0
    """Elements of the parameters in it and below that no earlier module, and no earlier name, has: they add up."""
    trainable: int = 0
    """Those of them that require gradients."""
    own: tuple[str, ...] = ()
    """The parameters that it holds itself, where it has children, too."""
    same_as: str | None = None
    """The name that it had before, of a module met again."""
    tied: Mapping[str, str] = {}
    """Of its own parameters those that were met before, with the names that they had."""
    inputs: tuple[Shape, ...] = ()
    """The shapes of the tensors that it took in its first call; none where it was not called."""
    outputs: tuple[Shape, ...] = ()
    macs: int = 0
    """Multiply-accumulates of matrix products and convolutions in all its calls, those of what is in it included."""
    calls: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class ModelSummary:
    """What a live model is. Printed, a table of its modules, `depth` levels deep, and totals."""

    title: str
    layers: Sequence[Layer]
    """Every name of every module, parents first."""
    parameters: int
    """Elements, each counted once."""
    trainable: int
    buffers: int
    """Elements of the buffers."""
    nbytes: int
    """Bytes of parameters and buffers."""
    macs: int | None = None
    """Multiply-accumulates of one forward pass; None where there was none."""
    activations: int | None = None
    """Bytes that the modules without children returned in one forward pass, without views of what they took."""
    simulated: bool = True
    """Whether shapes alone went through the model; else it ran."""
    depth: int | None = 3

    def __str__(self) -> str:
        from statedict.views.lines import plain
        from statedict.views.summary import summary_lines

        return plain(summary_lines(self)).removesuffix("\n")

    def __repr__(self) -> str:
        return str(self)


def summary(net: nn.Module | Module, input_size: Any, example: Any, dtype: Any, depth: int | None) -> ModelSummary:
    """The summary; see `statedict.summary`."""
    model = live_module(net)
    tree = live_tree(model)
    if lazy := next((name for name, tensor in _tensors(model) if is_lazy(tensor)), None):
        raise StatedictError(f"parameter `{lazy}` has no shape yet: run the lazy model once, then ask for its summary")
    if input_size is not None and example is not None:
        raise StatedictError("both `input_size` and `example` say what goes in; give one of them")
    run = Run()
    if input_size is not None or example is not None:
        run = ran(model, zeros_of(model, input_size, dtype) if example is None else arguments(example))
    layers = _layers(tree, run)
    buffers = {id(buffer): buffer for buffer in model.buffers()}.values()
    named = [live(each.entry) for each in named_once(parameters(tree))]
    return ModelSummary(
        type(model).__name__,
        layers,
        layers[0].parameters,
        layers[0].trainable,
        sum(buffer.numel() for buffer in buffers),
        sum(tensor.numel() * tensor.element_size() for tensor in (*named, *buffers)),
        run.macs,
        run.activations,
        run.simulated,
        depth,
    )


def _tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _layers(tree: Module, run: Run) -> list[Layer]:
    """Every name of every module with what is known of it."""
    once = named_once(parameters(tree))
    first = {name: each.name for each in once for name in each.names}
    inside, trainable = _inside(once), _inside([each for each in once if each.entry.tensor.requires_grad])
    met: dict[int, str] = {}
    layers: list[Layer] = []
    for name, module, _ in named_modules(tree):
        theirs: nn.Module = cast("Any", module).live
        before = met.setdefault(id(theirs), name)
        if before != name:
            layers.append(Layer(name, type(theirs).__name__, same_as=before))
            continue
        head = name + "." if name else ""
        own = [head + local for local, held in theirs._parameters.items() if held is not None]
        layer = Layer(name, type(theirs).__name__, inside[name], trainable[name], tuple(own) if theirs._modules else ())
        layer = layer._replace(tied={each: first[each] for each in own if first[each] != each})
        if (call := run.calls.get(theirs)) is not None:
            layer = layer._replace(inputs=call.inputs, outputs=call.outputs, macs=call.macs, calls=call.count)
        layers.append(layer)
    return layers


def _inside(parameters: Iterable[Named]) -> Counter[str]:
    """Elements of the parameters whose first names are in each module."""
    found: Counter[str] = Counter()
    for each in parameters:
        numel, module = live(each.entry).numel(), each.name.rpartition(".")[0]
        found[""] += numel
        while module:
            found[module] += numel
            module = module.rpartition(".")[0]
    return found


def arguments(example: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """What an example stands for: named arguments of a mapping, several of a tuple, one of anything else."""
    if isinstance(example, Mapping):
        return (), cast("Mapping[str, Any]", example)
    return (cast("tuple[Any, ...]", example) if isinstance(example, tuple) else (example,)), {}


def zeros_of(model: nn.Module, input_size: Any, dtype: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Zeros of the sizes: of one tensor, of a list of several, or of a mapping of named ones.

    Raises StatedictError where they are no sizes.
    """
    parameter = next((each for each in model.parameters() if each.is_floating_point()), torch.empty(0))
    kind = parameter.dtype if dtype is None else dtype if isinstance(dtype, torch.dtype) else getattr(torch, str(dtype))

    def zeros(size: Any) -> torch.Tensor:
        if not isinstance(size, Sequence) or not all(isinstance(each, int) and each >= 0 for each in cast("Any", size)):
            raise StatedictError(f"`input_size` is {input_size!r}; expected such as (1, 3, 224, 224), batch included")
        return torch.zeros(tuple(cast("Sequence[int]", size)), dtype=kind, device=parameter.device)

    if isinstance(input_size, Mapping):
        return (), {name: zeros(size) for name, size in cast("Mapping[str, Any]", input_size).items()}
    sizes = cast("Sequence[Any]", input_size) if isinstance(input_size, Sequence) else ()
    several = bool(sizes) and not isinstance(sizes[0], int)
    return tuple(map(zeros, sizes if several else [input_size])), {}
