"""`shrink`: a whole model of known layers in a row, with fewer channels."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict import collector
from statedict.errors import StatedictError
from statedict.expressions.rounding import convert
from statedict.expressions.taking import taken
from statedict.extras import needed
from statedict.index import Index, TensorInfo
from statedict.ops.prune.amounts import Amount
from statedict.ops.shrink.chain import NORMS, Segment, Step, followed
from statedict.ops.shrink.choosing import dead as dead_ones
from statedict.ops.shrink.choosing import least
from statedict.ops.shrink.constants import Passage, contribution
from statedict.tree.build import build
from statedict.tree.flat import flatten
from statedict.tree.module import Module
from statedict.tree.reading import info_of_array, read

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from statedict.interop.measuring import Measured

    Kept = NDArray[np.bool_]


class Layer(NamedTuple):
    """One layer whose outputs could go."""

    name: str
    kind: str
    before: int
    after: int
    """How many output channels it has."""


@dataclass(frozen=True, slots=True, repr=False)
class Shrunk:
    """A model with fewer channels. Printed, a line for each layer, whether channels could go or not."""

    model: Module
    """The tree: `sd.save(model, "small.pt", whole=True)` writes what `torch.load` runs; `model.to_torch()` runs."""
    layers: Sequence[Layer]
    left_out: Mapping[str, str]
    """Why the outputs of other layers stay, by the layer's name."""
    parameters: tuple[int, int]
    """Elements of all parameters before and after, tied ones once."""
    nbytes: tuple[int, int]
    """Bytes of all tensors before and after, tied ones once."""
    work: "tuple[Measured, Measured] | None" = None
    """Multiply-accumulates and seconds of a forward pass before and after, where an input size was given."""

    def __str__(self) -> str:
        lines = [f"{row.name} ({row.kind}): {row.before:,} to {row.after:,} channels" for row in self.layers]
        lines += [f"{name}: left as it is, {reason}" for name, reason in self.left_out.items()]
        lines.append("parameters: {:,} to {:,}".format(*self.parameters))
        if self.work is not None:
            lines.append("multiply-accumulates: {:,} to {:,}".format(*(each.macs for each in self.work)))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


@collector.paused()
def shrink(
    model: Module,
    amount: Amount | None = None,
    *,
    norm: str = "l1",
    scope: str = "tensor",
    dead: bool = False,
    chains: Sequence[str] = ("",),
    input_size: Any = None,
) -> Shrunk:
    """A whole model with fewer channels, which computes what the old one does without them.

    Modules are followed through `torch.nn.Sequential` alone, the model itself or those named in `chains`, each of which
    the model's own code must call as a whole: from each Linear or convolution through norms, activations, pooling,
    dropout and Flatten to the next. What is not known (other kinds, groups, tied weights) stays as it is, with what is
    next to it: `left_out` says why. `amount` is a share or number of the channels of each layer, or with the `scope`
    "global" of all; those with the smallest L1 or L2 norm go, or with `norm="batchnorm"` the smallest scale of the
    norm behind them (Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming"). Of equal
    ones the first stay, and in every layer the best. With `dead` those go, instead, whose outputs are the same
    whatever goes in, and those that the next layer does not read: the model then computes what it did, in evaluation.

    With an amount, the result computes what the model does when the weights and biases of these channels, and scale
    and shift of the norms behind, are zero. What activations make of zero (0.5 of a Sigmoid) goes into the bias of the
    next layer. Tensors are read when they are needed: a tree of slices.

    With `input_size`, such as (1, 3, 224, 224) with the batch, both models are built and run with zeros of that size,
    and `work` says what they do; that needs PyTorch.

    Raises StatedictError for a tree that names no classes, for a root that is no Sequential, where no channel can go,
    and where a channel is not nothing and the next layer's padding with zeros lets no bias stand for it; and for an
    input that the model does not take.
    """
    index = flatten(model)
    found = followed(index, chains)
    if dead == (amount is not None):
        raise StatedictError("say either an `amount` of channels, such as 0.5, or `dead=True`")
    if not found.segments:
        raise StatedictError(_nothing(found.left_out))
    if amount is None:
        kept = dead_ones(found.segments, index.tensors)
    else:
        kept = least(found.segments, index.tensors, amount, norm, scope)
    made = _Made(index)
    for segment, stays in zip(found.segments, kept, strict=True):
        if not stays.all():
            made.without(segment, stays, silenced=amount is not None)
    after = made.index()
    layers = [
        Layer(segment.first.path, segment.first.kind, len(stays), int(stays.sum()))
        for segment, stays in zip(found.segments, kept, strict=True)
    ]
    sizes = [_sizes(each) for each in (index, after)]
    parameters, nbytes = ((sizes[0][at], sizes[1][at]) for at in (0, 1))
    small = build(after)
    work = None if input_size is None else _work(model, small, input_size)
    return Shrunk(small, layers, found.left_out, parameters, nbytes, work)


