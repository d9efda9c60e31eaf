"""The words for ways to prune: what each chooses among, and how it is written."""

import re
from typing import NamedTuple

from statedict.errors import StatedictError
from statedict.ops.select import NamedTensor

METHODS = ("magnitude", "random", "rows", "columns", "channels")
"""Besides them "N:M", such as "2:4"."""
WHOLE = ("rows", "columns", "channels")
"""Those that prune whole slices of a weight."""
_N_OF_M = re.compile(r"(\d{1,3}):(\d{1,3})", re.ASCII)
_INPUTS_FIRST = ("ConvTranspose", "Conv1D")
"""Kinds whose weights have the inputs in the first dimension."""


class Method(NamedTuple):
    """One way to prune."""

    name: str
    """One of `METHODS`, "n:m", or "mask", which others tell."""
    n: int = 0
    """How many of `m` neighbours are kept."""
    m: int = 0

    @property
    def said(self) -> str:
        """How it is written."""
        return f"{self.n}:{self.m}" if self.name == "n:m" else self.name

    def dimension(self, kind: str | None, ndim: int) -> int:
        """Along which dimension of a weight its slices are counted, or its neighbours: those of N:M are inputs."""
        inputs_first = (kind or "").startswith(_INPUTS_FIRST)
        if self.name == "n:m":
            return 0 if inputs_first else 1 if (kind or "").startswith("Conv") else ndim - 1
        return int(inputs_first) if self.name == "channels" else int(self.name == "columns")


def method_of(text: str) -> Method:
    """The way to prune of that name. Raises StatedictError for any other."""
    if text in METHODS:
        return Method(text)
    found = _N_OF_M.fullmatch(text)
    if found is None or not 0 < int(found[1]) < int(found[2]):
        raise StatedictError(
            f"`{text}` is no way to prune; expected {', '.join(METHODS)}, or N:M with N below M, such as 2:4"
        )
    return Method("n:m", int(found[1]), int(found[2]))


def unfitness(entry: NamedTensor, method: Method) -> str:
    """Why a tensor's shape does not allow for a method; "" where it does."""
    shape = entry.tensor.shape or ()
    dim = method.dimension(entry.owner.kind, len(shape))
    if method.name in WHOLE and dim >= len(shape):
        return f"the shape {list(shape)} has no {method.name}"
    if method.name == "n:m" and (not shape or shape[dim] % method.m):
        return f"the shape {list(shape)} has no multiple of {method.m} in dimension {max(dim, 0)}"
    return ""


def units(entry: NamedTensor, method: Method) -> int:
    """How many things of a tensor there are to prune: elements, or whole slices.

    Raises StatedictError where its shape does not allow for the method.
    """
    if reason := unfitness(entry, method):
        raise StatedictError(f"tensor `{entry.name}`: {reason}; leave it out")
    shape = entry.tensor.shape or ()
    return shape[method.dimension(entry.owner.kind, len(shape))] if method.name in WHOLE else entry.tensor.numel()
