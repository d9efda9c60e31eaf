"""The command line. Each command is one function of the library, and printing."""

from typing import NoReturn


def main() -> NoReturn:
    """Run `statedict` with the arguments of this process, and exit."""
    import gc
    import os
    import sys

    from statedict.cli.commands import commands

    gc.disable()  # what a command makes, it needs until it ends
    try:
        commands.main()
    except SystemExit as end:
        # Taking 60,000 tensors apart one by one would take as long as reading them: the process just ends.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)
