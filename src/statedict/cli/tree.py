"""`statedict tree`: the hierarchy of a checkpoint, and what it comes to."""

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint
from statedict.cli.completing import all_names
from statedict.cli.options import of_checkpoint
from statedict.ops.memory import OPTIMIZERS, PRECISIONS, Memory, Optimizer, Precision
from statedict.ops.memory import memory as memory_of
from statedict.ops.patterns import matching
from statedict.ops.select import named_modules
from statedict.views.documents import document, module_rows, rows_document, schema
from statedict.views.entries import is_listed
from statedict.views.memory import memory_fields, memory_table, memory_totals
from statedict.views.outline import Outline
from statedict.views.totals import totals
from statedict.views.tree import tree


@click.command(short_help="The hierarchy: modules, shapes, parameters, bytes; repeated blocks folded.")
@of_checkpoint
@click.argument("pattern", nargs=-1, shell_complete=all_names)
@click.option("--depth", type=click.IntRange(min=0), metavar="N", help="Show N levels.")
@click.option("--unfold", is_flag=True, help="Show each of repeated blocks, and every value.")
@click.option("--memory", is_flag=True, help="Show what it takes: weights by element type, and the KV cache.")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="What training takes, too; implies --memory.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="With all floats in this type; implies --memory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: a row a module, unfolded.")
def command(
    checkpoint: Checkpoint,
    pattern: tuple[str, ...],
    depth: int | None,
    unfold: bool,
    memory: bool,
    optimizer: Optimizer | None,
    precision: Precision | None,
    as_json: bool,
) -> None:
    """Show the hierarchy of FILE: modules, shapes, parameters and bytes.

    PATTERN keeps the modules and tensors whose names match (and the way to them): `*` within one part of a name, `**`
    across parts, `{a,b}` alternatives, `{0-11}` ranges. Blocks that look the same are folded: `layers.0-31 (32x)`.
    """
    only = None
    if pattern:
        names = [name for name, *_ in named_modules(checkpoint.model)]
        only = matching([*names, *(entry.name for entry in checkpoint.entries)], pattern)
    outline = Outline(checkpoint.model, unfold=unfold or as_json, only=only)
    if memory or optimizer or precision:
        if pattern:
            raise click.UsageError("`--memory` is of the whole; take a part by `--key`", click.get_current_context())
        found = memory_of(checkpoint.model, optimizer=optimizer, precision=precision)
        _show_memory(checkpoint, outline, found, depth, as_json)
        return
    if as_json:
        total = outline.root.sizes()
        head = {"schema": schema("tree"), "file": checkpoint.index.source.name, "format": checkpoint.index.format}
        head |= {"size": checkpoint.size}
        head |= {"parameters": total.parameters, "nbytes": total.nbytes}
        output.print_text("".join(rows_document(head, "modules", module_rows(outline.root, depth))))
        return
    width = output.width()
    title = checkpoint.name if checkpoint.key is None else f"{checkpoint.name}: {checkpoint.key}"
    entries = outline.root.entries
    optimized = checkpoint.optimized(entries) if is_listed(entries) else {}  # what is not built is no optimizer's
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


def _show_memory(checkpoint: Checkpoint, outline: Outline, found: Memory, depth: int | None, as_json: bool) -> None:
    if as_json:
        output.print_text(document(schema=schema("memory"), file=checkpoint.index.source.name, **memory_fields(found)))
        return
    width = output.width()
    lines = memory_table(outline, found, checkpoint.name, depth=depth, width=width)
    output.print_lines([*lines, [], *memory_totals(found, width)])
