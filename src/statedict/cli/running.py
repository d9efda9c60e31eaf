"""Where a command's work is done, and what it would come to: `--dask` and `--plan`, for commands that read all."""

from collections.abc import Callable, Generator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click

from statedict.cli import output
from statedict.executors import Rehearsal, Rehearsed


def running_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command's function that is given the `executor` that `--dask` names, and that `--plan` only rehearses.

    Its `--json` tells of a plan, too.
    """

    @wraps(function)
    def command(*arguments: Any, plan: bool, executor: Executor | None, **options: Any) -> Any:
        if plan:
            return _planned(lambda: function(*arguments, executor=Rehearsal(), **options), as_json=options["as_json"])
        return function(*arguments, executor=executor, **options)

    told = click.option("--plan", is_flag=True, help="Say what would be read and written, and how long it takes.")
    return cluster_option(told(command))


def running_and_json_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same of a command that has no `--json` of its own."""

    @wraps(function)
    def command(*arguments: Any, as_json: bool, executor: Executor | None, **options: Any) -> Any:
        if as_json and not isinstance(executor, Rehearsal):
            raise click.UsageError("`--json` prints a plan; give `--plan`, too", click.get_current_context())
        return function(*arguments, executor=executor, **options)

    told = click.option("--json", "as_json", is_flag=True, help="With `--plan`: print it as one JSON document.")
    return told(running_options(command))


def cluster_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command's function that is given the `executor` that `--dask` names, or None."""

    @wraps(function)
    def command(*arguments: Any, dask: str | None, **options: Any) -> Any:
        if dask is None:
            return function(*arguments, executor=None, **options)
        from statedict.interop.cluster import DaskCluster

        with _silence(), DaskCluster(dask) as executor:
            return function(*arguments, executor=executor, **options)

    where = "Have the workers of a Dask cluster do it: tcp://127.0.0.1:8786."
    return click.option("--dask", metavar="ADDRESS", help=where)(command)


@contextmanager
def _silence() -> Generator[None]:
    """Let nothing log: of a scheduler that dies Dask's client logs tracebacks, and we say in a line what it means."""
    import logging

    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


def _planned(run: Callable[[], Any], *, as_json: bool) -> int:
    """Print what a run would do. The end of a command that finds nothing to do is its own."""
    try:
        code: Any = run()
    except Rehearsed as rehearsed:
        from statedict.planning import estimate
        from statedict.views.planning import plan_document, plan_lines

        found = estimate(rehearsed)
        if as_json:
            output.print_text(plan_document(found))
        else:
            output.print_lines(plan_lines(found))
        return 0
    return code if isinstance(code, int) else 0
