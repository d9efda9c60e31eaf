"""What all commands share: the argument FILE or SRC, the options that say what of it to open, and how to print."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from statedict.cli.checkpoint import opened
from statedict.cli.completing import PATH, format_names, module_names, tensor_names

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")


def checkpoint_options(function: F) -> F:
    """A command's function with the argument FILE and the options that say what of it to open, and how."""
    kinds = "Take what modules are from the folder's config.json, by transformers: exact, but it takes seconds."
    function = _format(function)
    function = _strip(function)
    function = click.option("--config-kinds", is_flag=True, help=kinds)(function)
    function = _key(function)
    return click.argument("file", type=PATH)(function)


def of_checkpoint(function: Callable[..., R]) -> Callable[..., R]:
    """A command's function that is given the opened `checkpoint` for FILE and the options of `checkpoint_options`."""

    @wraps(function)
    def command(file: str, key: str | None, format: str | None, strip: bool, config_kinds: bool, **options: Any) -> R:
        return function(opened(file, key, format, strip, config_kinds), **options)

    return checkpoint_options(command)


def reading_options(function: F) -> F:
    """A command's function with the options that say what of SRC to open, and how, but for its kinds."""
    return _key(_strip(_format(function, "SRC")))


def of_source(function: Callable[..., R]) -> Callable[..., R]:
    """A command's function that is given the opened `checkpoint` for the argument SRC and `reading_options`."""

    @wraps(function)
    def command(src: str, key: str | None, format: str | None, strip: bool, **options: Any) -> R:
        return function(opened(src, key, format, strip), **options)

    return reading_options(click.argument("src", type=PATH)(command))


def threads_option(function: F) -> F:
    """A command's function with the option `--threads`."""
    threads = "As many as there are processors, unless given."
    return click.option("--threads", type=click.IntRange(min=1), metavar="N", help=threads)(function)


def choosing_options(function: F) -> F:
    """A command's function with the argument PATTERN, of which there may be many, and the option `--where`."""
    where = click.option(
        "--where", metavar="CONDITION", help="Keep those for which it holds: 'ndim == 4 and numel > 1e6'."
    )
    return click.argument("pattern", nargs=-1, shell_complete=tensor_names)(where(function))


def printing_options(function: F) -> F:
    """A command's function with `--json` and `--csv`, of which one can be had at a time."""

    def alone(context: click.Context, parameter: click.Parameter, wanted: bool) -> bool:
        if wanted and any(context.params.get(name) for name in ("as_json", "as_csv") if name != parameter.name):
            raise click.UsageError("`--json` and `--csv` cannot be had together", context)
        return wanted

    csv = click.option("--csv", "as_csv", is_flag=True, callback=alone, help="Print comma-separated values.")
    return click.option("--json", "as_json", is_flag=True, callback=alone, help="Print one JSON document.")(
        csv(function)
    )


def _format(function: F, file: str = "FILE") -> F:
    text = f"Read {file} as this format instead of telling it."
    return click.option("--format", metavar="NAME", shell_complete=format_names, help=text)(function)


def _strip(function: F) -> F:
    strip = "Take the names out that DDP, FSDP, compile and checkpointing put in: `module.`, `_orig_mod.`, ..."
    return click.option("--strip", is_flag=True, help=strip)(function)


def _key(function: F) -> F:
    text = "Take only this part of it: a module, by its name."
    return click.option("--key", metavar="NAME", shell_complete=module_names, help=text)(function)
