"""What went of a model that was shrunk: a table of its layers, its size before and after, and what stayed, and why."""

from typing import TYPE_CHECKING

from statedict.views import numbers
from statedict.views.lines import Line, escaped, fitted
from statedict.views.pruning import left_out_lines
from statedict.views.table import Column, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from statedict.interop.measuring import Measured
    from statedict.interop.shrinking import ShrunkLive
    from statedict.ops.shrink.shrinking import Layer, Shrunk


def shrunk_lines(shrunk: "Shrunk", width: int | None = None) -> list[Line]:
    """A line for each layer whose channels could go, and the totals; each cut to `width` columns."""
    lines = _layers(shrunk.layers, width)
    lines.append(_change("parameters", *shrunk.parameters))
    lines.append(_change("bytes", *shrunk.nbytes))
    lines += _work(*shrunk.work) if shrunk.work is not None else []
    lines += left_out_lines(shrunk.left_out)
    return [fitted(line, width) for line in lines]


def shrunk_live_lines(shrunk: "ShrunkLive", width: int | None = None) -> list[Line]:
    """The same of a live model, with its work and speed."""
    before, after = shrunk.before, shrunk.after
    lines = _layers(shrunk.layers, width)
    lines.append(_change("parameters", before.parameters, after.parameters))
    lines.append(_change("bytes", before.nbytes, after.nbytes))
    lines += _work(before, after)
    return [fitted(line, width) for line in lines]


def _layers(rows: "Sequence[Layer]", width: int | None) -> list[Line]:
    columns = [
        Column("layer", [escaped(row.name) for row in rows], "name", shrinks=True),
        Column("kind", [escaped(row.kind) for row in rows]),
        Column("channels", [numbers.exact(row.before) for row in rows], "number", to_right=True),
        Column("left", [numbers.exact(row.after) for row in rows], "number", to_right=True),
    ]
    return [*table(columns, width), []]


def _work(before: "Measured", after: "Measured") -> list[Line]:
    return [
        _change("multiply-accumulates", before.macs, after.macs),
        _change("milliseconds", 1000 * before.seconds, 1000 * after.seconds),
    ]


def _change(word: str, before: float, after: float) -> Line:
    """How much there was, how much is left, and which share of it that is."""
    was, now = (f"{each:,.3g}" if isinstance(each, float) else numbers.exact(each) for each in (before, after))
    share = f" ({100 * after / before:.1f}%)" if before else ""
    return [(f"{word}: ", "dim"), (was, "number"), (" to ", ""), (now, "number"), (share, "")]
