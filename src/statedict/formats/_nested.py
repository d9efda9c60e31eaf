"""What was saved as a nested object, put together again from the path of each thing in it."""

from collections.abc import Iterable
from typing import Any

from statedict.narrow import is_dict

_Made = list[tuple[dict[Any, Any], Any]]


def nested(entries: Iterable[tuple[tuple[Any, ...], Any]]) -> dict[Any, Any]:
    """Dicts in dicts that hold each value where its path leads; lists where all keys of one are positions.

    Paths that cross, which no honest file has, get names of their own.
    """
    root: dict[Any, Any] = {}
    made: _Made = []
    for path, value in entries:
        _put(root, path, value, made)
    for above, key in reversed(made):
        held = above[key]
        if all(type(at) is int for at in held) and sorted(held) == list(range(len(held))):
            above[key] = [held[at] for at in range(len(held))]
    return root


def _put(root: dict[Any, Any], path: tuple[Any, ...], value: Any, made: _Made) -> None:
    """Put a value where its path leads, and note the dicts `made` for it, each after the one that it is in."""
    held = root
    for at, key in enumerate(path[:-1]):
        if key not in held:
            held[key] = {}
            made.append((held, key))
        inner = held[key]
        if not is_dict(inner):
            path = (".".join(map(str, path[at:])),)
            break
        held = inner
    key = path[-1]
    while key in held:
        key = f"{key}'"
    held[key] = value
