"""`drop` and `keep`: a tree with fewer tensors."""

from collections.abc import Iterable

from statedict import collector
from statedict.ops.apart import Parts, apart, parted, together
from statedict.ops.patterns import matching
from statedict.tree.module import Module


@collector.paused()
def drop(model: Module, *patterns: str) -> Module:
    """A tree without the tensors whose names fit one of the patterns, and without the modules that then hold none.

    Of a training checkpoint the other values go by name, too: `epoch`. Tensors are shared with `model`, which is not
    changed. Raises PatternError for a pattern that is malformed or fits nothing.
    """
    parts = apart(model)
    names = _names(parts)
    return _without(parts, matching(names, patterns, parts.modules.keys))


@collector.paused()
def keep(model: Module, *patterns: str) -> Module:
    """A tree of the tensors whose names fit one of the patterns, and of the modules that hold them.

    Otherwise as `drop`, to which it is the opposite.
    """
    parts = apart(model)
    names = _names(parts)
    return _without(parts, set(names) - matching(names, patterns, parts.modules.keys))


def _names(parts: Parts) -> list[str]:
    """The names of tensors, then those of the values in containers."""
    values = (
        f"{path}.{name}" if path else name
        for path, info in parts.modules.items()
        if info.container
        for name in info.attributes
    )
    return [*parts.index.tensors, *values]


def _without(parts: Parts, gone: set[str]) -> Module:
    """A tree without those. Modules that had no tensors stay as long as what they are in does."""
    tensors = [part for part in parts.tensors if part.name not in gone]
    left = _holders(name for name in _names(parts) if name not in gone)
    empty = _holders(parts.index.tensors) - left
    for path in parts.modules:  # parents first
        if path and path not in left and parted(path)[0] in empty:
            empty.add(path)
    moved = dict.fromkeys(empty - {""})
    return together(parts, tensors, moved, values=lambda name: name not in gone)


def _holders(names: Iterable[str]) -> set[str]:
    """The modules that hold what has these names, and those above them."""
    found: set[str] = {""}
    for name in names:
        path = parted(name)[0]
        while path not in found:
            found.add(path)
            path = parted(path)[0]
    return found
