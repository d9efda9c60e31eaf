"""`stats`: figures as a table with histograms, and in a few lines below it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from statedict.views import numbers
from statedict.views.figures import FIGURES, Figures
from statedict.views.lines import Line, escaped, name_text, wrapped
from statedict.views.table import WIDE, Column, table

if TYPE_CHECKING:
    from statedict.ops.stats import Stats

_BARS = " ▁▂▃▄▅▆▇█"
_SHOWN = ("min", "max", "mean", "std", "l2")
_UNUSUAL = {"nan": "nan", "posinf": "inf", "neginf": "-inf"}
"""Counts that have a column where any is not zero, by the key of the figure."""
_IN_OWN_WAY = ("name", "zeros", "sparsity", *_UNUSUAL)
_ONE = {"rows": "row", "columns": "column", "output_channels": "output", "input_channels": "input"}
_MANY = {"rows": "rows", "columns": "columns", "output_channels": "outputs", "input_channels": "inputs"}


def stats_table(
    rows: Sequence[Figures], width: int | None = None, *, histogram: bool = False, figure: str | None = None
) -> list[Line]:
    """The table of `rows`, each line cut to `width` columns (None: never). `figure` has a column in any case."""
    columns = [Column("name", [name_text(row.name) if row.name else "(all)" for row in rows], "name", shrinks=True)]
    if any(row.tensor for row in rows) and (width is None or width >= WIDE):
        infos = [row.tensor.info if row.tensor else None for row in rows]
        columns.append(Column("dtype", [info.dtype.short if info else "" for info in infos], "dtype"))
        columns.append(Column("shape", [numbers.shape(info.shape) if info else "" for info in infos], "shape"))
    more = [] if figure is None or figure in (*_SHOWN, *_IN_OWN_WAY) else [figure]
    for key in (*_SHOWN, *more):
        columns.append(_column(key, [_number(FIGURES[key](row.summary)) for row in rows]))
    columns.append(_column("zeros", [_share(row.summary.sparsity) for row in rows]))
    for key, title in _UNUSUAL.items():
        if key == figure or any(FIGURES[key](row.summary) for row in rows):
            columns.append(_column(title, [numbers.exact(FIGURES[key](row.summary)) for row in rows]))
    columns += _asked_for(rows)
    if histogram:
        columns.append(Column("histogram", [sparkline(row) for row in rows]))
    return table(columns, width)


def _asked_for(rows: Sequence[Figures]) -> Iterator[Column]:
    """Quantiles, what a cast loses, how zeros are arranged, singular values."""
    quantiles = [row.quantiles for row in rows]
    for share in max(quantiles, key=len, default=()):
        yield _column(f"q{share:g}", [_number(of.get(share)) for of in quantiles])
    if any(row.lost for row in rows):
        for at, title in enumerate(("overflow", "vanish")):
            yield _column(title, ["-" if row.lost is None else _share(row.lost[at], row.summary.count) for row in rows])
    if any(row.dead is not None for row in rows):
        yield _column("dead", [_dead(row.dead) for row in rows])
        if any(row.tensor for row in rows):
            yield _column("N:M", [_pattern(row) for row in rows])
    spectra = [row.tensor.spectrum if row.tensor else None for row in rows]
    if any(spectra):
        yield _column("σ max", ["-" if each is None else _number(each.norm) for each in spectra])
        yield _column("stable rank", ["-" if each is None else _number(each.stable_rank) for each in spectra])
        about = ["" if each is None or each.exact else "~" for each in spectra]
        ranks = ["-" if each is None else _number(each.effective_rank) for each in spectra]
        yield _column("effective rank", [mark + rank for mark, rank in zip(about, ranks, strict=True)])


def _dead(found: Mapping[str, int] | None) -> str:
    """How many are dead: "3 rows, 1 column", or "0"."""
    if found is None:
        return "-"
    said = [numbers.counted(count, _ONE[kind], _MANY[kind]) for kind, count in found.items() if count]
    return ", ".join(said) or "0"


def _pattern(row: Figures) -> str:
    structure = row.tensor.structure if row.tensor else None
    found = structure.pattern if structure else None
    return "-" if found is None else f"{found[0]}:{found[1]}"


def _column(title: str, texts: Sequence[str]) -> Column:
    return Column(title, texts, "number", to_right=True)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else numbers.value(value)


def _share(value: float | None, of: int = 1) -> str:
    """A share in percent, of which neither 0 nor 100 is rounded to."""
    if value is None or not of:
        return "-"
    value /= of
    if value in (0.0, 1.0):
        return "0" if value == 0 else "100%"
    return f"{min(max(100 * value, 0.01), 99.99):.2f}%"


def sparkline(row: Figures) -> str:
    """A bar for each bin, the highest full; a count above zero always shows."""
    counts, _ = row.histogram()
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
    return [each for line in lines for each in wrapped(line, width)]
