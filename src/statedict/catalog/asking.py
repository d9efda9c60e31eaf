"""What a catalogue is asked: what is stored more than once, and where what is."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from statedict.catalog.database import Catalog
from statedict.errors import PatternError, StatedictError

_STORED = """
WITH stored AS (
    SELECT checkpoint, digest, any_value(nbytes) AS nbytes, min(name) AS name FROM tensors
    WHERE digest IS NOT NULL AND nbytes > 0 GROUP BY checkpoint, digest),
grouped AS (
    SELECT digest, count(*) AS copies, any_value(nbytes) AS nbytes, any_value(nbytes) * (count(*) - 1) AS saved,
        min(checkpoint) AS first
    FROM stored GROUP BY digest)
"""
_SAVED = f"""{_STORED}
SELECT count(*) FILTER (copies > 1), coalesce(sum(saved), 0), coalesce(sum(nbytes * copies), 0) FROM grouped
"""  # noqa: S608 - our own text
_LARGEST = f"""{_STORED}
SELECT g.digest, t.dtype, t.shape, g.copies, g.nbytes, t.name, c.path
FROM (SELECT * FROM grouped WHERE copies > 1 ORDER BY saved DESC, digest LIMIT ?) g
JOIN stored s ON s.digest = g.digest AND s.checkpoint = g.first JOIN checkpoints c ON c.id = g.first
JOIN tensors t ON t.checkpoint = g.first AND t.digest = g.digest AND t.name = s.name
ORDER BY g.saved DESC, g.digest
"""  # noqa: S608 - our own text
_WHOLE = """
SELECT coalesce(sum(n - 1), 0) FROM (
    SELECT count(*) AS n FROM (
        SELECT checkpoint, sum(hash(name, digest)::HUGEINT) AS contents, count(*) AS tensors FROM tensors
        WHERE digest IS NOT NULL GROUP BY checkpoint) GROUP BY contents, tensors)
"""
_TENSORS = """
SELECT c.path, t.name, t.dtype, t.shape, t.kind, t.digest FROM tensors t JOIN checkpoints c ON c.id = t.checkpoint
WHERE {} ORDER BY c.path, t.name LIMIT ?
"""
_CHECKPOINTS = """
SELECT c.path, c.format, c.tensors, c.nbytes, c.kind,
    (SELECT string_agg(what || ' (' || grade || ')', ', ' ORDER BY grade, what) FROM dangers
        WHERE checkpoint = c.id) AS dangers
FROM checkpoints c
WHERE ($1 IS NULL OR id IN (SELECT checkpoint FROM dangers WHERE contains(what, $1)))
    AND ($2 IS NULL OR contains(lower(c.kind), lower($2)))
ORDER BY c.path LIMIT $3
"""


class Duplicate(NamedTuple):
    """A tensor that is stored more than once."""

    digest: str
    dtype: str
    shape: tuple[int, ...]
    copies: int
    nbytes: int
    """Of each of them."""
    name: str
    path: str
    """One of the places where it is."""

    @property
    def saved(self) -> int:
        """The bytes that one copy instead of all would save."""
        return self.nbytes * (self.copies - 1)


class Duplicates(NamedTuple):
    """What deduplication would save."""

    tensors: int
    """Different tensors that are stored more than once."""
    saved: int
    of: int
    """Bytes of all tensors that have a digest."""
    files: int
    """Checkpoints that hold what another one holds, and nothing else."""
    largest: tuple[Duplicate, ...]


def duplicates(catalog: Catalog, most: int = 20) -> Duplicates:
    """The tensors that are stored more than once, and the bytes that deduplication would save.

    A tied tensor counts once in its file. Raises StatedictError where no digests have been made.
    """
    require_prints(catalog)
    tensors, saved, total = catalog.rows(_SAVED)[0]
    rows, files = catalog.rows(_LARGEST, [most]), catalog.rows(_WHOLE)[0][0]
    largest = tuple(Duplicate(d, t, tuple(s), int(n), int(b), name, path) for d, t, s, n, b, name, path in rows)
    return Duplicates(int(tensors), int(saved), int(total), int(files), largest)


def find(catalog: Catalog, most: int = 100, **wanted: Any) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The tensors, or for `danger` and `model` the checkpoints, that are what is wanted: columns and rows.

    `name` is a pattern of SQL's GLOB, `shape` a list of sizes of which None fits any, `kind` and `dtype` are names,
    `digest` a digest or how it begins, `danger` a part of what loading would import, `model` of the model's class.
    """
    if wanted.get("danger") is not None or wanted.get("model") is not None:
        return _checkpoints(catalog, most, wanted.get("danger"), wanted.get("model"))
    conditions: list[str] = []
    values: list[Any] = []
    for column, sign in (("name", "GLOB ?"), ("kind", "= ?"), ("dtype", "= ?")):
        if wanted.get(column) is not None:
            conditions.append(f"t.{column} {sign}")
            values.append(wanted[column])
    if wanted.get("digest") is not None:
        require_prints(catalog)
        digest: str = wanted["digest"]
        conditions.append("starts_with(t.digest, ?)")
        values.append(digest if ":" in digest else f"blake3:{digest}")
    if wanted.get("shape") is not None:
        shape: Sequence[int | None] = wanted["shape"]
        conditions.append("len(t.shape) = ?")
        values.append(len(shape))
        for at, size in enumerate(shape, 1):
            if size is not None:
                conditions.append(f"t.shape[{at}] = ?")
                values.append(size)
    if not conditions:
        raise PatternError("say what to find: a name, shape, kind, dtype, digest, danger or model")
    rows = catalog.rows(_TENSORS.format(" AND ".join(conditions)), [*values, most])
    return ["path", "name", "dtype", "shape", "kind", "digest"], rows


def _checkpoints(
    catalog: Catalog, most: int, danger: str | None, model: str | None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    rows = catalog.rows(_CHECKPOINTS, [danger, model, most])
    return ["path", "format", "tensors", "nbytes", "model", "dangers"], rows


def require_prints(catalog: Catalog) -> None:
    """Nothing, where tensors have digests. Raises StatedictError that says how to get some."""
    if not catalog.rows("SELECT 1 FROM tensors WHERE digest IS NOT NULL LIMIT 1"):
        raise StatedictError(
            f"{catalog.path}: has no digests of tensors; `statedict catalog add FOLDER --prints --db {catalog.path}` "
            "makes them"
        )


def as_json(columns: Sequence[str], rows: Sequence[tuple[Any, ...]], schema: str) -> str:
    """Rows as one JSON document of that schema, an object a line."""
    lines = ",\n".join("  " + json.dumps(dict(zip(columns, row, strict=True)), default=str) for row in rows)
    head = f'{{"schema": {json.dumps(schema)}, "rows": ['
    return f"{head}\n{lines}\n]}}\n" if rows else f"{head}]}}\n"
