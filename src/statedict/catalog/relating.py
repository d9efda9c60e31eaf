"""Which checkpoints derive from which: found from the tensors that they share, and from those that are close.

Tensors of the same digest are shared. Tensors of the same name and shape are close where, of 64 of their elements, few
have crossed the median, and all together have changed by less than a third. A checkpoint's parent is the earlier one
from which it is the least way: the squares of what changed as a share of the child's squares, by elements; nothing for
what is shared, and all for what is neither shared nor close. Of equally near ones it is the earliest.
"""

from typing import Any

from statedict.catalog.database import Catalog

CLOSE = 12
"""Bits of 64 in which the sketches of close tensors differ at most; few pairs do so by chance."""
_FAR = 0.1
"""The squares of what changed, as a share of the squares, from which on a tensor is not close, whatever its bits."""
_LEAST = 0.05
"""The share of its elements that a child has in common with its parent at least."""
_FEWEST = 64
"""Elements of a tensor that counts: zeros and ones of short ones are everywhere."""
_MOST = 500
"""Checkpoints that hold a tensor, above which it is no sign of kinship: zeros, ones, what everyone starts from."""

_RELATE = f"""
CREATE OR REPLACE TEMP TABLE ordered AS
    SELECT id, row_number() OVER (ORDER BY modified, path) AS place,
        (SELECT sum(numel) FROM tensors WHERE checkpoint = id AND numel >= {_FEWEST}) AS numel
    FROM checkpoints WHERE error IS NULL AND printed;
CREATE OR REPLACE TEMP TABLE parts AS
    SELECT t.checkpoint, o.place, t.name, t.shape, t.numel, t.digest, t.sketch, t.samples
    FROM tensors t JOIN ordered o ON o.id = t.checkpoint
    WHERE t.digest IS NOT NULL AND t.numel >= {_FEWEST};
CREATE OR REPLACE TEMP TABLE held AS
    SELECT digest, numel, checkpoint, place, count(*) OVER (PARTITION BY digest) AS holders,
        row_number() OVER (PARTITION BY digest ORDER BY place) AS at
    FROM (SELECT DISTINCT digest, numel, checkpoint, place FROM parts);
CREATE OR REPLACE TEMP TABLE same AS
    SELECT child.checkpoint AS child, parent.checkpoint AS parent, child.numel, child.digest
    FROM held child JOIN held parent ON child.digest = parent.digest AND parent.place < child.place
    WHERE child.holders <= {_MOST} AND child.holders > 1;
CREATE OR REPLACE TEMP TABLE bands AS
    SELECT checkpoint, place, name, shape, numel, digest, sketch, samples, band, (sketch >> (band * 16)) & 65535 AS bits
    FROM parts, (SELECT unnest([0, 1, 2, 3])::UBIGINT AS band) WHERE sketch IS NOT NULL;
CREATE OR REPLACE TEMP TABLE kin AS
    SELECT DISTINCT child, parent FROM (
        SELECT child, parent FROM same
        UNION ALL
        SELECT child.checkpoint, parent.checkpoint FROM bands child JOIN bands parent
            ON child.name = parent.name AND child.shape = parent.shape AND child.band = parent.band
            AND child.bits = parent.bits AND parent.place < child.place
        WHERE child.digest <> parent.digest AND bit_count(xor(child.sketch, parent.sketch)) <= {CLOSE}
            AND array_distance(child.samples, parent.samples) ^ 2
                <= {_FAR} * array_inner_product(child.samples, child.samples));
CREATE OR REPLACE TEMP TABLE children AS -- apart, or name and shape are joined before the checkpoints
    SELECT kin.child, kin.parent, c.name, c.shape, c.numel, c.digest, c.sketch, c.samples
    FROM kin JOIN parts c ON c.checkpoint = kin.child WHERE c.sketch IS NOT NULL;
CREATE OR REPLACE TEMP TABLE near AS
    SELECT c.child, c.parent, sum(c.numel) AS near,
        sum(c.numel * array_distance(c.samples, p.samples) ^ 2 / array_inner_product(c.samples, c.samples)) AS way
    FROM children c JOIN parts p ON p.checkpoint = c.parent AND p.name = c.name AND p.shape = c.shape
    WHERE c.digest <> p.digest AND bit_count(xor(c.sketch, p.sketch)) <= {CLOSE}
        AND array_distance(c.samples, p.samples) ^ 2 <= {_FAR} * array_inner_product(c.samples, c.samples)
    GROUP BY ALL;
CREATE OR REPLACE TEMP TABLE pairs AS
    SELECT kin.child, kin.parent, coalesce(s.shared, 0) AS shared, coalesce(near.near, 0) AS near,
        (coalesce(s.shared, 0) + coalesce(near.near, 0)) / o.numel AS similarity,
        coalesce(near.way, 0) - coalesce(s.shared, 0) - coalesce(near.near, 0) AS way, p.place
    FROM kin JOIN ordered o ON o.id = kin.child JOIN ordered p ON p.id = kin.parent
        LEFT JOIN (SELECT child, parent, sum(numel) AS shared FROM same GROUP BY ALL) s USING (child, parent)
        LEFT JOIN near USING (child, parent);
DELETE FROM lineage;
INSERT INTO lineage SELECT child, parent, shared, near, similarity FROM (
    SELECT *, row_number() OVER (PARTITION BY child ORDER BY way, place) AS best FROM pairs
    WHERE similarity >= {_LEAST}) WHERE best = 1;
"""  # noqa: S608 - the numbers are our own


