"""What the keys of a state dict that does not fit may have been meant to be."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statedict.tree.tensor import Tensor

_MOST = 3
_MOST_COMPARED = 1_000
"""Comparing names takes some 20 µs each: more of them are not worth the wait for an error's text."""


def of_keys(wanted: "Mapping[str, Tensor]", given: "Mapping[str, Tensor]", unexpected: Sequence[str]) -> list[str]:
    """What the keys that a state dict has too many may be: lines for the end of `load_state_dict`'s error.

    `wanted` are the missing tensors by key, `given` those of the state dict.
    """
    if not wanted or not unexpected:
        return []
    for part in (_first_part(unexpected), _first_part(list(wanted))):
        prefix = part + "."
        if part and sum(key.removeprefix(prefix) in wanted for key in unexpected) == len(wanted):
            return [
                f"Every unexpected key begins with `{prefix}`; load `{{key.removeprefix({prefix!r}): ...}}` instead."
            ]
        if part and sum(prefix + key in wanted for key in unexpected) == len(wanted):
            return [f"Every missing key begins with `{prefix}`; load `{{{prefix!r} + key: ...}}` instead."]
    renames = _renames(wanted, {key: given[key] for key in unexpected if key in given})
    return [f"Perhaps meant: {'; '.join(renames)}."] if renames else []


def _first_part(keys: Sequence[str]) -> str:
    """The first part of the keys' names, where all have the same."""
    parts = {key.partition(".")[0] for key in keys}
    return parts.pop() if len(parts) == 1 else ""


def _renames(wanted: "Mapping[str, Tensor]", given: "Mapping[str, Tensor]") -> list[str]:
    import difflib  # only an error's text needs it

    by_shape: dict[object, list[str]] = {}
    for key, tensor in given.items():
        by_shape.setdefault(tensor.shape, []).append(key)
    found: list[str] = []
    for key, tensor in wanted.items():
        same = by_shape.get(tensor.shape, [])
        for match in difflib.get_close_matches(key, same[:_MOST_COMPARED], 1):
            found.append(f"`{match}` for `{key}`, of the same shape {tensor.shape}")
        if len(found) == _MOST:
            break
    return found
