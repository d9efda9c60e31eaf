"""Rectangles put together: every split of every shape gives the whole back, whatever range of bytes is asked for."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statedict.errors import FormatError, LimitError
from statedict.formats._tiled import Box, Tile, boxes_of, whole
from statedict.source import BytesSource, Extent


@st.composite
def splits(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Box]]:
    """A shape, and boxes that cover it: cut along a line, then each part anew, so that they need not form a grid."""
    shape = tuple(draw(st.lists(st.integers(1, 6), max_size=4)))
    boxes = [Box((0,) * len(shape), shape)]
    for _ in range(draw(st.integers(0, 6)) if shape else 0):
        offsets, sizes = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        at = draw(st.integers(0, sizes[axis]))
        for start, size in ((0, at), (at, sizes[axis] - at)):
            moved = [offset + start * (each == axis) for each, offset in enumerate(offsets)]
            boxes.append(Box(tuple(moved), (*sizes[:axis], size, *sizes[axis + 1 :])))
    return shape, boxes


def tiles_of(values: Any, boxes: list[Box]) -> list[Tile]:
    tiles: list[Tile] = []
    for box in boxes:
        part = values[tuple(slice(at, at + size) for at, size in zip(*box, strict=True))]
        data = b"junk" + part.tobytes()
        tiles.append(Tile(box, Extent(BytesSource(data), 4, len(data) - 4)))
    return tiles


@given(splits(), st.data(), st.sampled_from(["u1", "<u2", "<u4", "<f8", "<c16"]))
def test_any_range_of_any_split_is_the_wholes(split: Any, data: st.DataObject, dtype: str) -> None:
    shape, boxes = split
    values = np.arange(math.prod(shape)).astype(dtype).reshape(shape)
    source, offset, size = whole(tiles_of(values, boxes), shape, values.itemsize, "w")
    assert size == values.nbytes
    first = data.draw(st.integers(0, size))
    last = data.draw(st.integers(first, size))
    assert source.read_at(offset + first, last - first) == values.tobytes()[first:last]


@given(st.lists(st.integers(1, 5), max_size=4), st.data())
def test_a_range_is_cut_into_few_boxes_in_order(sizes: list[int], data: st.DataObject) -> None:
    shape = tuple(sizes)
    first = data.draw(st.integers(0, math.prod(shape)))
    last = data.draw(st.integers(first, math.prod(shape)))
    numbers = np.arange(math.prod(shape)).reshape(shape)
    boxes = list(boxes_of(shape, first, last))
    found = [
        int(number)
        for box in boxes
        for number in numbers[tuple(slice(at, at + size) for at, size in zip(*box, strict=True))].reshape(-1)
    ]
    assert found == list(range(first, last))
    assert len(boxes) <= 2 * len(shape) + 1


@given(splits().filter(lambda split: len([box for box in split[1] if 0 not in box.sizes]) > 1), st.data())
def test_a_missing_or_repeated_tile_is_refused(split: Any, data: st.DataObject) -> None:
    shape, boxes = split
    boxes = [box for box in boxes if 0 not in box.sizes]
    tiles = tiles_of(np.zeros(shape, "u1"), boxes)
    number = data.draw(st.integers(0, len(tiles) - 1))
    for wrong in (tiles[:number] + tiles[number + 1 :], [*tiles, tiles[number]]):
        with pytest.raises(FormatError, match="some are missing, or overlap"):
            whole(wrong, shape, 1, "w")


def test_tiles_that_overlap_and_leave_a_gap_of_the_same_size() -> None:
    boxes = [Box((0, 0), (2, 2)), Box((1, 1), (2, 2))]
    tiles = tiles_of(np.zeros((3, 3), "u1"), [boxes[0], boxes[1], Box((2, 0), (1, 1))])
    with pytest.raises(FormatError, match="overlap"):
        whole(tiles, (3, 3), 1, "w")


def test_many_tiles_in_no_grid_are_refused_in_time() -> None:
    cells = [Box(at, (1, 1)) for at in itertools.product(range(60), range(60))]
    merged = [Box((0, 0), (1, 2)), *(box for box in cells if box.offsets not in {(0, 0), (0, 1)})]
    values = np.zeros((60, 60), "u1")
    assert whole(tiles_of(values, cells), (60, 60), 1, "w").size == 3600
    with pytest.raises(LimitError, match="form no grid"):
        whole(tiles_of(values, merged), (60, 60), 1, "w")
