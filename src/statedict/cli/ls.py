"""`statedict ls`: the tensors of a checkpoint, one a line."""

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint
from statedict.cli.options import choosing_options, of_checkpoint, printing_options
from statedict.tree.rows import Listed
from statedict.views.listing import comma_separated, listing, plain_listing

if TYPE_CHECKING:
    from statedict.ops.select import NamedTensor

L = TypeVar("L", bound=Listed)
_PRINTED = 1000
"""Lines that are printed at a time."""
_DIGITS = re.compile(r"(\d+)", re.ASCII)


def _by_name(entry: Listed) -> list[tuple[int, int, str]]:
    """Numbers within names by what they count: `layers.2` before `layers.10`."""
    pieces = _DIGITS.split(entry.name)
    return [(0, int(piece), "") if at % 2 and len(piece) < 20 else (1, 0, piece) for at, piece in enumerate(pieces)]


_ORDERS: dict[str, Callable[[Listed], Any]] = {
    "name": _by_name,
    "size": lambda entry: -entry.info.nbytes,
    "numel": lambda entry: -entry.info.numel,
    "ndim": lambda entry: -len(entry.info.shape or ()),
    "dtype": lambda entry: entry.info.dtype.name,
    "role": lambda entry: entry.role,
}


@click.command(short_help="The tensors as a flat table, as JSON or as CSV.")
@of_checkpoint
@choosing_options
@click.option("--sort", type=click.Choice(list(_ORDERS)), help="Sort; size, numel and ndim begin with the largest.")
@click.option("-r", "--reverse", is_flag=True, help="Turn the order round.")
@printing_options
def command(
    checkpoint: Checkpoint,
    pattern: tuple[str, ...],
    where: str | None,
    sort: str | None,
    reverse: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List the tensors of FILE, every name of those that have several.

    PATTERN keeps those whose names match: `*` within one part, `**` across parts, `{a,b}` alternatives, `{0-11}`
    ranges. CONDITION may use name, dtype, shape, ndim, numel, nbytes, kind, role, requires_grad and device.
    """
    if as_json and not (pattern or where or sort or reverse) and checkpoint.columns:
        _print_shown(checkpoint)
    elif as_json or as_csv:
        _print_records(checkpoint, _arranged(_chosen(checkpoint, pattern, where), sort, reverse=reverse), as_csv=as_csv)
    elif pattern or where:
        _print_table(checkpoint, _arranged(_chosen(checkpoint, pattern, where), sort, reverse=reverse))
    else:
        _print_table(checkpoint, _arranged(checkpoint.rows, sort, reverse=reverse))


def _chosen(checkpoint: Checkpoint, pattern: tuple[str, ...], where: str | None) -> "list[NamedTensor]":
    from statedict.ops.select import chosen

    return chosen(checkpoint.model, checkpoint.entries, pattern, where)


def _arranged(entries: Sequence[L], sort: str | None, *, reverse: bool) -> Sequence[L]:
    arranged = sorted(entries, key=_ORDERS[sort]) if sort else entries
    return arranged[::-1] if reverse else arranged


def _print_table(checkpoint: Checkpoint, entries: Sequence[Listed]) -> None:
    optimized = checkpoint.optimized(entries)
    if output.is_plain():
        output.print_text(plain_listing(entries, checkpoint.ties, optimized))
    else:
        output.print_lines(listing(entries, checkpoint.ties, output.width(), optimized))


def _print_records(checkpoint: Checkpoint, entries: "Sequence[NamedTensor]", *, as_csv: bool) -> None:
    if as_csv:
        output.print_text(comma_separated(entries, checkpoint.first_names))
    else:
        output.print_text("".join(_documents(checkpoint, entries)))


def _print_shown(checkpoint: Checkpoint) -> None:
    """The same document as it comes, tensor by tensor: of plain ones, none of which has a second name."""
    from statedict.ops.select import shown_tensors
    from statedict.views.documents import rows_document, tensor_fields

    source = checkpoint.index.source
    entries = shown_tensors(checkpoint.model)
    fields = (tensor_fields(entry, {id(entry.tensor): entry.name}, source) for entry in entries)
    document = rows_document(_head(checkpoint), "tensors", fields)
    while some := list(islice(document, _PRINTED)):
        output.print_text("".join(some))


def _head(checkpoint: Checkpoint) -> dict[str, Any]:
    from statedict.views.documents import schema

    source = checkpoint.index.source
    return {"schema": schema("ls"), "file": source.name, "format": checkpoint.index.format, "size": checkpoint.size}


def _documents(checkpoint: Checkpoint, entries: "Sequence[NamedTensor]") -> Any:
    from statedict.views.documents import rows_document, tensor_fields

    source = checkpoint.index.source
    optimized = checkpoint.optimized(entries)
    fields = (tensor_fields(entry, checkpoint.first_names, source, optimized) for entry in entries)
    return rows_document(_head(checkpoint), "tensors", fields)
