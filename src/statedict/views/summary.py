"""A live model as a table of its modules, with shapes, parameters and multiply-accumulates, and its totals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from statedict.views import numbers
from statedict.views.lines import ELLIPSIS, Line, escaped, fitted, padded, right, widest
from statedict.views.table import Column, table

if TYPE_CHECKING:
    from statedict.interop.summarizing import Layer, ModelSummary

_MOST_SHAPES = 2
_GAP = "  "


def summary_lines(summary: "ModelSummary", width: int | None = None) -> list[Line]:
    """A line for each module, `summary.depth` levels deep, then totals; each cut to `width` columns (None: never)."""
    deepest = summary.depth
    layers = [layer for layer in summary.layers if deepest is None or _level(layer.name) <= deepest]
    lines: list[Line] = table(_columns(summary, layers), width)
    lines.append([])
    return lines + [fitted(line, width) for line in _totals(summary)]


def _level(name: str) -> int:
    return name.count(".") + 1 if name else 0


def _columns(summary: "ModelSummary", layers: "Sequence[Layer]") -> list[Column]:
    names = [_GAP * _level(layer.name) + escaped(layer.name.rpartition(".")[2]) for layer in layers]
    names[0] = summary.title
    columns = [
        Column("", names, "name", shrinks=True),
        Column("kind", [escaped(layer.kind) for layer in layers], "kind"),
    ]
    if summary.macs is not None:
        columns.append(Column("input", [_shapes(layer.inputs) for layer in layers], "shape"))
        columns.append(Column("output", [_shapes(layer.outputs) for layer in layers], "shape"))
    columns.append(_numbers("parameters", [layer.parameters for layer in layers]))
    if summary.macs is not None:
        columns.append(_numbers("MACs", [layer.macs for layer in layers]))
        if any(layer.calls > 1 for layer in layers):
            columns.append(_numbers("calls", [layer.calls for layer in layers]))
    remarks = [_remark(layer) for layer in layers]
    return columns + ([Column("", remarks, "dim")] if any(remarks) else [])


def _numbers(title: str, counts: Sequence[int]) -> Column:
    return Column(title, [numbers.exact(count) if count else "" for count in counts], "number", to_right=True)


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    more = [ELLIPSIS] if len(shapes) > _MOST_SHAPES else []
    return " ".join([*map(numbers.shape, shapes[:_MOST_SHAPES]), *more])


def _remark(layer: "Layer") -> str:
    """What its numbers do not say."""
    if layer.same_as is not None:
        return f"= {escaped(layer.same_as)}"
    said = [f"{escaped(_local(name))} = {escaped(before)}" for name, before in layer.tied.items()]
    own = [_local(name) for name in layer.own if name not in layer.tied]
    if own:
        said.append(f"holds {', '.join(map(escaped, own))}")
    if layer.parameters and layer.trainable < layer.parameters:
        said.append("frozen" if not layer.trainable else "frozen in part")
    return "; ".join(said)


def _local(name: str) -> str:
    return name.rpartition(".")[2]


def _totals(summary: "ModelSummary") -> list[Line]:
    frozen = summary.parameters - summary.trainable
    rows = [(numbers.exact(summary.parameters), "parameters", f"{numbers.exact(frozen)} frozen" if frozen else "")]
    if summary.buffers:
        rows.append((numbers.exact(summary.buffers), "in buffers", ""))
    if summary.macs is not None:
        remark = "by shapes alone" if summary.simulated else "the model ran: it asks for elements"
        rows.append((numbers.exact(summary.macs), "multiply-accumulates in a forward pass", remark))
    rows.append((numbers.size(summary.nbytes), "of parameters and buffers", ""))
    if summary.activations is not None:
        rows.append((numbers.size(summary.activations), "returned by layers", ""))
    amounts, words = widest([row[0] for row in rows]), widest([row[1] for row in rows])
    return [
        [(right(amount, amounts), "number"), (" " + padded(word, words), ""), (_GAP + remark, "dim")]
        for amount, word, remark in rows
    ]
