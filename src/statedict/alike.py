"""Rows of a weight that begin alike, found in one pass: the only ones that can be equal, and few in trained weights."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statedict.dtypes import DType
from statedict.engine import Job, Placed
from statedict.index import TensorInfo

_WIDTH = 8
"""Elements at the begin of a row that are compared first; shorter rows may be alike by chance."""


@dataclass(frozen=True, slots=True)
class Alike:
    """Rows that begin alike, and with another number than zero."""

    rows: int
    """Of the tensor, in all."""
    suspects: tuple[int, ...]


def looking(info: TensorInfo, kind: str | None) -> Job[Alike] | None:
    """The job that finds what is `Alike` in a matrix or a convolution's kernel; None for any other tensor.

    None, too, for elements of fewer than 16 bits, for rows so short that they may be alike by chance, and for those
    that do not lie side by side.
    """
    shape, kind = info.shape or (), kind or ""
    if len(shape) < 2 or shape[0] < 2 or info.stride is not None or info.dtype.bits not in (16, 32, 64):
        return None
    is_kernel = len(shape) > 2 and kind.startswith("Conv") and "Transpose" not in kind
    length = info.numel // shape[0]
    if length < _WIDTH or not (len(shape) == 2 or is_kernel):
        return None
    return Job(info, _Begins(length), _Found.merge, _Found.finish)


class _Begins(Placed):
    """The kernel: how each row begins."""

    def __init__(self, length: int) -> None:
        self._length = length

    def at(self, start: int) -> "_BeginsAt":
        return _BeginsAt(self._length, start)


@dataclass(frozen=True, slots=True)
class _BeginsAt:
    length: int
    start: int

    def __call__(self, _dtype: DType, values: NDArray[Any]) -> "_Found":
        bits, stop = values.view(f"u{values.itemsize}"), self.start + len(values)
        first, last = self.start // self.length, (stop - 1) // self.length
        cut: dict[int, NDArray[Any]] = {}
        for at in {first, last}:
            low, high = max(self.start, at * self.length), min(stop, at * self.length + _WIDTH)
            if 0 < high - low < _WIDTH:
                cut[at] = bits[low - self.start : high - self.start].copy()
        inside = -(-self.start // self.length)
        begins = bits[inside * self.length - self.start :]
        whole = (len(begins) + self.length - _WIDTH) // self.length
        if whole < 1:
            return _Found([], cut, last + 1)
        strides = (self.length * bits.itemsize, bits.itemsize)
        rows = np.lib.stride_tricks.as_strided(begins, (whole, _WIDTH), strides).copy()
        return _Found([(inside, rows)], cut, last + 1)


@dataclass(slots=True)
class _Found:
    """How some rows begin, in lots that follow each other; and of rows that a stretch cuts there, what is known."""

    lots: list[tuple[int, NDArray[Any]]]
    cut: dict[int, NDArray[Any]]
    rows: int

    def merge(self, other: "_Found") -> "_Found":
        for at, bits in other.cut.items():
            known = np.concatenate([self.cut.pop(at, bits[:0]), bits])
            if len(known) < _WIDTH:
                self.cut[at] = known
            else:
                self.lots.append((at, known.reshape(1, -1)))
        self.lots += other.lots
        self.rows = other.rows
        return self

    def finish(self) -> Alike:
        if not self.lots:
            return Alike(self.rows, ())
        places = np.concatenate([np.arange(at, at + len(begins)) for at, begins in self.lots])
        begins = np.concatenate([begins for _, begins in self.lots])
        there = begins.any(axis=1)
        places, begins = places[there], np.ascontiguousarray(begins[there])
        _, lots, counts = np.unique(
            begins.view(f"V{begins.itemsize * _WIDTH}").ravel(), return_inverse=True, return_counts=True
        )
        return Alike(self.rows, tuple(np.sort(places[counts[lots] > 1]).tolist()))
