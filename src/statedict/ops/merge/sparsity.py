"""Which elements of a task vector (what training changed) are merged: the largest, middling or random ones."""

import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from statedict.expressions.nodes import Node
from statedict.expressions.once import Once
from statedict.expressions.selecting import Threshold, stretches, threshold

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SMALL = 1e-7
_PER_COUNT = 8
"""Numbers of 32 bits that Philox makes for one value of its counter."""


class Sparsifier(ABC):
    """Says of each element of one task vector whether it is merged: the same in whatever stretches it is read."""

    __slots__ = ()

    @abstractmethod
    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        """Of the task vector's elements from a position on: whether each is merged."""


class Largest(Sparsifier):
    """The so many largest magnitudes; of equal ones, those that come first."""

    __slots__ = ("_threshold",)

    def __init__(self, vector: Node, density: float) -> None:
        self._threshold: Once[Threshold] = Once(threshold, (vector,), counted(density, vector.numel))

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        return self._threshold().keeps(values, start)


class Middle(Sparsifier):
    """What is left without the share `gamma` of largest magnitudes, and then the smallest, down to `density`."""

    __slots__ = ("_above", "_all")

    def __init__(self, vector: Node, density: float, gamma: float) -> None:
        kept = counted(density, vector.numel)
        above = min(int(gamma * vector.numel), vector.numel - kept)
        self._all: Once[Threshold] = Once(threshold, (vector,), above + kept)
        self._above: Once[Threshold] = Once(threshold, (vector,), above)

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        return self._all().keeps(values, start) & ~self._above().keeps(values, start)


class Randomly(Sparsifier):
    """Each element with the probability `density`, by random numbers that depend on its position and a key alone.

    The numbers are those of Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
    """

    __slots__ = ("_below", "_key")

    def __init__(self, key: str, density: float) -> None:
        self._key = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
        self._below = round(density * 2**32)

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        import numpy as np

        first, skip = divmod(start, _PER_COUNT)
        counts = -(-(skip + len(values)) // _PER_COUNT)
        generator = np.random.Philox(key=self._key, counter=first)
        numbers = generator.random_raw(counts * _PER_COUNT // 2).astype("<u8", copy=False).view("<u4")
        return numbers[skip : skip + len(values)] < self._below


def counted(density: float, numel: int) -> int:
    """How many elements are that share: rounded down, but one at least."""
    return min(numel, max(1, int(density * numel))) if density > 0 else 0


def restored(vector: Node, sparsifier: Sparsifier) -> float:
    """What the elements that are left are multiplied by, so that the sum of magnitudes is what it was."""
    import numpy as np

    before = after = 0.0
    for start, values in stretches(vector):
        sizes = np.abs(values)
        before += float(sizes.sum())
        after += float(sizes[sparsifier.keeps(values, start)].sum())
    return 1.0 if before < _SMALL or after < _SMALL else before / after
