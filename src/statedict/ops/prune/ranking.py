"""Exactly so many of the smallest magnitudes of tensors of any size: counted by their bits, block by block."""

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict import engine
from statedict.dtypes import DTYPES, DType
from statedict.engine import Job, Progress
from statedict.errors import StatedictError
from statedict.expressions.nodes import node_of
from statedict.expressions.once import Once
from statedict.expressions.rounding import convert
from statedict.index import TensorInfo
from statedict.ops.prune.kept import Kept
from statedict.source import FileSource
from statedict.units import into_first

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import numpy as np
    from numpy.typing import NDArray

_DIGIT = 16
"""Bits that one pass counts: 65,536 bins."""
_FEW = 1 << 13
"""Elements that are passed on as they are: to clear 65,536 counts takes longer."""
_GROUPS = 32
"""Counts are kept apart for so many stretches of a row, so that only one is read again to find where ties are cut."""


class Named(NamedTuple):
    """A tensor, by the name that errors give."""

    name: str
    info: TensorInfo


class Watch:
    """Whom a pass over the tensors tells how far it is, nobody unless asked; and who does the work."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.executor: Executor | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Watch, ()


class Cut(NamedTuple):
    """What tells those of a row's elements that stay from those that go."""

    kind: DType
    """The type as which magnitudes are compared: one that holds all of the row exactly."""
    pattern: int
    """The bits of a magnitude: larger ones stay."""
    position: int
    """Of those equal to it stay the ones before this position in the row."""

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        """Of elements from a position of the row on: whether each stays."""
        import numpy as np

        bits = magnitudes(values, self.kind)
        before, pattern = max(0, self.position - start), bits.dtype.type(self.pattern)
        kept = np.empty(len(bits), bool)
        np.greater_equal(bits[:before], pattern, out=kept[:before])
        np.greater(bits[before:], pattern, out=kept[before:])
        return kept


class Ranked(Kept):
    """Those of one tensor that are not among the smallest of the row in which it begins at a position."""

    __slots__ = ("_begin", "_cut")

    def __init__(self, cut: Once[Cut], begin: int) -> None:
        self._cut = cut
        self._begin = begin

    def keeps(self, values: "NDArray[Any]", start: int) -> "NDArray[np.bool_]":
        return self._cut().keeps(values, self._begin + start)


def without_smallest(row: Sequence[Named], pruned: int, watch: Watch) -> list[Kept]:
    """For each tensor of a row what stays without the `pruned` smallest magnitudes of all, found when it is asked for.

    Of equal ones those that come first stay, so that they are exactly so many, whatever reads them how.
    """
    found = Once(cut, tuple(row), pruned, watch)
    *begins, _ = accumulate((each.info.numel for each in row), initial=0)
    return [Ranked(found, begin) for begin in begins]


def cut(row: Sequence[Named], pruned: int, watch: Watch | None = None) -> Cut:
    """What tells the `pruned` smallest magnitudes of a row from the others, of which equal ones stay if they are first.

    Reads a row once that is all of bfloat16, all of float16 or of smaller types; float32 and mixed rows twice; float64
    four times; and then a part of it, to find where ties are cut. Raises StatedictError that names a tensor with NaN.
    """
    counting = _Counting(row, watch or Watch())
    wanted = counting.total - pruned
    if not pruned or not wanted:
        return Cut(counting.kind, *((0, counting.total) if wanted else (counting.most, 0)))
    pattern, shift = 0, counting.kind.bits
    while True:
        shift -= _DIGIT
        by_group = counting.counts(shift, pattern)
        digit, wanted = _digit(by_group.sum(axis=0), wanted)
        pattern = pattern << _DIGIT | digit
        if not shift:
            return Cut(counting.kind, pattern, counting.position(pattern, by_group[:, digit].tolist(), wanted))


def magnitudes(values: "NDArray[Any]", kind: DType) -> "NDArray[Any]":
    """The bits of the absolute values as elements of `kind`: whole numbers whose order is that of the magnitudes."""
    wide = values if values.dtype == kind.to_numpy() else convert(values, kind)
    bits = wide.view(f"u{kind.itemsize}")
    return bits & bits.dtype.type((1 << kind.bits - 1) - 1)


def comparable(dtypes: Sequence[DType]) -> DType:
    """The narrowest type whose magnitudes can be compared by their bits, and that holds all of these exactly."""
    names = {"float16" if dtype.bits <= 8 else dtype.name for dtype in dtypes}
    if len(names) == 1:
        return DTYPES[names.pop()]
    return DTYPES["float64" if "float64" in names else "float32"]


def infinity(kind: DType) -> int:
    """The bits of infinity: those of NaN, without the sign, are more."""
    import numpy as np

    return int(magnitudes(np.array([np.inf], kind.to_numpy()), kind)[0])


def not_a_number(tensor: Named) -> StatedictError:
    """The error for a tensor that cannot be ranked."""
    extent = tensor.info.extent
    source = None if extent is None else extent.source.located(extent.offset)[0]
    file = f"{source.name}: " if isinstance(source, FileSource) else ""
    return StatedictError(
        f"{file}tensor `{tensor.name}` holds NaN, which has no magnitude; repair it, or leave it out of the pruning"
    )


