"""`statedict stats`: what the numbers of a checkpoint are, tensor by tensor or module by module."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from statedict import writing
from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint
from statedict.cli.options import choosing_options, of_checkpoint, printing_options, threads_option
from statedict.cli.progress import reading_bar
from statedict.cli.running import running_options
from statedict.executors import Rehearsal, Rehearsed
from statedict.plan import Plan
from statedict.views import numbers
from statedict.views.documents import document, rows_document, schema
from statedict.views.figures import FIGURES, Figures, comma_separated, figure_fields, figures_of, module_figures
from statedict.views.parquet import parquet, require_pyarrow
from statedict.views.plot import SUFFIXES, plot, require_matplotlib
from statedict.views.stats import stats_table, summary_lines

if TYPE_CHECKING:
    from statedict.ops.stats import Stats

_SINGULAR_VALUES = 8


def _shares(_context: click.Context, _parameter: click.Parameter, given: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(share) for share in given.split(",")) if given else ()
    except ValueError:
        raise click.BadParameter(f"`{given}` is no list of numbers from 0 to 1, such as `0.01,0.5,0.99`") from None


def _picture(_context: click.Context, _parameter: click.Parameter, given: str | None) -> Path | None:
    return None if given is None else _path(given, *SUFFIXES)


def _table(_context: click.Context, _parameter: click.Parameter, given: str | None) -> Path | None:
    return None if given is None else _path(given, ".parquet")


def _path(given: str, *suffixes: str) -> Path:
    """A file to write, which no checkpoint is called. Raises BadParameter for another suffix."""
    if Path(given).suffix.lower() not in suffixes:
        raise click.BadParameter(f"`{given}` does not end in {' or '.join(suffixes)}")
    return Path(given)


@click.command(short_help="Min, max, mean, norms, zeros, NaN of tensors and modules.")
@of_checkpoint
@choosing_options
@click.option("--modules", is_flag=True, help="A line for each module and all in it, of its floating-point tensors.")
@click.option("--total", is_flag=True, help="One line for all of these.")
@click.option("--sort", type=click.Choice(["name", *FIGURES]), metavar="FIGURE", help="Sort, the largest first.")
@click.option("-r", "--reverse", is_flag=True, help="Turn the order round.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Keep the first N lines.")
@click.option("--histogram", is_flag=True, help="Draw how the numbers are spread from min to max.")
@click.option("--quantiles", metavar="LIST", callback=_shares, help="Such as 0.01,0.5,0.99; exact.")
@click.option("--if-cast", metavar="DTYPE", help="Say how many would overflow or vanish in that type: f16.")
@click.option("--structure", is_flag=True, help="Find dead rows, columns and channels, and N:M patterns.")
@click.option("--spectrum", is_flag=True, help="Find the largest singular values, stable and effective ranks.")
@threads_option
@click.option("--plot", metavar="FILE", callback=_picture, help="Draw all along depth: a .png, .svg or .pdf file.")
@click.option("--parquet", metavar="FILE", callback=_table, help="Write the lines into a .parquet file.")
@printing_options
@running_options
def command(
    checkpoint: Checkpoint,
    pattern: tuple[str, ...],
    modules: bool,
    total: bool,
    histogram: bool,
    spectrum: bool,
    plot: Path | None,
    parquet: Path | None,
    as_json: bool,
    as_csv: bool,
    **options: Any,
) -> None:
    """Read the tensors of FILE once, and say what their numbers are.

    PATTERN keeps those whose names match: `*` within one part, `**` across parts, `{a,b}` alternatives, `{0-11}`
    ranges. All figures but the counts of NaN and infinities are of the finite numbers; std is that of a population.
    FIGURE is name, numel, min, max, mean, std, l1, l2, linf, zeros, sparsity, nan, posinf, neginf or denormals.
    """
    if modules and total:
        raise click.UsageError("`--modules` and `--total` cannot be had together", click.get_current_context())
    if spectrum and (modules or total):
        said = "`--spectrum` is of each matrix: leave `--modules` and `--total` out"
        raise click.UsageError(said, click.get_current_context())
    _require_libraries(plot, parquet)
    arranging = {name: options.pop(name) for name in ("sort", "reverse", "top")}
    asked = {"counts": histogram, "magnitudes": plot is not None, "spectrum": _SINGULAR_VALUES if spectrum else 0}
    asked["module_quantiles"] = modules or total
    found = _found(checkpoint, pattern, **asked, **options)
    rows = [module_figures(found)] if total else _arranged(figures_of(found, modules=modules), **arranging)
    head = _head(checkpoint, found, histogram=histogram)
    lines = _written(plot, parquet, rows, found, head, histogram=histogram)
    if as_csv:
        output.print_text(comma_separated(rows, histogram=histogram))
    elif as_json and total:
        output.print_text(document(schema=schema("stats"), **head))
    elif as_json:
        fields = (figure_fields(row, histogram=histogram) for row in rows)
        output.print_text(
            "".join(rows_document({"schema": schema("stats"), **head}, "modules" if modules else "tensors", fields))
        )
    elif lines:
        output.print_text("".join(f"{line}\n" for line in lines))
    else:
        width = output.width()
        table = stats_table(rows, width, histogram=histogram, figure=arranging["sort"])
        output.print_lines([*table, [], *summary_lines(found, width)])


def _require_libraries(picture: Path | None, table: Path | None) -> None:
    """Nothing, where what is to be written can be: told before anything is read."""
    if picture is not None:
        require_matplotlib()
    if table is not None:
        require_pyarrow()


def _found(checkpoint: Checkpoint, pattern: tuple[str, ...], **options: Any) -> "Stats":
    from statedict.ops.stats import rehearsed, stats

    if isinstance(options["executor"], Rehearsal) and not (pattern or options["where"]) and checkpoint.columns:
        raise Rehearsed(rehearsed(checkpoint.columns))
    model = checkpoint.model
    with reading_bar("Reading") as progress:
        try:
            return stats(model, *pattern, progress=progress, **options)
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            raise click.UsageError(str(error), click.get_current_context()) from None


def _head(checkpoint: Checkpoint, found: "Stats", *, histogram: bool) -> dict[str, Any]:
    total = figure_fields(module_figures(found), histogram=histogram)
    del total["name"]
    head = {"file": checkpoint.index.source.name, "format": checkpoint.index.format, "total": total}
    return head | ({"skipped": found.skipped} if found.skipped else {})


def _written(
    picture: Path | None,
    table: Path | None,
    rows: Sequence[Figures],
    found: "Stats",
    head: dict[str, Any],
    *,
    histogram: bool,
) -> list[str]:
    """What was written into files, one a line."""
    lines: list[str] = []
    if picture is not None:
        _write(plot(found, Path(head["file"]).name, picture.suffix.lower()), picture)
        lines.append(f"{picture}: {numbers.counted(len(found.tensors), 'tensor')}")
    if table is not None:
        _write(parquet(rows, head, histogram=histogram), table)
        lines.append(f"{table}: {numbers.counted(len(rows), 'row')}")
    return lines


def _write(content: bytes, path: Path) -> None:
    writing.write_file(Plan((content,)), path)


def _arranged(rows: Sequence[Figures], sort: str | None, reverse: bool, top: int | None) -> Sequence[Figures]:
    if sort == "name":
        rows = sorted(rows, key=lambda row: row.name)
    elif sort:
        rows = sorted(rows, key=lambda row: _largest_first(FIGURES[sort](row.summary)))
    return (rows[::-1] if reverse else rows)[:top]


def _largest_first(value: Any) -> tuple[bool, float]:
    """What has no such figure comes last."""
    if value is None or value != value:
        return True, math.inf
    return False, -abs(value) if isinstance(value, complex) else -value
