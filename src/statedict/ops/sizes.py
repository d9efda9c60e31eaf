"""How much a set of tensors is: parameters, each counted once, and bytes, each stretch of storage counted once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from statedict.dtypes import DType
from statedict.index import TensorInfo
from statedict.ops.select import NamedTensor, Role
from statedict.source import Extent


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
    distinct: dict[int, NamedTensor] = {}
    for entry in entries:
        names += 1
        distinct.setdefault(id(entry.tensor), entry)
    elements: dict[Role, dict[DType, int]] = {}
    for entry in distinct.values():
        by_dtype = elements.setdefault(entry.role, {})
        info = entry.tensor.info
        by_dtype[info.dtype] = by_dtype.get(info.dtype, 0) + info.numel
    elements = {role: dict(sorted(found.items(), key=lambda item: -item[1])) for role, found in elements.items()}
    return Sizes(len(distinct), names, elements, covered(entry.tensor.info for entry in distinct.values()))


def covered(infos: Iterable[TensorInfo]) -> int:
    """Bytes of the union of the tensors' extents."""
    stretches = sorted({(id(source), start, size) for info in infos for source, start, size in _extents(info)})
    total, reached, current = 0, 0, 0
    for source, start, size in stretches:
        if source != current:
            current, reached = source, 0
        end = start + size
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def _extents(info: TensorInfo) -> Iterator[Extent]:
    if info.extent is not None:
        yield info.extent
    for part in info.encoding.parts.values():
        yield from _extents(part)
