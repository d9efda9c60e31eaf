"""What a model takes, as a table of its modules and a few lines of totals, and as a JSON document."""

from collections.abc import Iterator
from typing import Any

from statedict.ops.memory import Bytes, Memory, bytes_of
from statedict.views import numbers
from statedict.views.lines import Line, escaped, fitted, name_text, padded, right, widest
from statedict.views.outline import Node, Outline
from statedict.views.table import Column, table

_MOST_DTYPES = 3
"""Element types that get a column each."""
_TOKENS = 4096
"""A context for which the KV cache is said, beside that of one token."""
_GAP = "  "


def memory_table(
    outline: Outline, found: Memory, title: str, *, depth: int | None = None, width: int | None = None
) -> list[Line]:
    """A line for each module, `depth` levels deep, each cut to `width` columns (None: never)."""
    rows = [(_GAP * level + label, bytes_of(_weights(node), found.optimizer, found.precision))
            for level, label, node in _nodes(outline.root, escaped(title), 0, depth)]  # fmt: skip
    dtypes = list(found.weights)[:_MOST_DTYPES]
    sizes = [held for _, held in rows]
    columns: list[Column | None] = [Column("", [label for label, _ in rows], "name", shrinks=True)]
    columns += [_column(dtype.short, [held.weights.get(dtype, 0) for held in sizes]) for dtype in dtypes]
    if rest := list(found.weights)[_MOST_DTYPES:]:
        columns.append(_column("others", [sum(held.weights.get(dtype, 0) for dtype in rest) for held in sizes]))
    if found.optimizer:
        columns.append(_column("gradients", [held.gradients for held in sizes]))
        columns.append(_column(found.optimizer, [held.states for held in sizes]) if found.states else None)
        columns.append(_column("f32 copy", [held.master for held in sizes]) if found.master else None)
    columns.append(_column("total", [held.total for held in sizes]))
    return table([column for column in columns if column], width)


def _column(title: str, sizes: list[int]) -> Column:
    return Column(title, [numbers.size(size) if size else "" for size in sizes], to_right=True)


def _weights(node: Node) -> list[Any]:
    return [entry for entry in node.entries if entry.role != "optimizer"]


def _nodes(node: Node, label: str, level: int, depth: int | None) -> Iterator[tuple[int, str, Node]]:
    """The nodes of modules that hold weights, parents first, each with how deep it is and its label."""
    yield level, label, node
    if depth is not None and level >= depth:
        return
    for child in node.children:
        if not child.is_tensor and _weights(child):
            count = f" ({child.count:,}x)" if child.count > 1 else ""
            yield from _nodes(child, name_text(child.label) + count, level + 1, depth)


def memory_totals(found: Memory, width: int | None = None) -> list[Line]:
    """What it comes to: an amount, what takes it, and a remark; each line cut to `width` columns (None: never)."""
    rows = [(numbers.size(sum(found.weights.values())), "weights", _by_dtype(found))]
    if found.optimizer:
        trained = numbers.counted(found.trainable, "trainable parameter")
        rows.append((numbers.size(found.gradients), "gradients", f"of {trained}"))
        if found.states:
            rows.append((numbers.size(found.states), f"{found.optimizer} states", ""))
        if found.master:
            rows.append((numbers.size(found.master), "float32 copies", "of the trainable parameters"))
        rows.append((numbers.size(found.total), "to train", "without activations"))
    if found.cache:
        rows.append((numbers.size(found.cache.per_token), "KV cache a token", _cache_remark(found)))
    amounts, words = widest([row[0] for row in rows]), widest([row[1] for row in rows])
    return [
        fitted([(right(amount, amounts), "number"), (" " + padded(word, words), ""), (_GAP + remark, "dim")], width)
        for amount, word, remark in rows
    ]


def _by_dtype(found: Memory) -> str:
    if len(found.weights) == 1:
        return next(iter(found.weights)).name
    return ", ".join(f"{dtype.name} {numbers.size(size)}" for dtype, size in found.weights.items())


def _cache_remark(found: Memory) -> str:
    cache = found.cache
    if cache is None:
        return ""
    layers = numbers.counted(cache.layers, "layer")
    window = f", {cache.windowed} of them the last {cache.window:,} tokens only" if cache.window else ""
    whole = numbers.size(cache.nbytes(_TOKENS))
    return f"{layers} of {cache.width:,} {cache.dtype.short} values{window}; {whole} for {_TOKENS:,} tokens"


def memory_fields(found: Memory) -> dict[str, Any]:
    """The same as what JSON has, all modules by name."""
    cache = found.cache
    return {
        "optimizer": found.optimizer,
        "precision": found.precision,
        **_fields(found),
        "trainable": found.trainable,
        "kv_cache": None if cache is None else {
            "per_token": cache.per_token,
            "layers": cache.layers,
            "width": cache.width,
            "dtype": cache.dtype.name,
            "windowed": cache.windowed,
            "window": cache.window,
        },
        "modules": {name: _fields(held) for name, held in found.modules.items() if name},
    }  # fmt: skip


def _fields(held: Bytes) -> dict[str, Any]:
    return {
        "weights": {dtype.name: size for dtype, size in held.weights.items()},
        "gradients": held.gradients,
        "states": held.states,
        "master": held.master,
        "total": held.total,
    }
