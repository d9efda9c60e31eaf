"""The command line's frame: which commands there are, and how each error ends."""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from statedict.cli.output import print_text
from statedict.errors import StatedictError
from statedict.views.lines import one_line

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "tree": "The hierarchy: modules, shapes, parameters, bytes; repeated blocks folded.",
    "ls": "The tensors as a flat table, as JSON or as CSV.",
    "stats": "Min, max, mean, norms, zeros, NaN of tensors and modules.",
    "check": "What may be wrong: code that would run, NaN, dead channels, ...",
    "hash": "Digests of tensors, modules and the whole; manifests.",
    "diff": "What changed between two checkpoints, down to the last bit.",
    "match": "Why a checkpoint does not load into a model, and what would make it.",
    "show": "One tensor, module or attribute: everything known, first values.",
    "convert": "The same in another format, element type or number of files.",
    "edit": "The same with other names, types, tensors or metadata.",
    "prune": "The same with exactly so many weights zero, by magnitude, N:M, slices, ...",
    "shrink": "Take channels out of a whole model, with all that depends on them.",
    "merge": "Make one of several checkpoints, or fold an adapter in.",
    "extract-lora": "What training changed, as a LoRA adapter that PEFT loads.",
    "explore": "Look at it in the browser: tree, map, heat maps, differences.",
    "report": "The same as one file to send: tree, map and statistics.",
    "browse": "Look at it in the terminal: tree, search, statistics, differences.",
    "catalog": "What a zoo of models holds: duplicates, lineage, dangers; SQL.",
    "formats": "What can be read and written, how it is told, and what to install for it.",
}
"""Every command and what it does in one line. Its module, of the same name, is imported when it is called."""

_INTERRUPTED = 130


class Commands(click.Group):
    """A group that imports a command when it is called, and ends every error in one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"statedict.cli.{cmd_name.replace('-', '_')}").command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=said) for name, said in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] == "help" and not ctx.resilient_parsing:  # as one would ask other programs
            if len(args) == 1:
                print_text(ctx.get_help() + "\n")
                ctx.exit()
            args = [args[1], "--help"]
        if ctx.resilient_parsing:  # a shell asks what may come next, and wants no opinion
            return super().resolve_command(ctx, args)
        if args and args[0] not in COMMANDS and os.path.exists(args[0]):  # noqa: PTH110 - no Path for one question
            ctx.fail(f"`{args[0]}` is a file; say what to do with it: `statedict tree {args[0]}`")
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], [*COMMANDS, "--version"], 1)
            ctx.fail(f"there is no command `{args[0]}`" + "".join(f"; did you mean `{name}`?" for name in close))
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run, and exit: 0 done, 1 found what the command looks for, 2 wrong use or unreadable input."""
        extra |= {"prog_name": "statedict", "standalone_mode": False}
        try:
            code = super().main(*args, **extra)
        except click.Abort:
            fail("interrupted", _INTERRUPTED)
        except click.exceptions.NoArgsIsHelpError as error:  # a group of commands, as `statedict` alone
            print_text(f"{error.ctx.get_help() if error.ctx else error.format_message()}\n")
            code = 0
        except click.UsageError as error:
            called = next((f"statedict {name}" for name in sys.argv[1:2] if name in COMMANDS), "statedict")
            command = error.ctx.command_path if error.ctx else called
            fail(f"{error.format_message().rstrip('.')} (see `{command} --help`)")
        except click.ClickException as error:
            fail(error.format_message())
        except (StatedictError, OSError) as error:
            fail(_said(error))
        except Exception as error:  # noqa: BLE001 - a bug of ours is told in one line, too
            fail(
                f"this is a bug in statedict: {type(error).__name__}: {error}; "
                "set STATEDICT_TRACEBACK=1 to see where, and please report it"
            )
        sys.exit(code if isinstance(code, int) else 0)


def fail(message: str, code: int = 2) -> NoReturn:
    """End with one line on standard error; below it, with STATEDICT_TRACEBACK=1, where the error arose."""
    sys.stderr.write(f"statedict: {one_line(message)}\n".encode(errors="backslashreplace").decode())
    if os.environ.get("STATEDICT_TRACEBACK") == "1" and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    sys.exit(code)


def _said(error: StatedictError | OSError) -> str:
    if isinstance(error, StatedictError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror.lower()


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from statedict._version import __version__
        from statedict.accelerator import used

        print_text(f"statedict {__version__} ({used()})\n")
        ctx.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 found what it looks for, 2 wrong use or unreadable input.",
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print the version."
)
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Look into neural-network checkpoints: nothing in a file is run, and no framework is needed."""
    if ctx.invoked_subcommand is None:
        print_text(ctx.get_help() + "\n")
