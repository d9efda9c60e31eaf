"""The layers of a row of modules, and between which of them channels can go: two known layers and what lies between."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from statedict.errors import StatedictError
from statedict.index import Index, ModuleInfo
from statedict.ops.shrink.elementwise import ACTIVATIONS

_SEQUENTIAL = "torch.nn.modules.container.Sequential"
_CONVOLUTION = re.compile(r"Conv(Transpose)?[123]d")
NORMS = frozenset(f"{kind}Norm{dims}d" for kind in ("Batch", "Instance") for dims in (1, 2, 3))
_POOLS = frozenset(f"{kind}Pool{dims}d" for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax") for dims in (1, 2, 3))
_SAME = frozenset(
    (
        *("Identity", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"),
        *("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"),
    )
)
"""Kinds that, in evaluation, leave a channel that is the same everywhere as it is."""
_NEEDS_PLACES = (
    _POOLS
    | {kind for kind in NORMS if kind != "BatchNorm1d"}
    | {"Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"}
)
"""Kinds that look at the positions within a channel, which the outputs of a linear layer do not have."""


class Step(NamedTuple):
    """One module of the row."""

    path: str
    info: ModuleInfo

    @property
    def kind(self) -> str:
        """The class, where it is PyTorch's own; else its full name, which no rule knows."""
        name = self.info.class_name or ""
        return name.rpartition(".")[2] if name.startswith("torch.nn.modules.") else name or "?"

    @property
    def said(self) -> str:
        return f"`{self.path}` ({self.kind})"

    @property
    def is_convolution(self) -> bool:
        return _CONVOLUTION.fullmatch(self.kind) is not None

    @property
    def is_transposed(self) -> bool:
        return self.kind.startswith("ConvTranspose")

    @property
    def outputs(self) -> int:
        """The dimension of its weight that counts what comes out; the other of the first two counts what goes in."""
        return int(self.is_transposed)

    @property
    def size_names(self) -> tuple[str, str]:
        """The attributes that say how many channels go in, and come out."""
        return ("in_channels", "out_channels") if self.is_convolution else ("in_features", "out_features")


@dataclass(frozen=True, slots=True)
class Segment:
    """A layer whose output channels can go, what lies behind it, and the layer that takes them."""

    first: Step
    between: tuple[Step, ...]
    last: Step
    repeats: int
    """How many neighbouring inputs of `last` are one channel: the positions that a Flatten lays side by side."""
    channels: int


@dataclass(slots=True)
class Chain:
    """What was found in a row of modules."""

    segments: list[Segment] = field(default_factory=list[Segment])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Why the outputs of other layers stay, by the layer's name."""


def followed(index: Index, roots: Iterable[str]) -> Chain:
    """What is found in the rows at these names. Raises StatedictError for one that is no `torch.nn.Sequential`."""
    found = Chain()
    for root in roots:
        info = index.modules.get(root)
        if info is None or info.class_name != _SEQUENTIAL:
            raise StatedictError(_no_row(index, root, info))
        _Reading(index, found).row(list(_steps(index, root, info, set())))
    return found


def _no_row(index: Index, root: str, info: ModuleInfo | None) -> str:
    rows = [path for path, each in index.modules.items() if path and each.class_name == _SEQUENTIAL]
    what = f"`{root}` is" if root else "the model is"
    if info is None or info.class_name is None:
        if not rows:
            return (
                f"{what} no whole model, which says the kinds of its layers: a file of tensors alone does not; "
                "write it with `torch.save(model)`, or shrink the live model with `sd.shrink_live`"
            )
        return f"{what} no module; expected a torch.nn.Sequential, such as `{rows[0]}`"
    kind = info.class_name.rpartition(".")[2]
    if rows:
        hint = f"where its code calls `{rows[0]}` as a whole, say so: `chains=['{rows[0]}']`, `--chain {rows[0]}`"
    else:
        hint = "shrink the live model with `sd.shrink_live`"
    return f"{what} a {kind}, and what its code does is not in the file: only torch.nn.Sequential is followed; {hint}"


def _steps(index: Index, path: str, info: ModuleInfo, above: set[int]) -> Iterator[Step]:
    """Yield the modules of a row in the order in which it calls them, those of rows in it in their places."""
    if info.class_name != _SEQUENTIAL:
        yield Step(path, info)
        return
    if id(info) in above:
        raise StatedictError(f"`{path}`: is in itself; expected a torch.nn.Sequential of other modules")
    for local in info.modules:
        below = f"{path}.{local}" if path else local
        if below not in index.modules:  # a second name of a shared row, or a module of which nothing is said
            yield Step(below, ModuleInfo())
        else:
            yield from _steps(index, below, index.modules[below], above | {id(info)})


