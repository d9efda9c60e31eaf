"""`statedict shrink`: a whole model with fewer channels, which are really gone."""

from typing import Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint
from statedict.cli.completing import PATH
from statedict.cli.options import of_source
from statedict.cli.progress import progress_bar
from statedict.cli.targets import require_new
from statedict.cli.wording import worded
from statedict.ops.prune.amounts import Amount
from statedict.ops.shrink.choosing import CHOICES, SCOPES
from statedict.ops.shrink.shrinking import Shrunk, shrink
from statedict.saving import save
from statedict.views.documents import document, schema
from statedict.views.saved import saved_lines
from statedict.views.shrinking import shrunk_lines


class _AmountType(click.ParamType[Amount]):
    """A share such as 0.5, or a whole number."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Amount:
        try:
            return int(value) if str(value).isdecimal() else float(value)
        except ValueError:
            self.fail(f"`{value}` is no share such as 0.5, and no whole number", param, ctx)


def _sizes(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """Whole numbers with commas between."""
    try:
        return None if text is None else tuple(int(size) for size in text.split(","))
    except ValueError:
        raise click.BadParameter(f"`{text}` is no size such as `1,3,224,224`, the batch first") from None


@click.command(short_help="Take channels out of a whole model, with all that depends on them.")
@of_source
@click.argument("dst", type=PATH)
@click.option(
    "--amount", "-a", type=_AmountType(), metavar="SHARE", help="How many of a layer's channels go: 0.5, or 12."
)
@click.option("--dead", is_flag=True, help="Take those that change nothing: the same whatever goes in, or not read.")
@click.option(
    "--norm",
    type=click.Choice(CHOICES),
    default="l1",
    show_default=True,
    help="How large a channel is.",
)
@click.option(
    "--scope", type=click.Choice(SCOPES), default="tensor", show_default=True, help="What is ranked together."
)
@click.option("--chain", "chains", multiple=True, metavar="NAME", help="A Sequential that the model calls as a whole.")
@click.option(
    "--input-size",
    callback=_sizes,
    metavar="SIZES",
    help="Run both with zeros of that size, such as 1,3,224,224, and say what work and time it takes. Needs PyTorch.",
)
@click.option("--force", is_flag=True, help="Replace what is at DST.")
@click.option("--verify", is_flag=True, help="Read what was written back, and compare.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    checkpoint: Checkpoint, dst: str, amount: Amount | None, dead: bool, norm: str, scope: str,
    chains: tuple[str, ...], input_size: tuple[int, ...] | None, force: bool, verify: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write the whole model SRC, which `torch.save(model)` made, to DST with fewer channels.

    They are taken out of each Linear and convolution of a row of modules, and so are what norms hold for them and
    the inputs of the next layer. A DST that ends in .pt is a whole model again; other formats hold its tensors. With
    --amount, the model computes what it did with these channels set to zero; with --dead, just what it did.
    """
    if dead == (amount is not None):
        raise click.UsageError("give either `--amount` or `--dead`", click.get_current_context())
    require_new(dst, checkpoint.index.source, force=force)
    how: dict[str, Any] = {"norm": norm, "scope": scope, "dead": dead, "chains": chains or ("",)}
    with worded({"the model is": f"{checkpoint.index.source.name}: is"}):
        made = shrink(checkpoint.model, amount, input_size=input_size, **how)
    whole = dst.lower().endswith((".pt", ".pth"))
    with progress_bar("shrinking") as progress:
        saved = save(made.model, dst, whole=whole, verify=verify, progress=progress)
    if as_json:
        output.print_text(document(schema=schema("shrink"), path=str(saved.path), **_fields(made)))
        return
    output.print_lines([*shrunk_lines(made, output.width()), []])
    output.print_lines(saved_lines(saved, "a whole model" if whole else "its tensors"))


def _fields(made: Shrunk) -> dict[str, Any]:
    """What JSON says: figures before and after, in pairs."""
    said: dict[str, Any] = {
        "layers": [row._asdict() for row in made.layers],
        "parameters": list(made.parameters),
        "nbytes": list(made.nbytes),
    }
    if made.work is not None:
        said |= {"macs": [each.macs for each in made.work], "seconds": [each.seconds for each in made.work]}
    return said | {"left_out": dict(made.left_out)}
