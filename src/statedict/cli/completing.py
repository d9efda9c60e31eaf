"""What a shell is told when somebody presses Tab: files, formats, and the names in the file that the line begins with.

The shells' side is click's: `eval "$(_STATEDICT_COMPLETE=bash_source statedict)"`, or zsh or fish for bash.
"""

from collections.abc import Iterable

import click

from statedict.cli.checkpoint import opened
from statedict.errors import StatedictError

_MOST = 1000
"""Names that are offered at a time."""

PATH = click.Path()
"""The type of an argument that names a file or folder, which may not be there, or be somewhere else than on a disk."""


def format_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The formats whose names begin so."""
    from statedict.formats import FORMATS

    return _beginning(incomplete, (entry.name for entry in FORMATS))


def tensor_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The tensors of the file on the line whose names begin so; none where it cannot be read."""
    return _names(context, incomplete, modules=False)


def module_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The same of modules."""
    return _names(context, incomplete, modules=True)


def all_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The same of both."""
    return [*_names(context, incomplete, modules=True), *_names(context, incomplete, modules=False)][:_MOST]


def _names(context: click.Context, incomplete: str, *, modules: bool) -> list[str]:
    given = context.params
    # An option that still lacks its value keeps click from handing out the arguments before it.
    file = next((given[name] for name in ("file", "src", "a") if given.get(name)), next(iter(context.args), None))
    if not isinstance(file, str):
        return []
    try:
        checkpoint = opened(file, None if modules else given.get("key"), given.get("format"))
        if not modules:
            return _beginning(incomplete, (entry.name for entry in checkpoint.rows))
        return _beginning(incomplete, (name for name, _ in checkpoint.model.named_modules()))
    except (StatedictError, OSError):  # the command itself will say what is wrong
        return []


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    """Those names, as far as one can type them."""
    fitting = (name for name in names if name and name.startswith(incomplete) and name.isprintable())
    return [name for name, _ in zip(fitting, range(_MOST), strict=False)]
