"""`stats`: figures as a table with histograms, as JSON rows and as CSV."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.summary import Summary
from statedict.views import numbers
from statedict.views.documents import plain
from statedict.views.lines import Line, escaped, fitted, name_text
from statedict.views.table import NARROW, Column, table

if TYPE_CHECKING:
    from statedict.ops.stats import Stats, TensorStats

BINS = 16
_BARS = " ▁▂▃▄▅▆▇█"
_FIGURES: tuple[tuple[str, Callable[[Summary], Any]], ...] = (
    ("numel", lambda summary: summary.count),
    ("min", lambda summary: summary.min),
    ("max", lambda summary: summary.max),
    ("mean", lambda summary: summary.mean),
    ("std", lambda summary: summary.std),
    ("l1", lambda summary: summary.l1),
    ("l2", lambda summary: summary.l2),
    ("linf", lambda summary: summary.linf),
    ("zeros", lambda summary: summary.zeros),
    ("sparsity", lambda summary: summary.sparsity),
    ("nan", lambda summary: summary.nans),
    ("posinf", lambda summary: summary.positive_infinities),
    ("neginf", lambda summary: summary.negative_infinities),
    ("denormals", lambda summary: summary.denormals),
)
FIGURES: Mapping[str, Callable[[Summary], Any]] = dict(_FIGURES)
"""What is said of each, by the key that JSON and CSV have for it."""
_SHOWN = ("min", "max", "mean", "std", "l2")
_UNUSUAL = {"nan": "nan", "posinf": "inf", "neginf": "-inf"}
"""Counts that have a column where any is not zero, by the key of the figure."""


class Figures(NamedTuple):
    """One line of the table: a tensor or a module."""

    name: str
    summary: Summary
    tensor: "TensorStats | None" = None


def figures_of(stats: "Stats", *, modules: bool) -> list[Figures]:
    """A line for each tensor, or for each module."""
    if modules:
        return [Figures(name, summary) for name, summary in stats.modules.items()]
    return [Figures(each.name, each.summary, each) for each in stats.tensors]


def stats_table(rows: Sequence[Figures], width: int | None = None, *, histogram: bool = False) -> list[Line]:
    """The table of `rows`, each line cut to `width` columns (None: never)."""
    columns = [Column("name", [name_text(row.name) if row.name else "(all)" for row in rows], "name", shrinks=True)]
    if any(row.tensor for row in rows) and (width is None or width >= NARROW):
        infos = [row.tensor.info if row.tensor else None for row in rows]
        columns.append(Column("dtype", [info.dtype.short if info else "" for info in infos], "dtype"))
        columns.append(Column("shape", [numbers.shape(info.shape) if info else "" for info in infos], "shape"))
    for key in _SHOWN:
        columns.append(_column(key, [_number(FIGURES[key](row.summary)) for row in rows]))
    columns.append(_column("zeros", [_share(row.summary.sparsity) for row in rows]))
    for key, title in _UNUSUAL.items():
        if any(FIGURES[key](row.summary) for row in rows):
            columns.append(_column(title, [numbers.exact(FIGURES[key](row.summary)) for row in rows]))
    columns += _asked_for(rows)
    if histogram:
        columns.append(Column("histogram", [_sparkline(row) for row in rows]))
    return table(columns, width)


def _asked_for(rows: Sequence[Figures]) -> list[Column]:
    """Quantiles, and what a cast loses."""
    quantiles: list[Mapping[float, float]] = [row.tensor.quantiles if row.tensor else {} for row in rows]
    shares = max(quantiles, key=len, default=dict[float, float]())
    columns = [_column(f"q{share:g}", [_number(of.get(share)) for of in quantiles]) for share in shares]
    losses = [row.tensor.lost if row.tensor else None for row in rows]
    if any(losses):
        columns.append(
            _column("overflow", ["-" if each is None else numbers.exact(each.overflowed) for each in losses])
        )
        columns.append(_column("vanish", ["-" if each is None else numbers.exact(each.vanished) for each in losses]))
    return columns


def _column(title: str, texts: Sequence[str]) -> Column:
    return Column(title, texts, "number", to_right=True)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else numbers.value(value)


def _share(value: float | None) -> str:
    """A share in percent, of which neither 0 nor 100 is rounded to."""
    if value is None:
        return "-"
    if value in (0.0, 1.0):
        return "0" if value == 0 else "100%"
    return f"{min(max(100 * value, 0.01), 99.99):.2f}%"


def _sparkline(row: Figures) -> str:
    """A bar for each bin, the highest full; a count above zero always shows."""
    counts = row.tensor.histogram(BINS)[0] if row.tensor else []
    most = max(counts, default=0)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in counts) if most else ""


def summary_lines(stats: "Stats", width: int | None = None) -> list[Line]:
    """What there is to say of all, and of what was left out."""
    total = stats.total
    said = [numbers.counted(len(stats.tensors), "tensor"), f"{numbers.counted(total.count, 'number')} that are floats"]
    if total.count:
        said += [f"mean {_number(total.mean)}", f"std {_number(total.std)}", f"L2 {_number(total.l2)}"]
        said += [f"zeros {_share(total.sparsity)}"]
    said += [f"NaN {numbers.exact(total.nans)}"] if total.nans else []
    said += [f"infinite {numbers.exact(total.infinities)}"] if total.infinities else []
    lines: list[Line] = [[(", ".join(said), "bold")]]
    for reason in stats.skipped.values():
        lines.append([(f"left out: {escaped(reason)}", "dim")])
    return [fitted(line, width) for line in lines]


def figure_fields(row: Figures, *, histogram: bool = False) -> dict[str, Any]:
    """One row as JSON has it: strict, so that NaN and infinities are texts."""
    fields: dict[str, Any] = {"name": row.name}
    found = row.tensor
    if found is not None:
        fields |= {"dtype": found.info.dtype.name, "shape": found.info.shape, "role": found.role}
        fields |= {"also": found.names[1:]} if len(found.names) > 1 else {}
    fields |= {key: plain(value(row.summary)) for key, value in _FIGURES}
    if found is None:
        return fields
    if found.quantiles:
        fields["quantiles"] = {f"{share:g}": plain(value) for share, value in found.quantiles.items()}
    if found.lost is not None:
        fields |= {"overflowed": found.lost.overflowed, "vanished": found.lost.vanished}
    if histogram:
        counts, edges = found.histogram(BINS)
        fields |= {"distinct": found.distinct, "histogram": {"counts": counts, "edges": plain(edges)}}
    return fields


def comma_separated(rows: Iterable[Figures]) -> str:
    """`rows` as CSV (RFC 4180); shapes as JSON lists, what does not print in names escaped, nothing for what is not."""
    import csv
    import io

    every = [figure_fields(row) for row in rows]
    for fields in every:
        fields["name"] = escaped(fields["name"])
        fields.pop("also", None)
        if "shape" in fields:
            fields["shape"] = numbers.shape(fields["shape"])
        fields |= {f"q{share}": value for share, value in fields.pop("quantiles", {}).items()}
    keys = dict.fromkeys(key for fields in every for key in fields)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(keys) or ["name", *FIGURES], lineterminator="\n")
    writer.writeheader()
    writer.writerows(every)
    return out.getvalue()
