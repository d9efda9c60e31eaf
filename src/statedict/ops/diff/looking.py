"""`Looking`: the kernel that tells how far a stretch of one tensor lies from that of another; in C it reads files."""

import struct
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict import accelerator
from statedict.accelerator import BLOCK, CODES
from statedict.difference import Difference, of_figures
from statedict.dtypes import DType
from statedict.ops.diff.glance import LOOKED_AT, may_be_of_a_kind
from statedict.source import FileSource
from statedict.units import Direct, Reader, Room, Stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from statedict.ops.diff.evidence import Evidence

_RECORD = struct.Struct("=7q5d")
"""What the C code says of a pair of stretches: counts and sums, as `difference.of_figures` takes them."""
_FLOATS = ("float64", "float32", "float16", "bfloat16")
"""Element types that it compares."""


class Tolerance(NamedTuple):
    """How far apart values may lie and still be close: `atol` + `rtol` times the second's."""

    atol: float = 0.0
    rtol: float = 0.0

    @property
    def is_given(self) -> bool:
        return self.atol > 0 or self.rtol > 0


ANY = Tolerance()
"""Where every difference counts."""


class Look(NamedTuple):
    """What one reading of two stretches tells, or several."""

    difference: Difference
    evidence: "Evidence | None" = None

    def merge(self, other: "Look") -> "Look":
        both = None if self.evidence is None or other.evidence is None else self.evidence.merge(other.evidence)
        return Look(self.difference.merge(other.difference), both)


class Looking(Direct):
    """The kernel of one pair. What is refuted once is not looked for again."""

    glance = BLOCK

    def __init__(self, tolerance: Tolerance, *, kinds: bool) -> None:
        self._tolerance = tolerance
        self._kinds = kinds
        self._glancing: _Glancing | None = _Glancing(self) if kinds and not tolerance.is_given else None

    def __call__(self, first: DType, a: "NDArray[Any]", second: DType, b: "NDArray[Any]") -> Look:
        from statedict.pair_kernels import beyond, compare

        found = compare(first, a, second, b)
        if self._tolerance.is_given and not found.same_bits:
            found = found.with_beyond(beyond(a, b, *self._tolerance))
        if not self._kinds:
            return Look(found)
        from statedict.ops.diff.evidence import evidence

        proved = evidence(first, a, second, b, found)
        self._kinds = not proved.is_none
        return Look(found, proved)

    def reader(self) -> Reader | None:
        if self._tolerance.is_given:
            return None
        return self._glancing if self._kinds else _LOOKS

    def glanced(self, *, possible: bool) -> None:
        """Take note of whether the first elements leave any kind possible: then numpy proves it, or refutes it."""
        self._glancing = None
        self._kinds = possible


class _Looks(Reader):
    """Reads both files in C, where no more than the difference is asked for."""

    def takes(self, dtype: DType) -> bool:
        return dtype.numpy in _FLOATS and hasattr(accelerator.library(), "compare_file")

    def of_files(self, files: Sequence[FileSource], stretches: Sequence[Stretch]) -> list[Look] | None:
        asked = array("q")
        for dtype, offset, numel, other, beside in stretches:
            asked.extend((CODES[dtype.numpy], offset, CODES[(other or dtype).numpy], beside, numel))
        first, second = (each.fileno() for each in files)
        records = bytearray(_RECORD.size * len(stretches))
        if not accelerator.library().compare_file(first, second, asked, _room.bytes, records):
            return None
        return [Look(of_figures(figures)) for figures in _RECORD.iter_unpack(records)]


_LOOKS = _Looks()


class _Glancing(_Looks):
    """The same, once the first elements have refuted every kind of change; else it leaves them to the kernel."""

    def __init__(self, looking: Looking) -> None:
        self._looking = looking

    def of_files(self, files: Sequence[FileSource], stretches: Sequence[Stretch]) -> list[Look] | None:
        dtype, offset, numel, other, beside = stretches[0]
        size = dtype.nbytes(min(numel, LOOKED_AT))
        possible = True
        if dtype is other:
            a, b = (file.read_at(at, size) for file, at in zip(files, (offset, beside), strict=True))
            possible = may_be_of_a_kind(dtype, numel, a, b)
        self._looking.glanced(possible=possible)
        return None if possible else super().of_files(files, stretches)


_room = Room(2 * 8 * BLOCK)
"""For a block of any type, and another."""
