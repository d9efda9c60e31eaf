"""What tensors contain, told so that it stays the same however they are arranged: what proves a match.

The sum of all elements' bit patterns and that of their squares, modulo 2^64, are those of a tensor transposed, reshaped
or permuted as well; those of tensors joined or stacked are the sums of theirs. What these find is then compared bit by
bit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict import engine
from statedict.dtypes import DType
from statedict.engine import Job, Progress
from statedict.expressions.nodes import recast
from statedict.index import TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALL = (1 << 64) - 1


class Content(NamedTuple):
    """The sums of the bit patterns of some elements and of their squares, modulo 2^64."""

    numel: int
    sum: int
    squares: int

    def __add__(self, other: "Content") -> "Content":  # type: ignore[override]
        return Content(self.numel + other.numel, self.sum + other.sum & _ALL, self.squares + other.squares & _ALL)

    @property
    def is_constant(self) -> bool:
        """Whether all elements are the same, as those of fresh norms and biases are."""
        return self.numel * self.squares & _ALL == self.sum * self.sum & _ALL


def contents(infos: Iterable[TensorInfo], progress: Progress | None = None) -> list[Content]:
    """The content of each tensor: reads all of them once."""
    jobs = [Job(info, _content, Content.__add__) for info in infos]
    return [found or Content(0, 0, 0) for found in engine.run(jobs, progress=progress)]


def _content(_: DType, values: "NDArray[Any]") -> Content:
    import numpy as np

    size = min(values.dtype.itemsize, 8)
    words = np.ascontiguousarray(values).view(f"u{size}").astype(np.uint64)
    return Content(values.size, int(words.sum()), int((words * words).sum()))


def equal(pairs: Sequence[tuple[TensorInfo, TensorInfo]], progress: Progress | None = None) -> list[bool]:
    """Whether both tensors of each pair have the same bits once the first is of the second's type."""
    jobs = [Job(recast(one, other.dtype), _same, _both, other=other) for one, other in pairs]
    return [found is not False for found in engine.run(jobs, progress=progress)]


def _same(_: DType, values: "NDArray[Any]", __: DType, others: "NDArray[Any]") -> bool:
    import numpy as np

    return bool(np.array_equal(values.view("u1"), others.view("u1")))


def _both(one: bool, other: bool) -> bool:
    return one and other


def has_values(info: TensorInfo) -> bool:
    """Whether a tensor has elements that are read one by one."""
    plain = not info.encoding.parts and not info.dtype.quantized and not info.dtype.block_bytes
    return info.extent is not None and info.shape is not None and info.numel > 0 and plain


class Contents:
    """The contents of tensors by name, each found once for each element type that is asked for."""

    def __init__(self, tensors: Mapping[str, TensorInfo]) -> None:
        self._tensors = tensors
        self._known: dict[tuple[str, str], Content] = {}

    def of(self, names: Iterable[str], dtype: DType) -> dict[str, Content]:
        """The contents of those tensors, once they are of that type."""
        new = [name for name in names if (name, dtype.name) not in self._known]
        for name, found in zip(new, contents(recast(self._tensors[name], dtype) for name in new), strict=True):
            self._known[name, dtype.name] = found
        return {name: self._known[name, dtype.name] for name in names}
