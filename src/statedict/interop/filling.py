"""Tensors of a checkpoint into the memory of live ones: read in place where both look the same, else by blocks."""
# pyright: reportUnknownMemberType=false

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import torch

from statedict.composed import InflatedSource
from statedict.engine import Progress, axes_as_they_lie, in_any_order, processors
from statedict.expressions.nodes import settled
from statedict.index import PLAIN, TensorInfo, span
from statedict.source import Extent

_PIECE = 1 << 23
"""Bytes that are worth being passed to another thread."""
_BLOCK = 1 << 20
"""Bytes that are read at once where elements are converted: the buffer that each thread keeps."""


class Copy(NamedTuple):
    """A live tensor, and the one of the same shape whose elements it is to have."""

    target: torch.Tensor
    info: TensorInfo


class Piece(NamedTuple):
    """Bytes that are read, and what puts them into their place."""

    size: int
    work: Callable[[], None]


def takes_directly(target: torch.Tensor) -> bool:
    """Whether its memory can be written as PyTorch's own `copy_` would, without errors or effects of its own."""
    return (
        type(target) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
        and target.layout is torch.strided
        and not (target.is_quantized or target.is_conj() or target.is_neg() or target.is_inference())
        and (target.is_contiguous() or all(size < 2 or step for size, step in zip(target.shape, target.stride())))  # noqa: B905
    )


def fill(copies: Sequence[Copy], *, threads: int | None = None, progress: Progress | None = None) -> None:
    """Give each target its elements, cast as `copy_` does. Memory: one block for each thread.

    Raises what reading raises; then some targets have theirs already.
    """
    apart, overlapping = _told_apart(copies)
    total = sum(copy.info.nbytes for copy in copies)
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    _run(_units(piece for copy in apart for piece in _pieces(copy)), threads, tell)
    for copy in overlapping:  # in their order, as the last one wins
        _run(_units(_pieces(copy)), 1, tell)
    for copy in copies:
        torch.autograd.graph.increment_version(copy.target)


def _told_apart(copies: Sequence[Copy]) -> tuple[list[Copy], list[Copy]]:
    """Those whose memory no other one's touches, and the others."""
    places = sorted((*_place(copy.target), at) for at, copy in enumerate(copies) if copy.target.device.type != "meta")
    touching: set[int] = set()
    furthest, holder = -1, -1
    for begin, end, at in places:
        if begin < furthest:
            touching |= {holder, at}
        if end > furthest:
            furthest, holder = end, at
    apart = [copy for at, copy in enumerate(copies) if at not in touching]
    return apart, [copies[at] for at in sorted(touching)]


def _place(target: torch.Tensor) -> tuple[int, int]:
    begin = target.data_ptr()
    if target.is_contiguous():
        return begin, begin + target.nbytes
    return begin, begin + span(tuple(target.shape), target.stride()) * target.element_size()


# Pieces


def _pieces(copy: Copy) -> Iterator[Piece]:
    """One copy in pieces, each of which goes through its source from begin to end."""
    target, info = copy.target.detach(), copy.info
    if not target.numel() or info.extent is None:
        return
    if info.stride is not None or info.encoding is not PLAIN:
        target, info = target.permute(axes_as_they_lie(info)), settled(in_any_order(info))
    extent = info.extent
    assert extent is not None  # noqa: S101 - as it had one before
    same = str(target.dtype).removeprefix("torch.") == info.dtype.name and target.device.type == "cpu"
    step = extent.size if _only_forward(extent) else _PIECE // info.dtype.itemsize * info.dtype.itemsize
    if not target.is_contiguous():
        yield Piece(extent.size, partial(_convert_rows, target, info, extent))
        return
    flat = target.reshape(-1)
    if same:
        memory = flat.view(torch.uint8).numpy().data
        for first in range(0, extent.size, step):
            part = memory[first : first + step]
            yield Piece(len(part), partial(extent.source.readinto_at, extent.offset + first, part))
        return
    for first in range(0, extent.size, step):
        part = Extent(extent.source, extent.offset + first, min(step, extent.size - first))
        yield Piece(part.size, partial(_convert, flat[first // info.dtype.itemsize :], info, part))


def _only_forward(extent: Extent) -> bool:
    return isinstance(extent.source.located(extent.offset)[0], InflatedSource)


def _convert(flat: torch.Tensor, info: TensorInfo, extent: Extent) -> None:
    """Elements of another type, or for another device: block by block, cast by PyTorch."""
    size, kind = info.dtype.itemsize, getattr(torch, info.dtype.name)
    for first in range(0, extent.size, _BLOCK):
        room = _rooms.buffer[: min(_BLOCK, extent.size - first)]
        extent.source.readinto_at(extent.offset + first, room.numpy().data)
        start = first // size
        flat[start : start + len(room) // size].copy_(room.view(kind))


def _convert_rows(target: torch.Tensor, info: TensorInfo, extent: Extent) -> None:
    """The same for a target whose elements do not lie row by row, in whole rows that a block holds."""
    if target.is_contiguous():
        _convert(target.reshape(-1), info, extent)
        return
    row = extent.size // len(target)
    rows = _BLOCK // row
    if not rows:
        for at in range(len(target)):
            _convert_rows(target[at], info, Extent(extent.source, extent.offset + at * row, row))
        return
    for at in range(0, len(target), rows):
        some = target[at : at + rows]
        room = _rooms.buffer[: len(some) * row]
        extent.source.readinto_at(extent.offset + at * row, room.numpy().data)
        some.copy_(room.view(getattr(torch, info.dtype.name)).view(some.shape))


class _Rooms(threading.local):
    """The block of each thread."""

    def __init__(self) -> None:
        self.buffer = torch.empty(_BLOCK, dtype=torch.uint8, device="cpu")


_rooms = _Rooms()


# Threads


def _units(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, ...]]:
    """Pieces in groups that are worth being passed to another thread."""
    unit: list[Piece] = []
    size = 0
    for piece in pieces:
        unit.append(piece)
        size += piece.size
        if size >= _PIECE:
            yield tuple(unit)
            unit, size = [], 0
    if unit:
        yield tuple(unit)


def _work(unit: tuple[Piece, ...]) -> int:
    for piece in unit:
        piece.work()
    return sum(piece.size for piece in unit)


def _run(units: Iterator[tuple[Piece, ...]], threads: int | None, tell: Callable[[int], None]) -> None:
    workers = threads or processors()
    if workers <= 1:
        for unit in units:
            tell(_work(unit))
        return
    pool = ThreadPoolExecutor(workers, "statedict")
    try:
        waiting: list[Future[int]] = []
        for unit in units:
            waiting.append(pool.submit(_work, unit))
            if len(waiting) > 2 * workers:
                tell(waiting.pop(0).result())
        for future in waiting:
            tell(future.result())
    finally:
        pool.shutdown(cancel_futures=True)
