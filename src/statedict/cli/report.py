"""`statedict report`: one checkpoint, or two beside each other, as one HTML file."""

from pathlib import Path

import click

from statedict import writing
from statedict.cli import output
from statedict.cli.explore import side, two_sides
from statedict.cli.progress import reading_bar
from statedict.errors import StatedictError
from statedict.plan import Plan
from statedict.views.lines import one_line
from statedict.views.numbers import size


@click.command(short_help="The same as one file to send: tree, map and statistics.")
@click.option("-o", "--output", "written", metavar="FILE", required=True, help="The .html file to write.")
@two_sides
@click.option("--force", is_flag=True, help="Replace what is at FILE.")
def command(
    a: str,
    b: str | None,
    written: str,
    key: str | None,
    key_b: str | None,
    strip: bool,
    format: str | None,
    force: bool,
) -> int:
    """Write a page that shows A, or A beside B, into one file: it needs no server, no network and no statedict.

    It has the tree, the map and the statistics of every tensor, which are all read for it; with B, what changed.
    """
    from statedict.web.report import report

    path = Path(written)
    if path.suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter(f"`{written}` does not end in .html", param_hint="`-o`")
    if path.exists() and not force:
        raise StatedictError(f"{written}: is there already; choose another name, or replace it with `--force`")
    sides = [side(a, key, format, strip=strip)]
    if b is not None:
        sides.append(side(b, key_b or key, None, strip=strip))
    with reading_bar("Reading") as progress:
        page = report(sides, progress)
    writing.write_file(Plan((page,)), path)
    output.print_text(f"{one_line(written)}: {size(len(page))}\n")
    return 0
