"""What a run comes to before it begins: bytes, pieces of work, memory, and the time at a speed just measured."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from statedict import engine
from statedict.executors import Rehearsed
from statedict.expressions.nodes import Computed, Leaf, Node
from statedict.plan import Summed
from statedict.source import BytesSource, Extent, Source
from statedict.writing.output import BLOCK
from statedict.writing.tasks import located

_SECONDS = 0.3
"""How long a speed is measured, at most."""
_MEASURED = 1 << 10
"""Units at most by which it is measured."""
_WRITTEN = 1 << 25
"""Bytes that are written to measure how fast a disk takes them."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes."""

    read: int
    """Bytes of tensors that are read; what compares or ranks may read some of them again."""
    written: int
    files: int
    """Files that are read."""
    targets: int
    """Files that are written."""
    units: int
    """Pieces of work that threads or workers take."""
    threads: int
    memory: int
    """Bytes of buffers at most."""
    read_rate: float | None
    """Bytes a second that this machine reads and works on, on all threads; None where there is nothing to."""
    write_rate: float | None
    """Bytes a second that the disk takes; None where nothing is written, or it is not one of this machine."""

    @property
    def seconds(self) -> float:
        """How long it takes at these speeds."""
        reading = self.read / self.read_rate if self.read_rate else 0.0
        return reading + (self.written / self.write_rate if self.write_rate else 0.0)


def estimate(rehearsed: Rehearsed) -> Estimate:
    """What was rehearsed, in figures. A first stretch is read, and some bytes are written beside the target.

    What is written so has no name, and is gone at once.
    """
    plans = list(rehearsed.plans)
    inputs = [extent for plan in plans for piece in plan.pieces for extent in _inputs(piece)]
    units, read, count = list[engine.Unit](), 0, 0
    files = {id(_file(extent)) for extent in inputs}
    for unit in rehearsed.units:  # of terabytes there are more than one would keep
        count += 1
        if len(units) < _MEASURED:
            units.append(unit)
        for each in unit:
            read += each.size
            files.add(id(_file(each.extent)))
            for piece in each.pieces:
                if piece.beside is not None:
                    files.add(id(_file(piece.beside.extent)))
    written = sum(plan.size for plan in plans)
    threads = engine.processors()
    blocks = sum(-(-plan.size // BLOCK) for plan in plans)
    return Estimate(
        read + sum(extent.size for extent in inputs),
        written,
        len(files),
        len(plans),
        count + blocks,
        threads,
        threads * (engine.MOST_OF_A_UNIT * bool(units) + 2 * BLOCK * bool(plans)),
        _read_rate(units, inputs, threads),
        _write_rate(rehearsed.target) if written else None,
    )


def _inputs(piece: object) -> Iterator[Extent]:
    """The extents of files that a piece of a plan is read, or computed, from."""
    extent = piece.extent if isinstance(piece, Summed) else piece
    if not isinstance(extent, Extent) or not extent.size or isinstance(extent.source, BytesSource):
        return
    if isinstance(extent.source, Computed):
        yield from (leaf for leaf in _leaves(extent.source.node))
    else:
        yield located(extent)


def _leaves(node: Node) -> Iterator[Extent]:
    """What a computed tensor is computed from, each tensor once."""
    seen: dict[tuple[int, int, int], Extent] = {}
    waiting = [node]
    while waiting:
        each = waiting.pop()
        waiting += each.operands
        if isinstance(each, Leaf) and each.info.extent is not None:
            extent = each.info.extent
            for below in _inputs(extent):
                seen[id(below.source), below.offset, below.size] = below
    return iter(seen.values())


def _file(extent: Extent) -> Source:
    return extent.source.needs(extent.offset, extent.size)[0]


def _read_rate(units: list[engine.Unit], inputs: list[Extent], threads: int) -> float | None:
    """Bytes a second on all threads, of some units done and some inputs read."""
    start, done = time.perf_counter(), 0
    for unit in units:
        engine.work(unit)
        done += sum(read.size for read in unit)
        if time.perf_counter() - start > _SECONDS:
            break
    buffer = memoryview(bytearray(BLOCK))
    for extent in islice(inputs, 0 if units else 64):
        extent.source.readinto_at(extent.offset, buffer[: extent.size])
        done += min(extent.size, BLOCK)
        if time.perf_counter() - start > _SECONDS:
            break
    return done / (time.perf_counter() - start) * threads if done else None


def _write_rate(target: Path | None) -> float | None:
    """Bytes a second that go to the disk of `target`'s folder, until they are on it."""
    if target is None or not target.parent.is_dir():
        return None
    with suppress(OSError), tempfile.TemporaryFile(dir=target.parent, buffering=0) as file:
        block, start = bytes(BLOCK), time.perf_counter()
        for _ in range(_WRITTEN // BLOCK):
            file.write(block)
        os.fsync(file.fileno())
        return _WRITTEN / (time.perf_counter() - start)
    return None
