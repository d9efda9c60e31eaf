"""The catalogue's database: its tables, and what is put into them, a batch of checkpoints at a time."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from statedict.catalog.describing import Described
from statedict.catalog.finding import Place
from statedict.errors import FormatError, ReadError, WriteError
from statedict.extras import needed

_VERSION = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS about (version INTEGER);
CREATE TABLE IF NOT EXISTS checkpoints (
    id BIGINT, path VARCHAR, version VARCHAR, modified DOUBLE, format VARCHAR, tensors BIGINT, parameters BIGINT,
    nbytes BIGINT, family BIGINT, printed BOOLEAN, kind VARCHAR, base VARCHAR, config VARCHAR, metadata VARCHAR,
    error VARCHAR);
CREATE TABLE IF NOT EXISTS tensors (
    checkpoint BIGINT, name VARCHAR, dtype VARCHAR, shape BIGINT[], numel BIGINT, nbytes BIGINT, role VARCHAR,
    kind VARCHAR, digest VARCHAR, sketch UBIGINT,
    samples FLOAT[64]);
CREATE TABLE IF NOT EXISTS dangers (checkpoint BIGINT, what VARCHAR, grade VARCHAR);
CREATE TABLE IF NOT EXISTS lineage (
    child BIGINT, parent BIGINT, shared BIGINT, near BIGINT, similarity DOUBLE);
"""
_COLUMNS = {
    "checkpoints": (
        *("id", "path", "version", "modified", "format", "tensors", "parameters", "nbytes", "family", "printed"),
        *("kind", "base", "config", "metadata", "error"),
    ),
    "tensors": (
        *("checkpoint", "name", "dtype", "shape", "numel", "nbytes", "role", "kind", "digest", "sketch", "samples"),
    ),
    "dangers": ("checkpoint", "what", "grade"),
}


class Catalog:
    """An open catalogue. What is added is there for others at the end of each batch, whatever happens next."""

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        """Raises ReadError where there is none, FormatError where it is no catalogue, MissingExtraError."""
        self.path = os.fspath(path)
        self._duckdb = needed("duckdb", "catalog", f"{self.path}: a catalogue is kept by duckdb")
        self._arrow = (
            needed("pyarrow", "catalog", f"{self.path}: a catalogue is filled through pyarrow") if create else None
        )
        if not create and not Path(path).exists():
            raise ReadError(
                f"{self.path}: there is no such catalogue; `statedict catalog add FOLDER --db {self.path}` makes it"
            )
        try:
            self.connection = self._duckdb.connect(self.path, read_only=not create)
        except self._duckdb.IOException as error:
            reason = (
                "is used by another process that writes; wait for it" if "lock" in str(error).lower() else str(error)
            )
            raise (WriteError if create else ReadError)(f"{self.path}: cannot be opened: {reason}") from None
        except self._duckdb.Error as error:
            raise FormatError(f"{self.path}: is no catalogue: {error}") from None
        if create:
            self.connection.execute(_TABLES)
            if not self.rows("SELECT version FROM about"):
                self.connection.execute("INSERT INTO about VALUES (?)", [_VERSION])
        self._require_version()

    def _require_version(self) -> None:
        try:
            found = self.rows("SELECT version FROM about")
        except self._duckdb.Error:
            found = []
        if found != [(_VERSION,)]:
            self.connection.close()
            raise FormatError(f"{self.path}: is no catalogue of version {_VERSION}; make a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            self.connection.close()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds."""
        return self.connection.execute(query, list(values)).fetchall()

    def asked(self, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The columns and rows of a user's own query. Raises FormatError, which says where it is wrong."""
        try:
            found = self.connection.execute(query)
            return [column[0] for column in found.description or ()], found.fetchall()
        except self._duckdb.Error as error:
            raise FormatError(f"{self.path}: {' '.join(str(error).split())}") from None

    def known(self, *, prints: bool) -> dict[str, str]:
        """The version of each checkpoint that need not be opened again, by its path."""
        enough = "error IS NULL AND (printed OR NOT ?)"
        return dict(self.rows(f"SELECT path, version FROM checkpoints WHERE {enough}", [prints]))  # noqa: S608 - ours

    def add(self, places: Sequence[Place], described: Described) -> None:
        """Put in what is known of some checkpoints, in the place of what was known, all at once."""
        connection = self.connection
        connection.begin()
        try:
            self.forget([row[0] for row in described.checkpoints])
            first = self.rows("SELECT coalesce(max(id), -1) + 1 FROM checkpoints")[0][0]
            self._insert("checkpoints", [(first + at, *row) for at, row in enumerate(described.checkpoints)])
            self._insert("tensors", [(first + row[0], *row[1:]) for row in described.tensors])
            self._insert("dangers", [(first + at, *rest) for at, *rest in described.dangers])
            connection.commit()
        except BaseException:
            connection.rollback()
            raise

    def forget(self, paths: Iterable[str]) -> int:
        """Take checkpoints out, where they are in; how many."""
        given = list(paths)
        found = (
            [row[0] for row in self.rows("SELECT id FROM checkpoints WHERE list_contains(?, path)", [given])]
            if given
            else []
        )
        if found:
            for table, column in (("checkpoints", "id"), ("tensors", "checkpoint"), ("dangers", "checkpoint")):
                self.connection.execute(f"DELETE FROM {table} WHERE list_contains(?, {column})", [found])  # noqa: S608
        return len(found)

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if not rows or self._arrow is None:
            return
        columns = dict(zip(_COLUMNS[table], map(list, zip(*rows, strict=True)), strict=True))
        if "sketch" in columns:
            floats = self._arrow.list_(self._arrow.float32(), 64)
            columns["sketch"] = self._arrow.array(columns["sketch"], self._arrow.uint64())
            columns["samples"] = self._arrow.array(columns["samples"], floats)
        batch = self._arrow.table(columns)
        self.connection.register("batch", batch)
        self.connection.execute(f"INSERT INTO {table} SELECT * FROM batch")  # noqa: S608 - our own names
        self.connection.unregister("batch")
