"""`statedict check`: what may be wrong with a checkpoint."""

from typing import TYPE_CHECKING, Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint, checkpoint_options, opened
from statedict.cli.progress import reading_bar
from statedict.cli.running import running_options
from statedict.views.check import finding_fields, report_lines
from statedict.views.documents import rows_document

if TYPE_CHECKING:
    from statedict.ops.check.finding import Report

_LEVELS = ("note", "warning", "error")


@click.command(short_help="What may be wrong: NaN, dead channels, exploded weights, ...")
@checkpoint_options
@click.argument("pattern", nargs=-1)
@click.option("--only", metavar="CHECK", multiple=True, help="Look for this alone; may be given several times.")
@click.option("--skip", metavar="CHECK", multiple=True, help="Do not look for this; may be given several times.")
@click.option("--level", type=click.Choice(_LEVELS), default="warning", help="How bad; warning, unless given.")
@click.option("--if-cast", metavar="DTYPE", help="Look for what would overflow or vanish in that type, too: f16.")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="As many as there are processors, unless given."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, of all findings.")
@running_options
def command(
    file: str,
    pattern: tuple[str, ...],
    key: str | None,
    strip: bool,
    config_kinds: bool,
    format: str | None,
    level: Any,
    as_json: bool,
    **options: Any,
) -> int:
    """Read the tensors of FILE once, and say what may be wrong with their numbers, and what to do.

    CHECK is nan, infinite, zeros, constant, denormals, dead, equal-rows, impossible, untrained, outlier, ties or
    overflow. PATTERN keeps the tensors whose names match. Exit code 1 where anything is as bad as LEVEL.
    """
    checkpoint = opened(file, key, format, strip, config_kinds)
    found = _found(checkpoint, pattern, **options)
    if as_json:
        head = {"file": checkpoint.index.source.name, "format": checkpoint.index.format, "tensors": found.tensors}
        head |= {"checks": found.checks, **found.counts} | ({"skipped": found.skipped} if found.skipped else {})
        output.print_text("".join(rows_document(head, "findings", finding_fields(found.findings))))
    else:
        output.print_lines(report_lines(checkpoint.index.source.name, found, level, output.width()))
    return 1 if found.at_least(level) else 0


def _found(checkpoint: Checkpoint, pattern: tuple[str, ...], **options: Any) -> "Report":
    from statedict.checking import check

    model = checkpoint.model
    with reading_bar("Checking") as progress:
        try:
            return check(model, *pattern, progress=progress, **options)
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            raise click.UsageError(str(error), click.get_current_context()) from None
