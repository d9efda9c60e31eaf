"""A tensor that was saved in rectangles, as the row-major bytes of the whole, put together as they are read."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.composed import JoinedSource
from statedict.errors import FormatError, LimitError
from statedict.index import contiguous, shown, span
from statedict.source import Extent, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK = 1 << 22
_MOST_UNALIGNED = 2_000
"""Tiles that are compared each with each, where they form no grid."""


class Box(NamedTuple):
    """A rectangle of a tensor: where it begins in each dimension, and its sizes."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    def common(self, other: "Box") -> "Box | None":
        """What both cover; None: nothing."""
        starts = tuple(map(max, self.offsets, other.offsets))
        ends = [min(a + n, b + m) for a, n, b, m in zip(*self, *other, strict=True)]
        sizes = tuple(end - start for start, end in zip(starts, ends, strict=True))
        return Box(starts, sizes) if min(sizes, default=1) > 0 else None


class Tile(NamedTuple):
    """One rectangle, and its elements, row by row."""

    box: Box
    extent: Extent


def whole(tiles: Sequence[Tile], shape: tuple[int, ...], itemsize: int, name: str) -> Extent:
    """The row-major bytes of the tensor that `tiles` cover. Raises FormatError where they leave gaps or overlap."""
    tiles = sorted((tile for tile in tiles if 0 not in tile.box.sizes), key=lambda tile: tile.box.offsets)
    _prove(tiles, shape, name)
    if len(tiles) == 1:
        return tiles[0].extent
    if all(tile.box.sizes[1:] == shape[1:] for tile in tiles):
        source: Source = JoinedSource(tuple(tile.extent for tile in tiles), name)
    else:
        source = TiledSource(tuple(tiles), shape, itemsize, name)
    return Extent(source, 0, source.size)


def _prove(tiles: Sequence[Tile], shape: tuple[int, ...], name: str) -> None:
    boxes = [tile.box for tile in tiles]
    for box in boxes:
        inside = len(box.offsets) == len(box.sizes) == len(shape) and min((*box.offsets, *box.sizes), default=0) >= 0
        if not inside or any(start + size > most for start, size, most in zip(*box, shape, strict=True)):
            raise FormatError(f"{name}: a piece of {shown(str(box.sizes))} at {shown(str(box.offsets))} lies outside")
    covered = sum(math.prod(box.sizes) for box in boxes)
    if covered != math.prod(shape) or not (_is_grid(boxes, shape) or _are_apart(boxes, name)):
        raise FormatError(
            f"{name}: its {len(boxes):,} pieces cover {covered:,} elements, but {shape} has {math.prod(shape):,}; "
            "some are missing, or overlap; fetch all files of the checkpoint"
        )


def _is_grid(boxes: Sequence[Box], shape: tuple[int, ...]) -> bool:
    """Whether the boxes, which have as many elements as the whole, are all the cells between lines drawn across it."""
    sides = [{(box.offsets[axis], box.sizes[axis]) for box in boxes} for axis in range(len(shape))]
    whole = all(sum(size for _, size in side) == most for side, most in zip(sides, shape, strict=True))
    return whole and len(set(boxes)) == len(boxes) == math.prod(map(len, sides))


def _are_apart(boxes: Sequence[Box], name: str) -> bool:
    if len(boxes) > _MOST_UNALIGNED:
        raise LimitError(
            f"{name}: {len(boxes):,} pieces that form no grid; at most {_MOST_UNALIGNED:,} are put together"
        )
    return not any(a.common(b) for a, b in itertools.combinations(boxes, 2))


def boxes_of(shape: tuple[int, ...], first: int, last: int) -> Iterator[Box]:
    """The elements from `first` to before `last`, counted row by row, as rectangles in that order."""
    if first >= last:
        return
    if not shape:
        yield Box((), ())
        return
    inner = math.prod(shape[1:])
    row, skipped = divmod(first, inner)
    if skipped or last - first < inner:
        end = min(last, (row + 1) * inner)
        yield from _within(row, boxes_of(shape[1:], skipped, end - row * inner))
        first, row = end, row + 1
    if rows := max(last - first, 0) // inner:
        yield Box((row, *[0] * (len(shape) - 1)), (rows, *shape[1:]))
    yield from _within(row + rows, boxes_of(shape[1:], 0, last - first - rows * inner))


def _within(row: int, boxes: Iterator[Box]) -> Iterator[Box]:
    return (Box((row, *box.offsets), (1, *box.sizes)) for box in boxes)


class TiledSource(Source):
    """The elements of a tensor in rectangles, row by row. No more than about a block is read at once."""

    __slots__ = ("_itemsize", "_shape", "_tiles")

    def __init__(self, tiles: tuple[Tile, ...], shape: tuple[int, ...], itemsize: int, name: str) -> None:
        self._tiles = tiles
        self._shape = shape
        self._itemsize = itemsize
        self.name = name
        self.size = math.prod(shape) * itemsize

    def readinto_at(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise self.ends_before(offset + len(buffer))
        size = self._itemsize
        done = 0
        while done < len(buffer):
            first, skipped = divmod(offset + done, size)
            count = min(-(-(skipped + len(buffer) - done) // size), max(_BLOCK // size, 1))
            piece = self._elements(first, count)[skipped : skipped + len(buffer) - done]
            buffer[done : done + len(piece)] = piece.data
            done += len(piece)

    def _elements(self, first: int, count: int) -> "NDArray[np.uint8]":
        """The bytes of `count` elements from the one numbered `first` on."""
        import numpy as np

        out = np.empty(count, f"V{self._itemsize}")
        done = 0
        for box in boxes_of(self._shape, first, first + count):
            end = done + math.prod(box.sizes)
            self._fill(box, out[done:end].reshape(box.sizes))
            done = end
        return out.view("u1")

    def _fill(self, box: Box, out: "NDArray[Any]") -> None:
        """Put what the tiles hold of a box into `out`, an array of its sizes."""
        for tile in self._tiles:
            if (common := box.common(tile.box)) is not None:
                starts = [at - start for at, start in zip(common.offsets, box.offsets, strict=True)]
                place = tuple(slice(at, at + size) for at, size in zip(starts, common.sizes, strict=True))
                out[place] = self._part(tile, common)

    def _part(self, tile: Tile, common: Box) -> "NDArray[Any]":
        """What a tile holds of a box that lies in it: the stretch from its first to its last element, seen in steps."""
        import numpy as np
        from numpy.lib.stride_tricks import as_strided

        size, steps = self._itemsize, contiguous(tile.box.sizes)
        starts = [at - start for at, start in zip(common.offsets, tile.box.offsets, strict=True)]
        stretch = np.empty(span(common.sizes, steps), f"V{size}")
        source, offset, _ = tile.extent
        source.readinto_at(offset + sum(map(int.__mul__, starts, steps)) * size, stretch.view("u1").data)
        return as_strided(stretch, common.sizes, [step * size for step in steps])

    def __reduce__(self) -> tuple[Any, ...]:
        return TiledSource, (self._tiles, self._shape, self._itemsize, self.name)
