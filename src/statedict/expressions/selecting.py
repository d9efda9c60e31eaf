"""The largest magnitudes of tensors of any size, exactly so many: counted by their bits, never sorted."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.expressions.nodes import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DIGIT = 16
"""Bits that one pass counts: 65,536 bins."""
_GATHERED = 1 << 20
"""Magnitudes that are few enough to be kept, and settled at once."""
_ABOVE_ALL = (1 << 64) - 1


class Threshold(NamedTuple):
    """Which elements of a row of nodes are among its so many largest by magnitude; NaN counts as larger than all."""

    pattern: int
    """The bits of a float64: larger magnitudes are among them."""
    cut: int
    """Those equal to it are, if they stand before this position in the row."""

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        """Of working values that begin at a position of the row: whether each is among the largest."""
        import numpy as np

        patterns = magnitudes(values)
        kept = patterns > np.uint64(self.pattern)
        before = max(0, self.cut - start)
        kept[:before] |= patterns[:before] == np.uint64(self.pattern)
        return kept


class _Search(NamedTuple):
    """What is known of the wanted magnitude: its first bits, and that it is the `wanted`th largest that has them."""

    prefix: int
    shift: int
    """Bits that are not known yet."""
    wanted: int
    size: int
    """How many have these first bits."""

    def among(self, patterns: "NDArray[np.uint64]") -> "NDArray[np.uint64]":
        """Those of `patterns` with these first bits."""
        import numpy as np

        if self.shift == 64:
            return patterns
        return patterns[patterns >> np.uint64(self.shift) == np.uint64(self.prefix)]


def threshold(nodes: Sequence[Node], keep: int) -> Threshold:
    """What tells the `keep` largest magnitudes of all elements of `nodes`, taken as one row, from the rest.

    Of equal ones those that come first are kept, so that they are exactly `keep`, however the row is cut in blocks.
    Reads the nodes up to five times, mostly twice, and holds some MiB.
    """
    total = sum(node.numel for node in nodes)
    if keep >= total:
        return Threshold(0, total)
    if keep <= 0:
        return Threshold(_ABOVE_ALL, 0)
    search = _Search(0, 64, keep, total)
    while search.shift and search.size > _GATHERED:
        search = _narrowed(nodes, search)
    if search.shift:
        search = _settled(nodes, search)
    cut = total if search.wanted == search.size else _position(nodes, search.prefix, search.wanted)
    return Threshold(search.prefix, cut)


def magnitudes(values: "NDArray[Any]") -> "NDArray[np.uint64]":
    """The bits of the absolute values as float64, whose order as whole numbers is that of the values."""
    import numpy as np

    return np.abs(values).astype(np.float64, copy=False).view(np.uint64)


def stretches(node: Node) -> "Iterator[tuple[int, NDArray[Any]]]":
    """The working values of a node, a stretch at a time, each with the position that it begins at."""
    for start in range(0, node.numel, node.stretch):
        yield start, node.working(start, min(start + node.stretch, node.numel))


def _narrowed(nodes: Sequence[Node], search: _Search) -> _Search:
    """One digit more of the wanted magnitude, by counting how many have each."""
    import numpy as np

    shift = search.shift - _DIGIT
    counts = np.zeros(1 << _DIGIT, np.int64)
    for node in nodes:
        for _, values in stretches(node):
            digits = search.among(magnitudes(values)) >> np.uint64(shift) & np.uint64((1 << _DIGIT) - 1)
            counts += np.bincount(digits.astype(np.intp), minlength=1 << _DIGIT)
    from_top = np.cumsum(counts[::-1])
    at = int(np.searchsorted(from_top, search.wanted))
    digit, above = len(counts) - 1 - at, int(from_top[at - 1]) if at else 0
    return _Search(search.prefix << _DIGIT | digit, shift, search.wanted - above, int(counts[digit]))


def _settled(nodes: Sequence[Node], search: _Search) -> _Search:
    """All digits of the wanted magnitude, from the few that have those known."""
    import numpy as np

    few = np.concatenate([search.among(magnitudes(values)) for node in nodes for _, values in stretches(node)])
    pattern = np.partition(few, len(few) - search.wanted)[len(few) - search.wanted]
    wanted = search.wanted - int(np.count_nonzero(few > pattern))
    return _Search(int(pattern), 0, wanted, int(np.count_nonzero(few == pattern)))


def _position(nodes: Sequence[Node], pattern: int, count: int) -> int:
    """The position in the row behind the `count`th element of that magnitude."""
    import numpy as np

    begin = 0
    for node in nodes:
        for start, values in stretches(node):
            found = np.flatnonzero(magnitudes(values) == np.uint64(pattern))
            if len(found) >= count:
                return begin + start + int(found[count - 1]) + 1
            count -= len(found)
        begin += node.numel
    return begin