def _work(before: Module, after: Module, input_size: Any) -> "tuple[Measured, Measured]":
    needed("torch", "torch", "multiply-accumulates and speed are PyTorch's")
    from statedict.interop.measuring import measured_file

    return measured_file(before, input_size), measured_file(after, input_size)


def _nothing(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return "there is nothing to shrink: no Linear and no convolution in the row of modules"
    name, reason = next(iter(left_out.items()))
    return f"no channels can go: those of `{name}` stay, as {reason}" + (
        f"; of {len(left_out)} layers none is followed by another that is known" if len(left_out) > 1 else ""
    )


def _sizes(index: Index) -> tuple[int, int]:
    """Elements of the parameters, and bytes of all tensors; tied ones once."""
    infos = {id(info): info for info in index.tensors.values()}
    mine: dict[int, TensorInfo] = {}
    for path, module in index.modules.items():
        for local in module.parameters:
            info = index.tensors.get(f"{path}.{local}" if path else local)
            if info is not None:
                mine[id(info)] = info
    return sum(info.numel for info in mine.values()), sum(info.nbytes for info in infos.values())


class _Made:
    """The tensors and modules so far."""

    def __init__(self, index: Index) -> None:
        self._old = index
        self._tensors = dict(index.tensors)
        self._modules = dict(index.modules)

    def index(self) -> Index:
        return Index("memory", self._old.source, self._tensors, self._modules, self._old.metadata)

    def without(self, segment: Segment, stays: "Kept", *, silenced: bool) -> None:
        """Take the channels of a segment's first layer away, that do not stay, and what belongs to them behind it.

        `silenced`: they were to give nothing; else they were the same whatever goes in, or not read.
        """
        import numpy as np

        first, last = segment.first, segment.last
        self._compensate(segment, stays, silenced=silenced)
        self._cut(first, "weight", first.outputs, stays)
        self._cut(first, "bias", 0, stays)
        self._say(first, first.size_names[1], int(stays.sum()))
        for step in segment.between:
            if step.kind in NORMS:
                for name in ("weight", "bias", "running_mean", "running_var"):
                    self._cut(step, name, 0, stays)
                self._say(step, "num_features", int(stays.sum()))
            elif step.kind == "PReLU" and self._tensors[f"{step.path}.weight"].numel > 1:
                self._cut(step, "weight", 0, stays)
                self._say(step, "num_parameters", int(stays.sum()))
        inputs = np.repeat(stays, segment.repeats)
        self._cut(last, "weight", 1 - last.outputs, inputs)
        self._say(last, last.size_names[0], int(inputs.sum()))

    def _compensate(self, segment: Segment, stays: "Kept", *, silenced: bool) -> None:
        """Give the next layer's bias what the channels that go bring there."""
        import numpy as np

        passage, last = Passage(segment, self._tensors), segment.last
        weight = self._tensors[f"{last.path}.weight"]
        arriving = passage.arriving(np.zeros(len(stays)), ~stays) if silenced else np.nan_to_num(passage.constant())
        arriving = np.where(stays, 0.0, arriving)
        if np.isnan(arriving).any():
            raise StatedictError(
                f"channels of {segment.first.said} cannot go: the modules behind it do not give zero for them, and "
                f"{last.said} does not see that everywhere alike, as it pads with zeros or leaves gaps; leave this "
                "part out with `chains`, or shrink the live model with `sd.shrink_live`"
            )
        if not arriving.any():
            return
        more = contribution(weight, last, np.repeat(arriving, segment.repeats))
        name = f"{last.path}.bias"
        bias = self._tensors.get(name)
        values = more if bias is None else read(bias).astype("f8") + more
        made = info_of_array(convert(values, weight.dtype if bias is None else bias.dtype), name)
        grad = (weight if bias is None else bias).requires_grad
        self._put(name, made._replace(requires_grad=grad), behind=f"{last.path}.weight")

    def _put(self, name: str, info: TensorInfo, behind: str) -> None:
        if name in self._tensors:
            self._tensors[name] = info
            return
        rows = list(self._tensors.items())
        at = 1 + list(self._tensors).index(behind)
        self._tensors = dict([*rows[:at], (name, info), *rows[at:]])

    def _cut(self, step: Step, local: str, dim: int, stays: "Kept") -> None:
        name = f"{step.path}.{local}"
        if name in self._tensors:
            self._tensors[name] = taken(self._tensors[name], dim, stays.nonzero()[0].tolist())

    def _say(self, step: Step, attribute: str, value: int) -> None:
        """Change an attribute of a module, under all its names."""
        before = self._modules[step.path]
        after = dataclasses.replace(before, attributes={**before.attributes, attribute: value})
        paths = [path for path, info in self._modules.items() if info is before]
        self._modules.update(dict.fromkeys(paths, after))