_ALL = """
SELECT c.path, p.path, l.shared, l.near, l.similarity FROM lineage l
JOIN checkpoints c ON c.id = l.child JOIN checkpoints p ON p.id = l.parent
"""
_ORDER = " ORDER BY c.modified, c.path"
_FAMILY = f"""
WITH RECURSIVE above(id) AS (
    SELECT id FROM checkpoints WHERE path = ? UNION SELECT l.parent FROM lineage l JOIN above ON l.child = above.id),
family(id) AS (
    SELECT id FROM above UNION SELECT l.child FROM lineage l JOIN family ON l.parent = family.id)
{_ALL} WHERE l.child IN (SELECT id FROM family) {_ORDER}
"""  # noqa: S608 - our own text


def relate(catalog: Catalog) -> None:
    """Find the parent of each checkpoint anew."""
    catalog.connection.begin()
    try:
        catalog.connection.execute(_RELATE)
        catalog.connection.commit()
    except BaseException:
        catalog.connection.rollback()
        raise


def families(catalog: Catalog, only: str | None = None) -> list[tuple[int, str, dict[str, Any]]]:
    """The trees of checkpoints that derive from each other, as lines: how deep, which, and what it has of its parent.

    Of those alone that `only` is one of, where a path is given.
    """
    rows = catalog.rows(_ALL + _ORDER) if only is None else catalog.rows(_FAMILY, [only])
    children: dict[str, list[str]] = {}
    said: dict[str, dict[str, Any]] = {}
    parents: dict[str, str] = {}
    for child, parent, shared, near, similarity in rows:
        children.setdefault(parent, []).append(child)
        parents[child] = parent
        said[child] = {"parent": parent, "shared": int(shared), "close": int(near), "similarity": round(similarity, 6)}
    roots = sorted({name for name in children if name not in parents})
    if only is not None:
        top = only
        while top in parents:
            top = parents[top]
        roots = [top] if top in children else []
    lines: list[tuple[int, str, dict[str, Any]]] = []
    waiting = [(0, root) for root in reversed(roots)]
    while waiting:
        depth, name = waiting.pop()
        lines.append((depth, name, said.get(name, {})))
        waiting += [(depth + 1, each) for each in reversed(children.get(name, []))]
    return lines
