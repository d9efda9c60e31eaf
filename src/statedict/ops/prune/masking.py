"""Tensors of which a part is zero, computed when they are read; the masks in them, and those that a file gives."""

from typing import TYPE_CHECKING, Any

from statedict import collector
from statedict.dtypes import DTYPES
from statedict.errors import StatedictError
from statedict.expressions.nodes import Computed, Node, computed, node_of
from statedict.index import Index, TensorInfo
from statedict.ops.prune.kept import Kept
from statedict.tree.build import build
from statedict.tree.flat import flatten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from statedict.tree.module import Module


class Pruned(Node):
    """The elements of another node that stay; the others are +0."""

    __slots__ = ("kept", "of")

    def __init__(self, of: Node, kept: Kept) -> None:
        self.of, self.kept = of, kept
        self.dtype, self.numel = of.dtype, of.numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self.of,)

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        import numpy as np

        values = self.of.stored(start, stop)
        bits = values.view(f"u{values.itemsize}")
        return np.multiply(bits, self.kept.keeps(values, start), out=bits).view(values.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return Pruned, (self.of, self.kept)


class Mask(Node):
    """Which elements of a pruned node stay, as truth values."""

    __slots__ = ("_pruned",)

    def __init__(self, pruned: Pruned) -> None:
        self._pruned = pruned
        self.dtype, self.numel = DTYPES["bool"], pruned.numel

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self._pruned,)

    def stored(self, start: int, stop: int) -> "NDArray[Any]":
        return self._pruned.kept.keeps(self._pruned.of.stored(start, stop), start)

    def __reduce__(self) -> tuple[Any, ...]:
        return Mask, (self._pruned,)


class Given(Kept):
    """The elements where another tensor is not zero."""

    __slots__ = ("_mask",)

    def __init__(self, mask: Node) -> None:
        self._mask = mask

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        return self._mask.stored(start, start + len(values)) != 0


def pruned_info(info: TensorInfo, kept: Kept) -> TensorInfo:
    """The same tensor with zeros for what does not stay."""
    return computed(Pruned(node_of(info), kept), info.shape or (), info)


@collector.paused()
def masks(model: "Module") -> "Module":
    """A tree of the masks of what `prune` pruned: for each such tensor of `model`, truth values, true where it stays.

    They have the tensors' names, and are computed when they are read; `prune(..., method="mask", masks=...)` takes
    them. Raises StatedictError where nothing of the tree is pruned and not yet saved.
    """
    flat = flatten(model)
    made: dict[int, TensorInfo] = {}
    found: dict[str, TensorInfo] = {}
    for name, info in flat.tensors.items():
        node = node_of(info) if _is_plain(info) else None
        if isinstance(node, Pruned):
            found[name] = made.setdefault(id(info), computed(Mask(node), info.shape or (), info))
    if not found:
        raise StatedictError("the tree holds no masks; expected what `prune` returned")
    return build(Index("memory", flat.source, found, {}, flat.metadata))


def _is_plain(info: TensorInfo) -> bool:
    return info.extent is not None and isinstance(info.extent.source, Computed)
