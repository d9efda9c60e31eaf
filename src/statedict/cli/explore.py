"""`statedict explore`: one checkpoint, or two beside each other, in the browser."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from statedict.cli import output
from statedict.cli.checkpoint import Checkpoint, opened
from statedict.views.lines import one_line

if TYPE_CHECKING:
    from statedict.web.side import Side


F = TypeVar("F", bound=Callable[..., Any])


def two_sides(function: F) -> F:
    """A and B as the arguments of a command that shows one checkpoint or two, and what is to be taken of each."""
    for decorate in reversed(
        (
            click.argument("a"),
            click.argument("b", required=False),
            click.option("--key", metavar="NAME", help="Take only this part of both: a module, by its name."),
            click.option("--key-b", metavar="NAME", help="Take only this part of B."),
            click.option(
                "--strip", is_flag=True, help="Take wrappers' prefixes out of both: `module.`, `_orig_mod.`, ..."
            ),
            click.option("--format", metavar="NAME", help="Read A as this format instead of telling it."),
        )
    ):
        function = decorate(function)
    return function


@click.command(short_help="Look at it in the browser: tree, map, heat maps, differences.")
@two_sides
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Any that is free, unless given.")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
def command(
    a: str,
    b: str | None,
    key: str | None,
    key_b: str | None,
    strip: bool,
    format: str | None,
    port: int,
    no_browser: bool,
) -> int:
    """Serve a page on this machine that shows A, or A beside B, and open it in the browser; Ctrl-C ends it.

    Nothing is read before it is looked at, nothing is written, and nothing leaves this machine: the page has all that
    it needs, and the server answers only who has its address. B may be a `config.json` of Hugging Face, too, or the
    folder of one: then the model that it describes, to match A with.
    """
    from statedict.web.serving import listening, require_server, serve

    require_server()
    sides = [side(a, key, format, strip=strip)]
    if b is not None:
        sides.append(second_side(b, key_b or key, strip=strip))
    held = listening(port)

    def ready(address: str) -> None:
        names = " and ".join(one_line(Path(each.file).name or each.file) for each in sides)
        output.print_text(f"{names}: {address}\nCtrl-C ends it\n")
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    serve(sides, held, ready)
    return 0


def side(file: str, key: str | None, format: str | None, *, strip: bool) -> "Side":
    """A checkpoint as a page looks at it. Raises as `statedict.open` does."""
    return _side_of(file, opened(file, key, format, strip))


def second_side(file: str, key: str | None, *, strip: bool) -> "Side":
    """The same of what a first checkpoint is held against: a configuration is the model that it describes."""
    from statedict.matching import is_configuration

    if not is_configuration(file):
        return side(file, key, None, strip=strip)
    from statedict.configured import blueprint

    return _side_of(file, Checkpoint(blueprint(file), key, strip))


def _side_of(file: str, checkpoint: Checkpoint) -> "Side":
    from statedict.web.side import Side

    index = checkpoint.index
    return Side(file, index.format, checkpoint.size, index.source, checkpoint.model)
