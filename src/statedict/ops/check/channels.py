"""Channels that do nothing, or the same as others: rows of zeros, and rows that are equal to the last bit."""

from collections.abc import Iterator, Sequence

from statedict.ops.check.figures import Figures
from statedict.ops.check.finding import Finding
from statedict.ops.check.values import begins_so
from statedict.ops.fingerprint import fingerprints
from statedict.tree.tensor import Tensor

_SHOWN = 10
_MANY = 0.5
_MOST_READ = 1_000
"""Rows that are read again, at most."""
_MOST_READ_BYTES = 64 << 20


def dead(each: Figures) -> Iterator[Finding]:
    """Outputs or inputs of a weight of which every element is zero."""
    if each.structure is None or each.summary.zeros == each.summary.count or each.is_mask:
        return
    padding = 1 if "Embedding" in (each.entry.owner.kind or "") else 0
    for axis, found in each.structure.dead.items():
        if found.count > padding and found.size < each.summary.count:
            outputs = axis in ("rows", "output_channels")
            yield Finding(
                "dead",
                each.name,
                "warning" if found.count >= _MANY * found.size and outputs and not padding else "note",
                f"{found.count:,} of {found.size:,} {axis.replace('_', ' ')} hold nothing but zeros: "
                f"{_listed(found.indices, found.count)}",
                "tokens that were never trained: see that none of them is used"
                if padding
                else "they do nothing: they can be pruned, or were never trained",
                {"axis": axis, "count": found.count, "size": found.size, "indices": list(found.indices)},
            )


def equal(each: Figures) -> Iterator[Finding]:
    """Rows of a weight that are equal to others; zeros are `dead`, and all the same number is `constant`."""
    if each.alike is None or not each.alike.suspects or each.summary.min == each.summary.max or each.is_mask:
        return
    lots = _equal(each.entry.tensor, each.alike.suspects)
    count = sum(map(len, lots))
    if count:
        embedding = "Embedding" in (each.entry.owner.kind or "") or begins_so(each)
        first = next(iter(lots))
        yield Finding(
            "equal-rows",
            each.name,
            "warning" if count >= _MANY * each.alike.rows and not embedding else "note",
            f"{count:,} of {each.alike.rows:,} rows are equal to another: {_listed(tuple(first), len(first))}",
            "tokens that were added, and never trained apart"
            if embedding
            else "they began alike and stay so: initialise them with random numbers, or keep one of them",
            {"count": count, "rows": each.alike.rows, "equal": [lot[:_SHOWN] for lot in lots[:_SHOWN]]},
        )


def _equal(tensor: Tensor, suspects: Sequence[int]) -> list[list[int]]:
    """The rows, by index, that are equal to others, a list for each lot; those that are suspected are read."""
    most = min(_MOST_READ, max(2, _MOST_READ_BYTES // max(1, tensor.nbytes // tensor.size(0))))
    digests = fingerprints({str(at): tensor[at] for at in suspects[:most]}, threads=1)
    lots: dict[str, list[int]] = {}
    for at, digest in digests.items():
        lots.setdefault(digest, []).append(int(at))
    return [lot for lot in lots.values() if len(lot) > 1]


def _listed(indices: tuple[int, ...], count: int) -> str:
    return ", ".join(map(str, indices[:_SHOWN])) + (", …" if count > _SHOWN else "")
