"""`statedict match`: why a checkpoint does not load into a model, and what renames would make it."""

from typing import TYPE_CHECKING, Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import opened
from statedict.cli.completing import PATH
from statedict.cli.progress import reading_bar
from statedict.cli.targets import require_new
from statedict.views.documents import rows_document, schema

if TYPE_CHECKING:
    from statedict.ops.match.matching import Match


@click.command(short_help="Why a checkpoint does not load into a model, and what would make it.")
@click.argument("src", type=PATH)
@click.argument("target", type=PATH)
@click.option("-o", "--output", "written", metavar="FILE", help="Write the rules, for `statedict edit --rules`.")
@click.option("--names-only", is_flag=True, help="Go by names, shapes and places; read no weights.")
@click.option("--key", metavar="NAME", help="Take only this part of SRC: a module, by its name.")
@click.option("--target-key", metavar="NAME", help="Take only this part of TARGET.")
@click.option("--strip", is_flag=True, help="Take wrappers' prefixes out of SRC: `module.`, `_orig_mod.`, ...")
@click.option("--force", is_flag=True, help="Let `-o` replace a file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(src: str, target: str, written: str | None, as_json: bool, **options: Any) -> int:
    """Say which tensors of SRC are which of TARGET's, by which few rules, and what is missing.

    TARGET is another checkpoint, or a `config.json` of Hugging Face, or the folder of one: then the model that it
    describes. Prefixes, renames, shifted numbers, fused or split layers, transposes, reshapes and stacked experts are
    found. Where both have the same values these prove it; otherwise names, shapes and places tell, and what they do
    not tell is left open.

    Exit code 0: all of TARGET is in SRC. 1: something is missing, of another shape or open. 2: trouble.
    """
    checkpoint = opened(src, options["key"], None, options["strip"])
    if written is not None:
        require_new(written, checkpoint.index.source, force=options["force"])
    found = _found(checkpoint.model, target, options)
    if written is not None:
        from statedict.matching import write_rules

        write_rules(found, written)
    if as_json:
        from statedict.views.match import line_fields, match_fields

        head = {"schema": schema("match"), "source": src, "target": target, **match_fields(found)}
        output.print_text("".join(rows_document(head, "lines", line_fields(found.lines))))
    else:
        from statedict.views.match import match_lines

        output.print_lines(match_lines(found, src, target, written, output.width()))
    return 0 if found.complete else 1


def _found(source: Any, target: str, options: dict[str, Any]) -> "Match":
    from statedict.matching import match, target_model

    key = options["target_key"]
    wanted = target_model(target) if key is None else opened(target, key, None).model
    with reading_bar("Comparing") as bar:
        return match(source, wanted, values=not options["names_only"], progress=bar)