class _Reading:
    """One pass along a row."""

    def __init__(self, index: Index, found: Chain) -> None:
        self._index = index
        self._found = found
        self._names = Counter(map(id, index.tensors.values()))
        self._first: Step | None = None
        self._between: list[Step] = []

    def row(self, steps: list[Step]) -> None:
        calls = Counter(id(step.info) for step in steps)
        for step in steps:
            reason = self._unknown(step, calls[id(step.info)])
            if not reason and (step.is_convolution or step.kind == "Linear"):
                self._layer(step)
            elif reason:
                self._end(reason)
                if step.is_convolution or step.kind == "Linear":
                    self._found.left_out[step.path] = reason
            elif self._first is not None:
                self._between.append(step)
        self._end("what the last layer gives is what the chain gives")

    def _layer(self, step: Step) -> None:
        if self._first is not None:
            repeats, channels = self._joint(self._first, step)
            if repeats:
                segment = Segment(self._first, tuple(self._between), step, repeats, channels)
                self._found.segments.append(segment)
            else:
                self._end(f"how its channels reach {step.said} is not known")
        self._first, self._between = step, []

    def _end(self, reason: str) -> None:
        if self._first is not None:
            self._found.left_out[self._first.path] = reason
        self._first, self._between = None, []

    def _joint(self, first: Step, last: Step) -> tuple[int, int]:
        """How many neighbouring inputs of `last` are one channel of `first` (0: that is not known), and channels."""
        channels, inputs = self._size(first, outputs=True), self._size(last, outputs=False)
        kinds = [step.kind for step in self._between]
        flat = kinds.index("Flatten") if "Flatten" in kinds else len(kinds)
        features = kinds[flat:] if first.is_convolution else kinds  # what meets features, and no places in channels
        if any(self._size_of(step) not in (None, channels) for step in self._between) or _NEEDS_PLACES & {*features}:
            return 0, channels
        if first.is_convolution and last.kind == "Linear" and "Flatten" in kinds:
            return (inputs // channels if inputs % channels == 0 else 0), channels
        alike = first.is_convolution == last.is_convolution and not (first.is_convolution and "Flatten" in kinds)
        return int(alike and channels == inputs), channels

    def _size(self, step: Step, *, outputs: bool) -> int:
        shape = self._index.tensors[f"{step.path}.weight"].shape or (0, 0)
        return shape[step.outputs if outputs else 1 - step.outputs]

    def _size_of(self, step: Step) -> int | None:
        """The channels that a norm, or a PReLU with a slope for each, is for."""
        if step.kind in NORMS:
            return int(step.info.attributes["num_features"])
        if step.kind == "PReLU":
            slopes = self._index.tensors[f"{step.path}.weight"].numel
            return None if slopes == 1 else slopes
        return None

    def _unknown(self, step: Step, calls: int) -> str:
        """Why a module is not understood; "" where it is."""
        tensors = [name for name in (*step.info.parameters, *step.info.buffers) if self._has(step, name)]
        if step.info.modules:
            return f"{step.said} holds modules of its own"
        if reason := _unlike(step, tensors):
            return reason
        if calls > 1 and (tensors or step.kind in NORMS):
            return f"{step.said} is called more than once"
        tied = next((name for name in tensors if self._names[id(self._index.tensors[f"{step.path}.{name}"])] > 1), None)
        if tied is not None:
            return f"`{step.path}.{tied}` is tied to another tensor"
        if step.kind == "Linear" or step.is_convolution:
            return self._unfit(step)
        return self._incomplete(step, tensors)

    def _has(self, step: Step, name: str) -> bool:
        return f"{step.path}.{name}" in self._index.tensors

    def _unfit(self, step: Step) -> str:
        """Why the weight of a layer is not what its attributes say; "" where it is."""
        info = self._index.tensors[f"{step.path}.weight"]
        sizes = tuple(step.info.attributes.get(name) for name in step.size_names)
        shape = (info.shape or ())[:2]
        fits = len(shape) == 2 and (shape if step.is_transposed else shape[::-1]) == sizes and 0 not in shape
        bias = self._index.tensors.get(f"{step.path}.bias")
        fits = fits and (bias is None or bias.shape == (sizes[1],))
        if not fits or not info.dtype.is_floating_point:
            return f"the weight of {step.said} is {info.dtype}, {info.shape}, which does not fit what the layer says"
        return ""

    def _incomplete(self, step: Step, tensors: list[str]) -> str:
        """Why what is said of a module without channels of its own is not what its kind says; "" where it is."""
        attributes = step.info.attributes
        if step.kind in NORMS:
            sizes = {
                (attributes.get("num_features"),),
                (),
            }  # one number for each channel, and how many batches there were
            shapes = {self._index.tensors[f"{step.path}.{name}"].shape for name in tensors}
            complete = isinstance(attributes.get("eps"), float) and shapes <= sizes and (None,) not in shapes
            complete = complete and isinstance(attributes.get("num_features"), int)
        else:
            complete = _works(step)
        return "" if complete else f"{step.said} lacks what its kind says of itself"


def _works(step: Step) -> bool:
    """Whether an activation's attributes are such that it can be computed."""
    rule = ACTIVATIONS.get(step.kind)
    try:
        return rule is None or all(isinstance(rule(x, step.info.attributes), float | int) for x in (-30.0, 0.0, 30.0))
    except (KeyError, TypeError, ArithmeticError, ValueError):
        return False


def _unlike(step: Step, tensors: list[str]) -> str:
    """Why a module is none of the known kinds, or not as those are; "" where it is."""
    attributes: Mapping[str, object] = step.info.attributes
    known = {"weight", "bias"}
    if step.kind == "Linear" or step.is_convolution:
        if attributes.get("groups", 1) != 1:
            return f"{step.said} has groups"
        needed = {"weight"}
    elif step.kind in NORMS:
        needed, known = set[str](), known | {"running_mean", "running_var", "num_batches_tracked"}
    elif step.kind == "PReLU":
        needed = known = {"weight"}
    elif step.kind == "Flatten":
        if (attributes.get("start_dim"), attributes.get("end_dim")) != (1, -1):
            return f"{step.said} flattens other dimensions than all but the first"
        needed = known = set[str]()
    elif (
        step.kind in ACTIVATIONS or step.kind in _SAME or (step.kind in _POOLS and not attributes.get("return_indices"))
    ):
        needed = known = set[str]()
    else:
        return f"{step.said} is no layer whose rule is known"
    if not needed <= set(tensors) <= known:
        return f"{step.said} holds other tensors than its kind does: {', '.join(tensors) or 'none'}"
    return ""
