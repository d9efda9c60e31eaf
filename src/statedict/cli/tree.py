"""`statedict tree`: the hierarchy of a checkpoint, and what it comes to."""

import click

from statedict.cli import output
from statedict.cli.checkpoint import checkpoint_options, opened
from statedict.ops.patterns import matching
from statedict.ops.select import named_modules
from statedict.views.documents import module_rows, rows_document
from statedict.views.outline import Outline
from statedict.views.totals import totals
from statedict.views.tree import tree


@click.command(short_help="The hierarchy: modules, shapes, parameters, bytes; repeated blocks folded.")
@checkpoint_options
@click.argument("pattern", nargs=-1)
@click.option("--depth", type=click.IntRange(min=0), metavar="N", help="Show N levels.")
@click.option("--unfold", is_flag=True, help="Show each of repeated blocks, and every value.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: a row a module, unfolded.")
def command(
    file: str,
    pattern: tuple[str, ...],
    key: str | None,
    strip: bool,
    config_kinds: bool,
    format: str | None,
    depth: int | None,
    unfold: bool,
    as_json: bool,
) -> None:
    """Show the hierarchy of FILE: modules, shapes, parameters and bytes.

    PATTERN keeps the modules and tensors whose names match (and the way to them): `*` within one part of a name, `**`
    across parts, `{a,b}` alternatives, `{0-11}` ranges. Blocks that look the same are folded: `layers.0-31 (32x)`.
    """
    checkpoint = opened(file, key, format, strip, config_kinds)
    only = None
    if pattern:
        names = [name for name, *_ in named_modules(checkpoint.model)]
        only = matching([*names, *(entry.name for entry in checkpoint.entries)], pattern)
    outline = Outline(checkpoint.model, unfold=unfold or as_json, only=only)
    if as_json:
        total = outline.root.sizes()
        head = {"file": checkpoint.index.source.name, "format": checkpoint.index.format, "size": checkpoint.size}
        head |= {"parameters": total.parameters, "nbytes": total.nbytes}
        output.print_text("".join(rows_document(head, "modules", module_rows(outline.root, depth))))
        return
    width = output.width()
    title = checkpoint.name if key is None else f"{checkpoint.name}: {key}"
    optimized = checkpoint.optimized(outline.root.entries)
    lines = tree(outline, title, depth=depth, width=width, unfold=unfold, optimized=optimized)
    summary = totals(
        outline.root.sizes(),
        outline.modules,
        file=checkpoint.name,
        format=checkpoint.index.format,
        file_size=checkpoint.size,
        width=width,
    )
    output.print_lines([*lines, [], *summary])
