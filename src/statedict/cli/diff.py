"""`statedict diff`: what changed between two checkpoints, from the names down to the last bit."""

import os
from typing import TYPE_CHECKING, Any

import click

from statedict.cli import output
from statedict.cli.checkpoint import opened
from statedict.cli.completing import PATH, tensor_names
from statedict.cli.progress import reading_bar
from statedict.cli.running import running_options
from statedict.views.diff import diff_lines, title
from statedict.views.documents import plain, rows_document, schema

if TYPE_CHECKING:
    from statedict.ops.diff.result import Diff
    from statedict.tree.module import Module

_OF_GIT = (7, 9)
"""How many arguments git gives an external diff driver: two more of a renamed file."""


@click.command(short_help="What changed between two checkpoints, down to the last bit.")
@click.argument("a", type=PATH)
@click.argument("b", required=False, type=PATH)
@click.argument("pattern", nargs=-1, shell_complete=tensor_names)
@click.option("--names-only", is_flag=True, help="Compare names, shapes and types; read no weights.")
@click.option("--tensors-only", is_flag=True, help="Leave out metadata, kinds and attributes of modules.")
@click.option("--exact", is_flag=True, help="The same bits, or different: -0 is not 0, nor one NaN another.")
@click.option("--atol", type=click.FloatRange(min=0), default=0.0, metavar="X", help="How far apart is close.")
@click.option(
    "--rtol", type=click.FloatRange(min=0), default=0.0, metavar="X", help="The same, as a part of B's value."
)
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="A line for each of the N that changed most.")
@click.option("--kinds/--no-kinds", default=True, help="Say what kind of change it is, where that is proved.")
@click.option("--key", metavar="NAME", help="Take only this part of both: a module, by its name.")
@click.option("--key-b", metavar="NAME", help="Take only this part of B.")
@click.option("--strip", is_flag=True, help="Take wrappers' prefixes out of both: `module.`, `_orig_mod.`, ...")
@click.option("--git", "by_git", is_flag=True, help="Take the arguments that git gives a diff driver; exit 0.")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="As many as there are processors, unless given."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@running_options
def command(a: str, b: str | None, pattern: tuple[str, ...], by_git: bool, as_json: bool, **options: Any) -> int:
    """Compare A with B, which may be of any two formats, and say what B has otherwise.

    Names first: what was added, removed, renamed, reshaped, recast, tied anew. Then every value, each byte read once:
    equal bits, or how far apart; and what kind of change it is, where the numbers prove it. What did not change is
    folded. PATTERN keeps the tensors whose names match.

    Exit code 0: the same. 1: different. 2: trouble.
    """
    shown = [a, b or ""]
    if by_git:
        a, b, pattern, shown = _given_by_git(a, b, pattern)
    if b is None:
        raise click.UsageError("give two checkpoints to compare", click.get_current_context())
    found = _found(a, b, pattern, options)
    if as_json:
        described = [{"name": name, "before": plain(old), "after": plain(new)} for name, old, new in found.described]
        head = {"schema": schema("diff"), "a": shown[0], "b": shown[1], **found.head(), "described": described}
        output.print_text("".join(rows_document(head, "tensors", (row.fields() for row in found.changes))))
    else:
        lines = diff_lines(found, output.width(), top=options["top"])
        output.print_lines([title(*shown), *lines] if by_git else lines)
    return int(bool(found) and not by_git)


def _found(a: str, b: str, patterns: tuple[str, ...], options: dict[str, Any]) -> "Diff":
    from statedict.diffing import diff

    names = ("names_only", "tensors_only", "exact", "atol", "rtol", "kinds", "threads", "executor")
    asked = {name: options[name] for name in names}
    first = _model(a, options["key"], strip=options["strip"])
    second = _model(b, options["key_b"] or options["key"], strip=options["strip"])
    with reading_bar("Comparing") as progress:
        try:
            return diff(first, second, *patterns, progress=progress, **asked)
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            raise click.UsageError(str(error), click.get_current_context()) from None


def _model(file: str, key: str | None, *, strip: bool) -> "Module":
    """The tree of a file; of git's /dev/null, an empty one."""
    if file == os.devnull:
        from statedict.tree.module import Module

        return Module()
    return opened(file, key, None, strip).model


def _given_by_git(path: str, old: str | None, more: tuple[str, ...]) -> tuple[str, str, tuple[str, ...], list[str]]:
    """The two files to compare and what to call them, of `path old hash mode new hash mode`, and a new path, maybe."""
    given = [path, old or "", *more]
    if len(given) not in _OF_GIT:
        said = "`--git` takes what git gives a diff driver: `git config diff.statedict.command 'statedict diff --git'`"
        raise click.UsageError(said, click.get_current_context())
    return given[1], given[4], (), [f"a/{path}", f"b/{given[7] if len(given) > 7 else path}"]
