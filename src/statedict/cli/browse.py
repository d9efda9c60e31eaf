"""`statedict browse`: one checkpoint, or two, in the terminal."""

import sys

import click

from statedict.cli.explore import side, two_sides
from statedict.errors import StatedictError
from statedict.extras import needed


@click.command(short_help="Look at it in the terminal: tree, search, statistics, differences.")
@two_sides
def command(a: str, b: str | None, key: str | None, key_b: str | None, strip: bool, format: str | None) -> int:
    """Look at A in the terminal, on this machine or another: its tree, and whatever is chosen in it.

    Arrows go through the tree, / searches, s reads a tensor or module and shows its numbers, u unfolds repeated blocks,
    d shows what B has otherwise, q ends it. Nothing is written.
    """
    needed("textual", "browse", "the terminal explorer needs textual, which is not installed")
    sides = [side(a, key, format, strip=strip)]
    if b is not None:
        sides.append(side(b, key_b or key, None, strip=strip))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise StatedictError(f"{a}: can be browsed in a terminal only; `statedict tree` prints it")
    from statedict.terminal.explorer import Explorer

    Explorer(sides).run()
    return 0
