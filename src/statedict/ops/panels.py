"""Strided tensors row by row in large panels: each may come from all of its file, so that few of them are needed."""

import threading
from collections import OrderedDict
from typing import Any

from statedict.expressions.nodes import Leaf
from statedict.index import TensorInfo
from statedict.source import Extent, Source
from statedict.tree import reading

_PANEL = 1 << 25
"""Bytes of a panel."""
_KEPT = 2
"""Panels that are kept: readers that follow each other closely may be in two."""


class Panels(Source):
    """The bytes of a strided tensor's elements, row by row and little end first."""

    __slots__ = ("_info", "_kept", "_leaf", "_lock")

    def __init__(self, info: TensorInfo) -> None:
        self.name = info.name
        self.size = info.dtype.nbytes(info.numel)
        self._info = info
        self._leaf = Leaf(info)
        self._kept: OrderedDict[int, memoryview] = OrderedDict()
        self._lock = threading.Lock()

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        done = 0
        while done < len(buffer):
            number, skip = divmod(offset + done, _PANEL)
            part = self._panel(number)[skip : skip + len(buffer) - done]
            buffer[done : done + len(part)] = part
            done += len(part)

    def _panel(self, number: int) -> memoryview:
        with self._lock:
            if number not in self._kept:
                dtype = self._info.dtype
                start, stop = (min(dtype.numel(at * _PANEL), self._leaf.numel) for at in (number, number + 1))
                while len(self._kept) >= _KEPT:
                    self._kept.popitem(last=False)
                self._kept[number] = reading.encode(self._leaf.stored(start, stop), dtype).data
            self._kept.move_to_end(number)
            return self._kept[number]

    def __reduce__(self) -> tuple[Any, ...]:
        return Panels, (self._info,)


def in_panels(info: TensorInfo) -> TensorInfo:
    """The same strided tensor as one whose elements lie row by row."""
    source = Panels(info)
    return TensorInfo(info.name, info.dtype, info.shape, Extent(source, 0, source.size))
