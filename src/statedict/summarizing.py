"""`SUMMARIZE`: the kernel that says of elements what there is to say; in C it reads files by itself, without numpy."""

import struct
from array import array
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from statedict import accelerator
from statedict.accelerator import BLOCK, CODES
from statedict.dtypes import DType
from statedict.moments import Summary, of_figures
from statedict.source import FileSource
from statedict.units import Direct, Reader, Room, Stretch

_RECORDS = {kind: struct.Struct(f"=6q2{kind}4d") for kind in "dqQ"}
"""What the C code says of a stretch: six counts, both extremes in a type of their own, and four sums."""


class _Summarize(Direct, Reader):
    def __call__(self, dtype: DType, values: Any) -> Summary:
        from statedict.kernels import summarize

        return summarize(dtype, values)

    def reader(self) -> Reader:
        return self

    def takes(self, dtype: DType) -> bool:
        return dtype.numpy in CODES and hasattr(accelerator.library(), "summarize_file")

    def of_files(self, files: Sequence[FileSource], stretches: Sequence[Stretch]) -> list[Summary] | None:
        size = _RECORDS["d"].size
        asked = array("q", [each for dtype, at, numel, *_ in stretches for each in (CODES[dtype.numpy], at, numel)])
        records = bytearray(size * len(stretches))
        if not accelerator.library().summarize_file(files[0].fileno(), asked, _room.bytes, records):
            return None
        found: list[Summary] = []
        for kind, some in groupby(stretches, _kind):
            begin, end = size * len(found), size * (len(found) + len(list(some)))
            found += map(of_figures, _RECORDS[kind].iter_unpack(memoryview(records)[begin:end]))
        return found

    def __reduce__(self) -> str:
        return "SUMMARIZE"


SUMMARIZE = _Summarize()
"""From elements to their `Summary`: the kernel of `engine.Job`, whose values merge by `Summary.merge`."""


def _kind(stretch: Stretch) -> str:
    """How the C code writes the extremes of elements of that type."""
    name = stretch.dtype.numpy
    return "Q" if name.startswith("u") else "q" if name.startswith("i") else "d"


_room = Room(8 * BLOCK)
"""For a block of any type."""