class _Counting:
    """The passes over one row of tensors."""

    def __init__(self, row: Sequence[Named], watch: Watch) -> None:
        self._row = row
        self._watch = watch
        self._ends = list(accumulate(each.info.numel for each in row))
        self.total = self._ends[-1]
        self.kind = comparable([each.info.dtype for each in row])
        self.most = (1 << self.kind.bits) - 1
        groups = min(_GROUPS, len(row), 1 + (self.total >> 16))
        self._group = [max(0, end - 1) * groups // max(1, self.total) for end in self._ends]

    def counts(self, shift: int, prefix: int) -> "NDArray[np.int64]":
        """How often each 16 bits above `shift` are in each group, of magnitudes whose higher bits are `prefix`."""
        import numpy as np

        found = np.zeros((self._group[-1] + 1, 1 << _DIGIT), np.int64)
        above = infinity(self.kind) >> shift
        first, suspects = shift == self.kind.bits - _DIGIT, list[int]()

        def add(at: int, counted: "NDArray[Any]") -> None:
            _added(found[self._group[at]], counted)
            is_few = counted.dtype == np.uint16
            if first and (counted >= above if is_few else counted[above:]).any():
                suspects.append(at)

        kernel = partial(_counted, kind=self.kind, shift=shift, prefix=prefix)
        self._run(kernel, lambda at: partial(add, at))
        self._refuse_nan(suspects)
        return found

    def _run(self, kernel: Callable[..., Any], finish: Callable[[int], Callable[[Any], None]]) -> None:
        fold = partial(into_first, merge=_added)
        jobs = [Job(each.info, kernel, _added, finish(at), fold=fold) for at, each in enumerate(self._row)]
        engine.run(jobs, progress=self._watch.progress, executor=self._watch.executor)

    def _refuse_nan(self, suspects: Sequence[int]) -> None:
        """Infinity has the first bits that NaN has."""
        for at in sorted(suspects):
            if engine.run([Job(self._row[at].info, _has_nan, _either)])[0]:
                raise not_a_number(self._row[at])

    def position(self, pattern: int, ties: list[int], wanted: int) -> int:
        """The position in the row behind the `wanted`th element of a magnitude, given how many each group has."""
        if wanted == sum(ties):
            return self.total
        ends = list(accumulate(ties))
        group = bisect(ends, wanted - 1)
        left = wanted - (ends[group] - ties[group])
        for start, there in self._ties(group, pattern):
            if left <= len(there):
                return start + int(there[left - 1]) + 1
            left -= len(there)
        raise StatedictError(f"tensor `{self._row[0].name}` and those after it changed while they were read; try again")

    def _ties(self, group: int, pattern: int) -> "Iterator[tuple[int, NDArray[np.intp]]]":
        """Of each stretch of a group: the position where it begins, and where in it the magnitude is found."""
        import numpy as np

        for at, each in enumerate(self._row):
            if self._group[at] == group:
                node, begin = node_of(engine.row(each.info)), self._ends[at] - each.info.numel
                for start in range(0, node.numel, node.stretch):
                    bits = magnitudes(node.stored(start, min(start + node.stretch, node.numel)), self.kind)
                    yield begin + start, np.flatnonzero(bits == bits.dtype.type(pattern))


def _digit(counts: "NDArray[np.int64]", wanted: int) -> tuple[int, int]:
    """The digit of the `wanted`th largest, and the how manieth it is among those that have it."""
    import numpy as np

    from_top = np.cumsum(counts[::-1])
    at = int(np.searchsorted(from_top, wanted))
    return len(counts) - 1 - at, wanted - (int(from_top[at - 1]) if at else 0)


def _counted(_: DType, values: "NDArray[Any]", kind: DType, shift: int, prefix: int) -> "NDArray[Any]":
    """How often each digit is there; of few elements the digits themselves, which are less."""
    import numpy as np

    from statedict.kernels import count

    bits = magnitudes(values, kind)
    if len(bits) >= _FEW:
        return count(bits, _DIGIT, shift, prefix).view(np.int64)
    if shift + _DIGIT < kind.bits:
        bits = bits[bits >> bits.dtype.type(shift + _DIGIT) == bits.dtype.type(prefix)]
    return (bits >> bits.dtype.type(shift)).astype(np.uint16)


def _added(counts: "NDArray[np.int64]", more: "NDArray[Any]") -> "NDArray[np.int64]":
    """The counts, and what is counted further on in the same memory. The first stretch of several is a long one."""
    import numpy as np

    if more.dtype == np.uint16:
        np.add.at(counts, more, 1)
    else:
        counts += more
    return counts


def _has_nan(_: DType, values: "NDArray[Any]") -> bool:
    import numpy as np

    return bool(np.isnan(values).any())


def _either(first: bool, second: bool) -> bool:
    return first or second
