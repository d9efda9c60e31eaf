"""How a file is pruned: the words of `prune`, and for each the units of a tensor that it chooses among."""

import re
from typing import NamedTuple

from statedict.errors import StatedictError
from statedict.ops.prune.methods import METHODS, WHOLE, Method, method_of
from statedict.ops.prune.whole import Blocks, Units, slices
from statedict.ops.select import NamedTensor
from statedict.tree.channels import channels, has_inputs_first

_BLOCK = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
_MASK = "mask"
NORMS = ("l1", "l2", "batchnorm")
"""By what whole slices and blocks are ranked; the last of channels only."""


class Way(NamedTuple):
    """One way to prune."""

    name: str
    """One of `METHODS`, or "n:m", "block", "mask"."""
    n: int = 0
    m: int = 0
    rows: int = 0
    """Of a block."""
    columns: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether it prunes slices or blocks, and no single elements."""
        return self.name in WHOLE or self.name == "block"

    @property
    def takes_amount(self) -> bool:
        """Whether it needs an amount, which others say themselves."""
        return self.name not in ("n:m", _MASK)

    def dimension(self, kind: str | None, ndim: int) -> int:
        """Along which dimension of a weight its slices are counted, or its neighbours: those of N:M are inputs."""
        if self.name in ("rows", "columns"):
            return int(self.name == "columns")
        axes = channels(kind, ndim) or ((1, 0) if has_inputs_first(kind) else None)
        if axes is not None:
            return axes[self.name == "n:m"]
        return Method(self.name, self.n, self.m).dimension(kind, ndim)

    def unfitness(self, entry: NamedTensor) -> str:
        """Why a tensor's shape does not allow for it; "" where it does."""
        shape = entry.tensor.shape or ()
        if self.name == "block":
            height, width = _matrix(shape)
            if len(shape) < 2 or height % self.rows or width % self.columns:
                return f"the shape {list(shape)} is not made of blocks of {self.rows}x{self.columns}"
            return ""
        if self.name not in (*WHOLE, "n:m"):
            return ""
        dim = self.dimension(entry.owner.kind, len(shape))
        if dim >= len(shape) or not shape:
            return f"the shape {list(shape)} has no {self.name}"
        if self.name == "n:m" and shape[dim] % self.m:
            return f"the shape {list(shape)} has no multiple of {self.m} in dimension {dim}"
        return ""

    def units(self, entry: NamedTensor) -> Units:
        """The slices or blocks of a tensor that it fits."""
        shape = entry.tensor.shape or ()
        if self.name == "block":
            return Blocks(self.rows, self.columns, *_matrix(shape))
        return slices(shape, self.dimension(entry.owner.kind, len(shape)))


def way_of(text: str) -> Way:
    """The way to prune of that name: one of `METHODS`, "mask", "N:M", or "RxC" for blocks.

    Raises StatedictError for any other.
    """
    if text == _MASK:
        return Way(_MASK)
    if found := _BLOCK.fullmatch(text):
        return Way("block", rows=int(found[1]), columns=int(found[2]))
    try:
        return Way(*method_of(text))
    except StatedictError:
        raise StatedictError(
            f"`{text}` is no way to prune; expected {', '.join(METHODS)}, mask, N:M with N below M, such as 2:4, or "
            "blocks of RxC, such as 4x4"
        ) from None


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """The rows and columns of a weight, its first dimension the rows."""
    columns = 1
    for size in shape[1:]:
        columns *= size
    return (shape[0] if shape else 1), columns
