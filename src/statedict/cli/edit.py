"""`statedict edit`: a checkpoint with other names, types, tensors or metadata."""

from collections.abc import Iterator
from typing import Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint
from statedict.cli.completing import PATH
from statedict.cli.options import of_source
from statedict.cli.running import running_and_json_options
from statedict.cli.targets import format_in_place, overflow_option, require_new, write, writing_options
from statedict.editing import EDITS, Edit, edited, edits_of
from statedict.narrow import is_tuple
from statedict.ops.changes import changes
from statedict.ops.select import named_tensors
from statedict.ops.sizes import sizes
from statedict.views.changes import changes_lines

_ORDER = "statedict.order"


class _Ordered(click.Command):
    """A command that knows in which order its options were given, those of different names too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[_ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


@click.command(cls=_Ordered, short_help="The same with other names, types, tensors or metadata.")
@of_source
@click.argument("dst", required=False, type=PATH)
@click.option("--rename", multiple=True, metavar="PATTERN=NAME", help="Name tensors: 'module.**=**', '**=model.**'.")
@click.option("--drop", multiple=True, metavar="PATTERN", help="Leave these tensors out.")
@click.option("--keep", multiple=True, metavar="PATTERN", help="Leave all but these tensors out.")
@click.option("--cast", multiple=True, metavar="PATTERN=DTYPE", help="Cast these; DTYPE alone casts all floats.")
@click.option("--slice", multiple=True, metavar="PATTERN=[...]", help="Take a slice of these: 'fc.weight=[0:16, :]'.")
@click.option("--add", multiple=True, metavar="FILE[:PATTERN]", help="Take tensors of another checkpoint, too.")
@click.option("--set-metadata", multiple=True, metavar="KEY=VALUE", help="Let the file say this of itself.")
@click.option("--rules", multiple=True, metavar="FILE", help="Do the edits that a TOML file lists.")
@overflow_option
@writing_options
@click.option("--in-place", is_flag=True, help="Write over SRC, which stays whole until the new one is.")
@click.option("--dry-run", is_flag=True, help="Print what would change, and write nothing.")
@running_and_json_options
def command(checkpoint: Checkpoint, dst: str | None, **options: Any) -> None:
    """Write the checkpoint SRC to DST with edits, which are done in the order in which they are given.

    In a PATTERN `*` is one part of a name, `**` any, `{a,b}` alternatives, `{0-11}` a range. In that of --rename `{i}`
    is one part, or a number beside other characters; the new name takes up what `*`, `**` and `{...}` have found:
    --rename 'layers.{i}.attn.*=blocks.{i}.attention.*'. What would give two tensors one name is told before anything
    is written.
    """
    ctx = click.get_current_context()
    if not options["dry_run"] and (dst is None) != options["in_place"]:
        ctx.fail("give either DST or `--in-place`" + ("" if dst else ", or `--dry-run`"))
    if options["in_place"] and ctx.params["key"]:
        ctx.fail("`--key` takes a part, and `--in-place` would lose the rest; give DST")
    edits = list(_edits(ctx, options))
    source, before = checkpoint.index.source, checkpoint.model
    if dst is not None and not options["dry_run"]:
        require_new(dst, source, force=options["force"])
    after = edited(before, edits, options["overflow"])
    if options["dry_run"]:
        old, new = (sizes(named_tensors(model)).nbytes for model in (before, after))
        output.print_lines(changes_lines(changes(before, after), old, new, output.width()))
        return
    to = options["to"] or (None if dst else format_in_place(before, source, checkpoint.index.format))
    target = dst or str(source.path)  # type: ignore[attr-defined]  `format_in_place` says so
    how = {name: options[name] for name in ("shard_size", "verify", "executor")}
    write(after, target, "editing", source=source, format=to, **how)


def _edits(ctx: click.Context, options: dict[str, Any]) -> Iterator[Edit]:
    """The edits in the order of the command line, those of files in their places."""
    values: dict[str, Iterator[str]] = {name: iter(given) for name, given in options.items() if is_tuple(given)}
    for name in ctx.meta[_ORDER]:
        if name == "rules":
            yield from edits_of(next(values[name]))
        elif (edit := name.replace("_", "-")) in EDITS:
            yield edit, next(values[name])
