"""How much a set of tensors is: parameters, each counted once, and bytes, each stretch of storage counted once."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from statedict.dtypes import DType
from statedict.index import TensorInfo
from statedict.ops.select import NamedTensor
from statedict.source import Extent
from statedict.tree.roles import Role

if TYPE_CHECKING:
    from statedict.tree.tensor import Tensor

_Alike = tuple[Role, DType, tuple[int, ...] | None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The totals of some tensors. A tied tensor counts once, in the role that it has first."""

    tensors: int
    names: int
    elements: dict[Role, dict[DType, int]]
    """Elements by role and element type, the largest first."""
    nbytes: int
    """Bytes that the file holds of them: views into one storage are not counted twice."""

    @property
    def parameters(self) -> int:
        return self.total("parameter")

    @property
    def dtypes(self) -> list[DType]:
        """The element types of the parameters, or of what there is instead; the most frequent first."""
        for role in ("parameter", "optimizer", "buffer"):
            if found := self.elements.get(role):
                return list(found)
        return []

    def total(self, role: Role) -> int:
        """Elements of that role."""
        return sum(self.elements.get(role, {}).values())


def sizes(entries: Iterable[NamedTensor]) -> Sizes:
    """The totals of `entries`."""
    names = 0
    roles: dict[Tensor, Role] = {}
    for _, tensor, _, role in entries:
        names += 1
        roles.setdefault(tensor, role)
    infos = [tensor.info for tensor in roles]
    elements: dict[Role, dict[DType, int]] = {}
    # Thousands of tensors have few types and shapes, so alike ones are counted first.
    facts = zip(roles.values(), infos, strict=True)
    alike: Counter[_Alike] = Counter((role, info.dtype, info.shape) for role, info in facts)
    for (role, dtype, shape), count in alike.items():
        by_dtype = elements.setdefault(role, {})
        by_dtype[dtype] = by_dtype.get(dtype, 0) + count * (0 if shape is None else math.prod(shape))
    return Sizes(len(infos), names, _largest_first(elements), covered(infos))


def together(parts: Iterable[tuple[Sizes, int]]) -> Sizes:
    """The totals of parts that have nothing in common, each as often as is said."""
    tensors = names = nbytes = 0
    elements: dict[Role, dict[DType, int]] = {}
    for part, count in parts:
        tensors, names, nbytes = (
            tensors + count * part.tensors,
            names + count * part.names,
            nbytes + count * part.nbytes,
        )
        for role, found in part.elements.items():
            by_dtype = elements.setdefault(role, {})
            for dtype, numel in found.items():
                by_dtype[dtype] = by_dtype.get(dtype, 0) + count * numel
    return Sizes(tensors, names, _largest_first(elements), nbytes)


def _largest_first(elements: dict[Role, dict[DType, int]]) -> dict[Role, dict[DType, int]]:
    return {role: dict(sorted(found.items(), key=lambda item: -item[1])) for role, found in elements.items()}


def covered(infos: Iterable[TensorInfo]) -> int:
    """Bytes of the union of the tensors' extents."""
    stretches = [(id(source), start, size) for source, start, size in _extents(infos)]
    stretches.sort()  # in no time where they are in the file's order
    total, reached, current = 0, 0, 0
    for source, start, size in stretches:
        if source != current:
            current, reached = source, 0
        end = start + size
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def _extents(infos: Iterable[TensorInfo]) -> Iterator[Extent]:
    for info in infos:
        if info.extent is not None:
            yield info.extent
        if info.encoding.parts:
            yield from _extents(info.encoding.parts.values())
