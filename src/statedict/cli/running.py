"""Where a command's work is done, and what it would come to: `--dask` and `--plan`, for commands that read all."""

from collections.abc import Callable
from concurrent.futures import Executor
from functools import wraps
from typing import Any

import click

from statedict.cli import output
from statedict.executors import Rehearsal, Rehearsed


def running_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command's function that is given the `executor` that `--dask` names, and that `--plan` only rehearses."""

    @wraps(function)
    def command(*arguments: Any, plan: bool, executor: Executor | None, **options: Any) -> Any:
        if plan:
            return _planned(lambda: function(*arguments, executor=Rehearsal(), **options))
        return function(*arguments, executor=executor, **options)

    told = click.option("--plan", is_flag=True, help="Say what would be read and written, and how long it takes.")
    return cluster_option(told(command))


def cluster_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command's function that is given the `executor` that `--dask` names, or None."""

    @wraps(function)
    def command(*arguments: Any, dask: str | None, **options: Any) -> Any:
        if dask is None:
            return function(*arguments, executor=None, **options)
        from statedict.interop.cluster import DaskCluster

        with DaskCluster(dask) as executor:
            return function(*arguments, executor=executor, **options)

    where = "Have the workers of a Dask cluster do it: tcp://127.0.0.1:8786."
    return click.option("--dask", metavar="ADDRESS", help=where)(command)


def _planned(run: Callable[[], Any]) -> int:
    """Print what a run would do. The end of a command that finds nothing to do is its own."""
    try:
        code: Any = run()
    except Rehearsed as rehearsed:
        from statedict.planning import estimate
        from statedict.views.planning import plan_lines

        output.print_lines(plan_lines(estimate(rehearsed)))
        return 0
    return code if isinstance(code, int) else 0
