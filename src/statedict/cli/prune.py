"""`statedict prune`: a checkpoint with exactly so many weights zero."""

import re
from collections.abc import Mapping
from typing import Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint, opened
from statedict.cli.completing import PATH, tensor_names
from statedict.cli.options import of_source
from statedict.cli.progress import progress_bar, reading_bar
from statedict.cli.running import running_and_json_options
from statedict.cli.targets import require_new, write, writing_options
from statedict.cli.wording import worded
from statedict.errors import StatedictError
from statedict.executors import Rehearsed
from statedict.ops.prune.amounts import Amount
from statedict.ops.prune.choosing import PROTECTED
from statedict.ops.prune.masking import masks
from statedict.ops.prune.methods import METHODS
from statedict.ops.prune.pruning import Pruning, pruning
from statedict.ops.prune.ways import NORMS
from statedict.saving import save
from statedict.views.numbers import counted
from statedict.views.pruning import left_out_lines, pruned_line
from statedict.views.saved import saved_lines

Amounts = Mapping[str, Amount | dict[str, Amount] | None]
"""Each amount by how it was written; an empty text where none is given."""

_OPTIONS = {"`amount`": "`--amount`", "`masks`": "`--mask`", "`norm`": "`--norm`", "`protect=()`": "`--protect none`"}
_PLACE = "{amount}"
_BETWEEN = re.compile(r",(?![^{}]*\})")


def _amounts(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> Amounts:
    """Amounts with commas between, or one of `PATTERN=AMOUNT` pairs."""
    if text is None:
        return {"": None}
    pieces = [piece.strip() for piece in _BETWEEN.split(text)]
    if "=" not in text:
        return {piece: _amount(piece) for piece in pieces}
    pairs = [piece.rpartition("=") for piece in pieces]
    return {text: {pattern.strip(): _amount(number) for pattern, _, number in pairs}}


def _amount(text: str) -> Amount:
    try:
        return int(text) if text.strip().isdecimal() else float(text)
    except ValueError:
        raise click.BadParameter(f"`{text}` is neither a share such as 0.5 nor a whole number") from None


@click.command(short_help="The same with exactly so many weights zero, by magnitude, N:M, slices, ...")
@of_source
@click.argument("dst", type=PATH)
@click.argument("pattern", nargs=-1, shell_complete=tensor_names)
@click.option(
    "--amount",
    "-a",
    "amounts",
    callback=_amounts,
    metavar="AMOUNT",
    help="A share such as 0.5, a whole number, or PATTERN=AMOUNT,...; several make a file each.",
)
@click.option(
    "--method",
    "-m",
    default="magnitude",
    show_default=True,
    metavar="NAME",
    help=f"{', '.join(METHODS)}, N:M such as 2:4, blocks such as 4x4, or mask.",
)
@click.option(
    "--scope",
    type=click.Choice(["global", "tensor"]),
    default="global",
    show_default=True,
    help="What is ranked together.",
)
@click.option(
    "--norm", type=click.Choice(NORMS), default="l2", show_default=True, help="How large a slice or block is."
)
@click.option(
    "--protect",
    type=click.Choice([*PROTECTED, "none"]),
    multiple=True,
    help="Leave these alone, and no others; all of them unless given.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random numbers.")
@click.option("--mask", metavar="FILE", help="Of the method mask: a checkpoint, zero where weights are to be.")
@click.option("--save-masks", metavar="FILE", help="Write what stays to this file, too, as truth values.")
@click.option("--dry-run", is_flag=True, help="Print what would be pruned, and write nothing.")
@writing_options
@running_and_json_options
def command(
    checkpoint: Checkpoint, dst: str, pattern: tuple[str, ...], amounts: Amounts, dry_run: bool, **options: Any
) -> None:
    """Write the checkpoint SRC to DST with weights set to zero: those that PATTERN fits, or all.

    By default half of the weights means exactly half, the smallest in all of the model, of equal ones the last; norms,
    biases, embeddings and the first and the last weight are left alone. What was done is kept in the metadata of DST.

    Several amounts, 0.5,0.7,0.9, write a file each: DST has {amount} in its name then.
    """
    mask, save_masks = options.pop("mask"), options["save_masks"]
    targets = [name for name in (dst, save_masks) if name is not None]
    if len(amounts) > 1 and (missing := next((name for name in targets if _PLACE not in name), None)):
        raise StatedictError(f"{missing}: is one name for {len(amounts)} amounts; put {_PLACE} into it")
    masked = None if mask is None else opened(mask, None, None).model
    protect = [word for word in options["protect"] if word != "none"] if options["protect"] else PROTECTED
    settings = {name: options[name] for name in ("scope", "norm", "seed")}
    made = {
        text: _pruning(checkpoint, pattern, amount, options["method"], protect=protect, masks=masked, **settings)
        for text, amount in amounts.items()
    }
    if not dry_run:
        for name in (name.replace(_PLACE, text) for text in made for name in targets):
            require_new(name, checkpoint.index.source, force=options["force"])
    for text, each in made.items():
        if not dry_run:
            _write(checkpoint, each, dst.replace(_PLACE, text), options)
        output.print_lines([pruned_line(each.said), *left_out_lines(each.left_out)])
        if not dry_run and save_masks is not None:
            _write_masks(each, save_masks.replace(_PLACE, text))


def _pruning(checkpoint: Checkpoint, *arguments: Any, **settings: Any) -> Pruning:
    """The same with errors that speak of options."""
    with worded(_OPTIONS):
        return pruning(checkpoint.model, *arguments, **settings)


def _write(checkpoint: Checkpoint, made: Pruning, target: str, options: Mapping[str, Any]) -> None:
    """Find what stays, write it, and say so."""
    ranked: list[Any] = []
    try:
        with reading_bar("counting") as progress:
            made.find(progress, options["executor"])
    except Rehearsed as rehearsed:
        ranked = list(rehearsed.units)
    writing = {name: options[name] for name in ("shard_size", "verify", "executor")}
    try:
        write(made.model, target, "pruning", source=checkpoint.index.source, format=options["to"], **writing)
    except Rehearsed as rehearsed:
        raise Rehearsed(ranked, rehearsed.plans, rehearsed.target) from None


def _write_masks(made: Pruning, target: str) -> None:
    with progress_bar("writing masks") as progress:
        saved = save(masks(made.model), target, progress=progress)
    output.print_lines(saved_lines(saved, counted(len(made.tensors), "mask")))
