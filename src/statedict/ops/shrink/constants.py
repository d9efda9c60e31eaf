"""What becomes of a channel that is the same everywhere, from one layer to the next, which can have it in its bias."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from statedict.index import TensorInfo
from statedict.narrow import is_tuple
from statedict.ops.shrink.chain import NORMS, Segment, Step
from statedict.ops.shrink.elementwise import ACTIVATIONS
from statedict.tree.reading import read

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]


class Passage:
    """What the modules between two layers make of constant channels."""

    def __init__(self, segment: Segment, tensors: Mapping[str, TensorInfo]) -> None:
        self._segment = segment
        self._tensors = tensors

    def vector(self, step: Step, name: str) -> "Numbers | None":
        """A tensor with one number for each channel; None where the module has none."""
        info = self._tensors.get(f"{step.path}.{name}")
        return None if info is None else read(info).astype("f8").reshape(-1)

    def arriving(self, values: "Numbers", silenced: "NDArray[np.bool_]") -> "Numbers":
        """What the next layer gets, of channels that leave the first as these values.

        Norms give nothing of those that are `silenced`, as if their scale and shift were zero. NaN stands for what is
        no more the same everywhere.
        """
        import numpy as np

        with np.errstate(all="ignore"):
            for step in self._segment.between:
                values = self._after(step, values, silenced)
            return np.where((values != 0) & self._fades(), np.nan, values)

    def constant(self) -> "Numbers":
        """What arrives of the channels that no input reaches, as their weights are zero or a norm's are; else NaN."""
        import numpy as np

        first = self._segment.first
        zero = largest(self._tensors[f"{first.path}.weight"], first.outputs) == 0
        bias = self.vector(first, "bias")
        values = np.where(zero, 0.0 if bias is None else bias, np.nan)
        return self.arriving(values, np.zeros(len(values), bool))

    def _after(self, step: Step, values: "Numbers", silenced: "NDArray[np.bool_]") -> "Numbers":
        import numpy as np

        attributes = step.info.attributes
        if step.kind in NORMS:
            return self._normed(step, values, silenced)
        if step.kind == "PReLU":
            return np.where(values >= 0, values, values * read(self._tensors[f"{step.path}.weight"]).astype("f8"))
        if rule := ACTIVATIONS.get(step.kind):
            found = {value: rule(value, attributes) for value in set(values[np.isfinite(values)].tolist())}
            return np.array([found.get(value, np.nan) for value in values.tolist()])
        dilutes = _pads(attributes) and attributes.get("count_include_pad")
        if step.kind.startswith("AvgPool") and (dilutes or attributes.get("divisor_override")):
            return np.where(values == 0, values, np.nan)
        return values

    def _normed(self, step: Step, values: "Numbers", silenced: "NDArray[np.bool_]") -> "Numbers":
        import numpy as np

        mean, variance = self.vector(step, "running_mean"), self.vector(step, "running_var")
        scale, shift = self.vector(step, "weight"), self.vector(step, "bias")
        if mean is None or variance is None:
            made = values * 0.0
        else:
            made = (values - mean) / np.sqrt(variance + step.info.attributes["eps"])
        if scale is None:
            return made
        shift = np.zeros_like(scale) if shift is None else shift
        return np.where(silenced, 0.0, np.where(scale == 0, shift, made * scale + shift))

    def _fades(self) -> bool:
        """Whether the next layer does not see the same everywhere: its padding is zeros, or strides leave gaps."""
        last = self._segment.last
        if last.is_transposed:
            return True
        return (
            last.is_convolution
            and _pads(last.info.attributes)
            and last.info.attributes.get("padding_mode", "zeros") == "zeros"
        )


def contribution(info: TensorInfo, step: Step, arriving: "Numbers") -> "Numbers":
    """What a layer with that weight makes of inputs that are the same everywhere, for each of its outputs."""
    import numpy as np

    from statedict.expressions.nodes import node_of
    from statedict.expressions.selecting import stretches

    shape = info.shape or (0, 0)
    inner = info.numel // max(1, shape[0] * shape[1])
    made = np.zeros(shape[step.outputs])
    for start, values in stretches(node_of(info)):
        at = np.arange(start, start + len(values))
        pair = at // (inner * shape[1]) % shape[0], at // inner % shape[1]
        weights = values * arriving[pair[1 - step.outputs]]
        made += np.bincount(pair[step.outputs], weights, minlength=len(made))
    return made


def largest(info: TensorInfo, dim: int) -> "Numbers":
    """The largest magnitude of each slice along one of the first two dimensions."""
    return _reduced(info, dim, "largest")


def norms(info: TensorInfo, dim: int, power: int) -> "Numbers":
    """The mean magnitude (`power` 1) or root mean square (2) of each slice along one of the first two dimensions.

    They order slices of one tensor as the L1 and L2 norms do; being means, they compare those of different sizes, too.
    """
    sums = _reduced(info, dim, "l1" if power == 1 else "l2") / max(1, info.numel // max(1, (info.shape or (1, 1))[dim]))
    return sums if power == 1 else sums**0.5


def _reduced(info: TensorInfo, dim: int, how: str) -> "Numbers":
    import numpy as np

    from statedict.expressions.nodes import node_of
    from statedict.expressions.selecting import stretches
    from statedict.ops.prune.kept import Checked

    shape = info.shape or (0, 0)
    inner = info.numel // max(1, shape[0] if dim == 0 else shape[0] * shape[1])
    found = np.zeros(shape[dim])
    for start, values in stretches(Checked(node_of(info), info.name)):
        at = np.arange(start, start + len(values)) // max(1, inner) % shape[dim]
        sizes = np.abs(values).astype(np.float64)
        if how == "largest":
            np.maximum.at(found, at, sizes)
        else:
            found += np.bincount(at, sizes if how == "l1" else np.square(sizes), minlength=len(found))
    return found


def _pads(attributes: Mapping[str, Any]) -> bool:
    """Whether a convolution or pool pads: 1, (0, 1), or "same", which is nothing for kernels of one."""
    padding = attributes.get("padding", 0)
    if padding == "same":
        kernel = _row(attributes.get("kernel_size", 2))
        return kernel.count(1) < len(kernel)
    return padding != "valid" and any(_row(padding))


def _row(value: Any) -> tuple[Any, ...]:
    return value if is_tuple(value) else (value,)
