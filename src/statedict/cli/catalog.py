"""`statedict catalog`: what a zoo of models holds, twice or in families, from one database."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import click

from statedict.cli import output
from statedict.cli.options import threads_option
from statedict.cli.progress import reading_bar
from statedict.cli.running import cluster_option

if TYPE_CHECKING:
    from concurrent.futures import Executor

F = TypeVar("F", bound=Callable[..., Any])


def _db(function: F) -> F:
    return click.option("--db", metavar="FILE", default="zoo.duckdb", show_default=True, help="The catalogue.")(
        function
    )


def _json(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def _shape(_context: click.Context, _parameter: click.Parameter, given: str | None) -> list[int | None] | None:
    if given is None:
        return None
    try:
        return [None if size.strip() == "*" else int(size) for size in given.strip("[]() ").split(",") if size.strip()]
    except ValueError:
        raise click.BadParameter(f"`{given}` is no shape such as `4096,*`") from None


@click.group(short_help="What a zoo of models holds: duplicates, lineage, dangers; SQL.")
def command() -> None:
    """Keep a catalogue of every checkpoint under some folders or prefixes, and ask it."""


@command.command(short_help="Put every checkpoint under folders or prefixes in.")
@click.argument("root", nargs=-1, required=True)
@_db
@click.option("--prints", is_flag=True, help="Read the tensors, too: digests, and what tells that some are close.")
@threads_option
@cluster_option
@_json
def add(
    root: tuple[str, ...], db: str, prints: bool, threads: int | None, executor: "Executor | None", as_json: bool
) -> None:
    """Put every checkpoint under each ROOT into the catalogue: files, folders of shards, at paths or URLs.

    What is in already and has not changed is not opened again; what is gone is taken out. Interrupted, it keeps what it
    has, and goes on when it is called again.
    """
    from statedict.catalog.adding import add as add_all
    from statedict.catalog.adding import processes
    from statedict.catalog.database import Catalog
    from statedict.views.catalog import added_lines

    with Catalog(db, create=True) as catalog:
        pool = nullcontext(executor) if executor or threads == 1 else processes(threads)
        with pool as workers, reading_bar("Adding") as progress:
            found = add_all(catalog, root, prints=prints, executor=workers, progress=progress)
    if as_json:
        from statedict.views.documents import document, schema

        counts = {name: getattr(found, name) for name in ("added", "unchanged", "removed", "unreadable")}
        output.print_text(document(schema=schema("catalog-add"), catalog=db, **counts))
    else:
        output.print_lines(added_lines(found, db))


@command.command(short_help="What is stored more than once, and what it costs.")
@_db
@click.option(
    "--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Show the N largest."
)
@_json
def duplicates(db: str, top: int, as_json: bool) -> None:
    """Show the tensors that are stored more than once, and what deduplication would save."""
    from statedict.catalog.asking import duplicates as find_duplicates
    from statedict.catalog.database import Catalog
    from statedict.views.catalog import duplicates_lines
    from statedict.views.documents import rows_document, schema

    with Catalog(db) as catalog:
        found = find_duplicates(catalog, top)
    if as_json:
        head = {"schema": schema("catalog-duplicates"), "catalog": db, "tensors": found.tensors, "saved": found.saved}
        head |= {"of": found.of, "files": found.files}
        rows = ({**each._asdict(), "saved": each.saved} for each in found.largest)
        output.print_text("".join(rows_document(head, "duplicates", rows)))
    else:
        output.print_lines(duplicates_lines(found, output.width()))


@command.command(short_help="Which models derive from which.")
@click.argument("checkpoint", required=False)
@_db
@click.option("--dot", is_flag=True, help="Print a graph for Graphviz: `| dot -Tsvg > lineage.svg`.")
@_json
def lineage(checkpoint: str | None, db: str, dot: bool, as_json: bool) -> None:
    """Show which models derive from which, by the tensors that they share and those that are close.

    Of all families, or of that of CHECKPOINT, a path as the catalogue has it. The parent of a model is the earlier one
    that it has most in common with.
    """
    import os

    from statedict.catalog.asking import require_prints
    from statedict.catalog.database import Catalog
    from statedict.catalog.relating import families
    from statedict.remote.urls import is_url
    from statedict.views.catalog import lineage_dot, lineage_lines
    from statedict.views.documents import rows_document, schema

    only = checkpoint if checkpoint is None or is_url(checkpoint) else os.path.abspath(checkpoint)  # noqa: PTH100
    with Catalog(db) as catalog:
        require_prints(catalog)
        lines = families(catalog, only)
    if dot:
        output.print_text(lineage_dot(lines))
    elif as_json:
        rows = ({"path": name, "depth": depth, **said} for depth, name, said in lines)
        output.print_text("".join(rows_document({"schema": schema("catalog-lineage"), "catalog": db}, "models", rows)))
    else:
        output.print_lines(lineage_lines(lines))


@command.command(short_help="Tensors by name, shape or digest; checkpoints by danger.")
@_db
@click.option("--name", metavar="GLOB", help="Tensors of that name: '*.q_proj.weight'.")
@click.option("--shape", metavar="SIZES", callback=_shape, help="Tensors of that shape: 4096,* for any second size.")
@click.option("--kind", metavar="NAME", help="Tensors of such modules: Conv2d.")
@click.option("--dtype", metavar="NAME", help="Tensors of that element type: bfloat16.")
@click.option("--digest", metavar="DIGEST", help="Tensors of that digest, or one that begins so.")
@click.option("--danger", metavar="TEXT", help="Checkpoints that would import what has this in its name; '' for any.")
@click.option("--model", metavar="TEXT", help="Checkpoints whose configuration names such a class.")
@click.option("--top", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="Show N at most.")
@_json
def find(db: str, top: int, as_json: bool, **wanted: Any) -> int:
    """Find tensors by name, shape, kind, type or digest, or checkpoints by danger or model. Exit code 1: none."""
    from statedict.catalog.asking import find as find_all
    from statedict.catalog.database import Catalog

    with Catalog(db) as catalog:
        columns, rows = find_all(catalog, top, **wanted)
    _print(columns, rows, as_json=as_json)
    return 0 if rows else 1


@command.command(short_help="Ask it in SQL.")
@click.argument("query")
@_db
@_json
def sql(query: str, db: str, as_json: bool) -> None:
    """Run a QUERY of SQL: the tables are checkpoints, tensors, dangers and lineage.

    "COPY tensors TO 'tensors.parquet'" writes Parquet.
    """
    from statedict.catalog.database import Catalog

    with Catalog(db) as catalog:
        columns, rows = catalog.asked(query)
    _print(columns, rows, as_json=as_json)


def _print(columns: list[str], rows: list[tuple[Any, ...]], *, as_json: bool) -> None:
    if as_json:
        from statedict.catalog.asking import as_json as document
        from statedict.views.documents import schema

        output.print_text(document(columns, rows, schema("catalog-rows")))
    else:
        from statedict.views.catalog import rows_lines

        output.print_lines(rows_lines(columns, rows, output.width()))
