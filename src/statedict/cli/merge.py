"""`statedict merge`: several checkpoints made one, or an adapter folded into its base."""

import re
from typing import Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import opened
from statedict.cli.completing import PATH
from statedict.cli.progress import progress_bar
from statedict.cli.running import running_and_json_options
from statedict.cli.targets import require_new
from statedict.ops.lora.folding import fold_lora
from statedict.ops.merge.merging import merge
from statedict.ops.merge.settings import METHODS, Setting
from statedict.saving import save
from statedict.tree.module import Module
from statedict.views.numbers import counted
from statedict.views.saved import saved_lines

_LORA = "lora"
_BETWEEN_PATTERNS = re.compile(r",(?![^{}]*\})")


def _number(text: str) -> Setting:
    """A number, or `PATTERN=NUMBER` for some names, several with commas between."""
    try:
        if "=" not in text:
            return float(text)
        pairs = [pair.rpartition("=") for pair in _BETWEEN_PATTERNS.split(text)]
        return {pattern.strip(): float(number) for pattern, _, number in pairs}
    except ValueError:
        raise click.BadParameter(f"`{text}` is neither a number nor `PATTERN=NUMBER,...`") from None


@click.command(short_help="Make one of several checkpoints, or fold an adapter in.")
@click.argument("files", nargs=-1, required=True, metavar="FILE... DST", type=PATH)
@click.option("--method", "-m", metavar="NAME", help=f"How: {', '.join(METHODS)}. Linear unless given.")
@click.option("--base", metavar="FILE", help="What the others were trained from, for all but linear and slerp.")
@click.option(
    "--weight",
    "-w",
    "weights",
    type=_number,
    metavar="NUMBER",
    multiple=True,
    help="One for each FILE; 1 unless given.",
)
@click.option(
    "--density", type=_number, metavar="NUMBER", multiple=True, help="The share of a task vector that is merged."
)
@click.option(
    "--gamma",
    type=_number,
    metavar="NUMBER",
    multiple=True,
    help="Of breadcrumbs: the share of the largest that is left out.",
)
@click.option("--t", type=_number, metavar="NUMBER", help="Of slerp: how far from the first (0) to the second (1).")
@click.option("--scale", type=_number, metavar="NUMBER", help="What the sum of the task vectors is multiplied by.")
@click.option("--normalize/--no-normalize", default=None, help="Divide by the sum of the weights.")
@click.option("--rescale", type=click.Choice(["density", "l1", "none"]), help="How dare makes up for what it drops.")
@click.option("--seed", type=int, help="Of dare's random numbers; 0 unless given.")
@click.option("--dtype", metavar="NAME", help="The element type of the result: bf16, f32, ...")
@click.option("--key", metavar="NAME", help="Take only this part of each FILE: a module, by its name.")
@click.option("--shard-size", metavar="SIZE", help="Write a folder of files of at most so many bytes: 5GB.")
@click.option("--force", is_flag=True, help="Replace what is at DST.")
@click.option("--verify", is_flag=True, help="Read what was written back, and compare.")
@click.pass_context
@running_and_json_options
def command(ctx: click.Context, files: tuple[str, ...], **options: Any) -> None:
    """Merge the FILEs, which need the same names and shapes, and write the result to DST.

    `statedict merge lora BASE ADAPTER DST` folds a LoRA adapter, a folder as PEFT saves it, into its base model. (A
    checkpoint that is called lora is ./lora here.)

    Numbers may be PATTERN=NUMBER, several with commas between, of which the first that fits a tensor's name counts:
    --weight 'layers.{0-11}.**=0.3,**=0.5'. --density and --gamma are given once, or once for each FILE.
    """
    writing = {name: options.pop(name) for name in ("shard_size", "verify", "executor")}
    key, force = options.pop("key"), options.pop("force")
    if files[0] == _LORA:
        model, target, doing = _folded(ctx, files[1:], options, key)
    else:
        model, target, doing = _merged(ctx, files, options, key)
    require_new(target, None, force=force)
    with progress_bar("merging") as progress:
        how: dict[str, Any] = {"verify": writing["verify"], "executor": writing["executor"], "progress": progress}
        saved = save(model, target, max_shard_size=writing["shard_size"], **how)
    output.print_lines(saved_lines(saved, doing))


def _merged(
    ctx: click.Context, files: tuple[str, ...], options: dict[str, Any], key: str | None
) -> tuple[Module, str, str]:
    """What to write, where to, and what it is called."""
    if len(files) < 2:
        ctx.fail("give the checkpoints to merge, and then where to write")
    *sources, target = files
    models = [opened(file, key, None).model for file in sources]
    base = None if options["base"] is None else opened(options["base"], key, None).model
    method = options["method"] or "linear"
    merged = merge(models, method, options["weights"] or None, base, **_settings(options))
    return merged, target, f"{counted(len(models), 'model')} merged by {method}"


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """The options as `merge` takes them."""
    settings = {name: options[name] for name in ("t", "scale", "normalize", "seed", "dtype")}
    for name in ("density", "gamma"):
        given = options[name]
        settings[name] = None if not given else given[0] if len(given) == 1 else given
    settings["rescale"] = {None: None, "density": True, "none": False, "l1": "l1"}[options["rescale"]]
    return settings


def _folded(
    ctx: click.Context, files: tuple[str, ...], options: dict[str, Any], key: str | None
) -> tuple[Module, str, str]:
    if len(files) != 3:
        ctx.fail("`merge lora` takes three: the base, the adapter's folder, and where to write")
    if given := [name for name, value in options.items() if value not in (None, ())]:
        ctx.fail(f"`merge lora` takes no `--{given[0].removesuffix('s')}`")
    base, adapter, target = files
    return fold_lora(opened(base, key, None).model, opened(adapter, None, None).model), target, "adapter folded in"
