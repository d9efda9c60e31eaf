"""Tiles of heat maps: what a window of a tensor, or of the difference of two, looks like, as bytes to send."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from statedict.errors import PatternError
from statedict.index import TensorInfo
from statedict.ops.tiles import Picture, Plane, Window, picture, shape_of, size_of
from statedict.tree.tensor import Tensor
from statedict.web.side import Side

_MOST_PIXELS = 1024


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture, in four planes of its pixels: mean, lowest and highest as float32, what is unusual as a byte."""

    data: bytes
    about: Mapping[str, Any]


def drawn(sides: Sequence[Side], asked: Mapping[str, str]) -> Tile:
    """The tile that the query of a request asks for. Raises ValueError and PatternError where there is none."""
    info = _info(sides, asked)
    plane = Plane(_axes(asked, "rows"), _axes(asked, "columns"), _fixed(asked))
    rows, columns = size_of(shape_of(info), plane)
    top, left = max(0, _whole(asked, "top")), max(0, _whole(asked, "left"))
    window = Window(top, min(rows, _whole(asked, "bottom")), left, min(columns, _whole(asked, "right")))
    height, width = (max(1, min(_whole(asked, side), _MOST_PIXELS)) for side in ("height", "width"))
    return _encoded(picture(info, plane, window, height, width))


def _info(sides: Sequence[Side], asked: Mapping[str, str]) -> TensorInfo:
    """The tensor that is drawn; for the side "difference" the second less the first, computed as it is read."""
    side = asked.get("side", "0")
    if side != "difference":
        number = _whole(asked, "side") if "side" in asked else 0
        if not 0 <= number < len(sides):
            raise PatternError(f"there is no side {number}")
        return sides[number].tensor(_whole(asked, "at")).tensor.info
    if len(sides) < 2:
        raise PatternError("there is only one checkpoint: nothing to compare")
    before = sides[0].tensor(_whole(asked, "at")).tensor
    after = sides[1].tensor(_whole(asked, "other")).tensor
    if before.shape != after.shape:
        raise PatternError(f"the shapes differ: {before.shape} and {after.shape}")
    return (_as_float(after) - _as_float(before)).info


def _as_float(tensor: Tensor) -> Tensor:
    """The tensor as numbers that can be taken from one another without rounding away what is small."""
    from statedict.dtypes import DTYPES
    from statedict.expressions.nodes import recast

    if tensor.dtype.block_bytes:
        tensor = tensor.dequantize()
    wide = DTYPES["complex128" if tensor.dtype.is_complex else "float64"]
    return Tensor(recast(tensor.info, wide))


def _encoded(found: Picture) -> Tile:
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        planes = [np.ascontiguousarray(plane, "<f4") for plane in (found.mean, found.low, found.high)]
    rows, columns = found.mean.shape
    about = {"rows": rows, "columns": columns, "seen": found.seen, "total": found.total}
    return Tile(b"".join(plane.tobytes() for plane in (*planes, found.unusual)), about)


def _whole(asked: Mapping[str, str], name: str) -> int:
    try:
        return int(asked[name])
    except (KeyError, ValueError):
        raise PatternError(f"`{name}` is `{asked.get(name)}`; expected a whole number") from None


def _axes(asked: Mapping[str, str], name: str) -> tuple[int, ...]:
    try:
        return tuple(int(each) for each in asked.get(name, "").split(",") if each)
    except ValueError:
        raise PatternError(f"`{name}` is `{asked.get(name)}`; expected the numbers of axes") from None


def _fixed(asked: Mapping[str, str]) -> tuple[tuple[int, int], ...]:
    """The axes that are left, each with its index: "0:3,1:0"."""
    try:
        pairs = (each.split(":") for each in asked.get("fixed", "").split(",") if each)
        return tuple((int(axis), int(index)) for axis, index in pairs)
    except ValueError:
        raise PatternError(f"`fixed` is `{asked.get('fixed')}`; expected axes with an index each: 0:3,1:0") from None
