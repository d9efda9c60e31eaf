"""Which square matrices are transposed: their shapes do not tell, but those of the matrices beside them do."""

from collections.abc import Iterable, Iterator, Mapping

from statedict.index import TensorInfo
from statedict.narrow import is_number
from statedict.ops.match.findings import Found
from statedict.ops.match.words import meaning

_MATRIX = 2
_TABLES = frozenset({"embed", "position"})
"""Embeddings are tables, which nobody transposes."""


def turned(
    found: Iterable[Found], sources: Mapping[str, TensorInfo], targets: Mapping[str, TensorInfo]
) -> Iterator[Found]:
    """The same, with square matrices transposed where all others of their module, or of one around it, are."""
    found = list(found)
    votes = _votes(found, sources, targets)
    for each in found:
        if _is_square(each, sources, targets) and _is_turned(each.target, votes):
            recipe = each.recipe._replace(transpose=True)
            yield each._replace(
                recipe=recipe,
                confidence=min(each.confidence, 0.8),
                reason=f"{each.reason}; transposed as those beside it",
            )
        else:
            yield each


def _votes(
    found: Iterable[Found], sources: Mapping[str, TensorInfo], targets: Mapping[str, TensorInfo]
) -> dict[str, set[bool]]:
    """Which of transposed and not there is among the matrices of each module whose shapes tell."""
    votes: dict[str, set[bool]] = {}
    for each in found:
        shape = targets[each.target].shape or ()
        telling = len(shape) == _MATRIX and not _is_table(each.target) and not _is_square(each, sources, targets)
        if telling and each.recipe.shape is None:
            for path in _above(each.target):
                votes.setdefault(path, set()).add(each.recipe.transpose)
    return votes


def _is_turned(name: str, votes: Mapping[str, set[bool]]) -> bool:
    said = next((votes[path] for path in _above(name) if path in votes), set[bool]())
    return said == {True}


def _is_square(each: Found, sources: Mapping[str, TensorInfo], targets: Mapping[str, TensorInfo]) -> bool:
    """Whether a matrix could as well be transposed, for all that its shape tells."""
    if (
        each.recipe.joined > 1
        or each.recipe.part is not None
        or each.recipe.shape is not None
        or _is_table(each.target)
    ):
        return False
    *stacked, rows, columns = (0, 0, *(targets[each.target].shape or ()))
    return rows == columns > 1 and len(stacked) == _MATRIX + each.recipe.stack


def _is_table(name: str) -> bool:
    return any(word in _TABLES for part in name.split(".") for word in meaning(part))


def _above(name: str) -> Iterator[str]:
    """The modules that a tensor is in, its own first; those in lists as the list's."""
    parts = ["*" if is_number(part) else part for part in name.split(".")[:-1]]
    for end in range(len(parts), -1, -1):
        yield ".".join(parts[:end])
