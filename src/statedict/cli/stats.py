"""`statedict stats`: what the numbers of a checkpoint are, tensor by tensor or module by module."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint, checkpoint_options, opened
from statedict.cli.progress import progress_bar
from statedict.views.documents import rows_document
from statedict.views.stats import (
    FIGURES,
    Figures,
    comma_separated,
    figure_fields,
    figures_of,
    stats_table,
    summary_lines,
)

if TYPE_CHECKING:
    from statedict.ops.stats import Stats


def _shares(_context: click.Context, _parameter: click.Parameter, given: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(share) for share in given.split(",")) if given else ()
    except ValueError:
        raise click.BadParameter(f"`{given}` is no list of numbers from 0 to 1, such as `0.01,0.5,0.99`") from None


@click.command(short_help="Min, max, mean, norms, zeros, NaN of tensors and modules.")
@checkpoint_options
@click.argument("pattern", nargs=-1)
@click.option("--where", metavar="CONDITION", help="Keep those it holds for: 'ndim == 4 and numel > 1e6'.")
@click.option("--modules", is_flag=True, help="A line for each module and all in it, of its floating-point tensors.")
@click.option("--sort", type=click.Choice(["name", *FIGURES]), metavar="FIGURE", help="Sort, the largest first.")
@click.option("-r", "--reverse", is_flag=True, help="Turn the order round.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Keep the first N lines.")
@click.option("--histogram", is_flag=True, help="Draw how the numbers are spread from min to max.")
@click.option("--quantiles", metavar="LIST", callback=_shares, help="Such as 0.01,0.5,0.99; exact.")
@click.option("--if-cast", metavar="DTYPE", help="Count what would overflow or vanish in that type: f16.")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="As many as there are processors, unless given."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
def command(
    file: str,
    pattern: tuple[str, ...],
    key: str | None,
    strip: bool,
    config_kinds: bool,
    format: str | None,
    as_json: bool,
    as_csv: bool,
    **options: Any,
) -> None:
    """Read the tensors of FILE once, and say what their numbers are.

    PATTERN keeps those whose names match: `*` within one part, `**` across parts, `{a,b}` alternatives, `{0-11}`
    ranges. All figures but the counts of NaN and infinities are of the finite numbers; std is that of a population.
    FIGURE is name, numel, min, max, mean, std, l1, l2, linf, zeros, sparsity, nan, posinf, neginf or denormals.
    """
    if as_json and as_csv:
        raise click.UsageError("`--json` and `--csv` cannot be had together", click.get_current_context())
    checkpoint = opened(file, key, format, strip, config_kinds)
    arranging = {name: options.pop(name) for name in ("sort", "reverse", "top")}
    modules, histogram = bool(options.pop("modules")), bool(options.pop("histogram"))
    found = _found(checkpoint, pattern, counts=histogram, **options)
    rows = _arranged(figures_of(found, modules=modules), **arranging)
    if as_csv:
        output.print_text(comma_separated(rows))
    elif as_json:
        fields = (figure_fields(row, histogram=histogram) for row in rows)
        output.print_text("".join(rows_document(_head(checkpoint, found), "modules" if modules else "tensors", fields)))
    else:
        width = output.width()
        output.print_lines([*stats_table(rows, width, histogram=histogram), [], *summary_lines(found, width)])


def _found(checkpoint: Checkpoint, pattern: tuple[str, ...], **options: Any) -> "Stats":
    from statedict.ops.stats import stats

    model = checkpoint.model
    with progress_bar("Reading") as bar:
        told = 0

        def tell(done: int, total: int) -> None:
            nonlocal told
            if bar is not None:
                bar.total = total
                bar.advance(done - told)
                told = done % total

        try:
            return stats(model, *pattern, progress=tell, **options)
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            raise click.UsageError(str(error), click.get_current_context()) from None


def _head(checkpoint: Checkpoint, found: "Stats") -> dict[str, Any]:
    total = figure_fields(Figures("", found.total))
    del total["name"]
    head = {"file": checkpoint.index.source.name, "format": checkpoint.index.format, "total": total}
    return head | ({"skipped": found.skipped} if found.skipped else {})


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
