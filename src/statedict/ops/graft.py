"""`graft`: a tree with tensors of another."""

from statedict import collector
from statedict.ops.apart import Part, apart, together
from statedict.ops.patterns import matching
from statedict.tree.module import Module


@collector.paused()
def graft(model: Module, other: Module, *patterns: str) -> Module:
    """A tree with those tensors of `other` whose names fit one of the patterns (all, when there is none).

    They take the place of tensors of the same names, whatever their shapes, or come behind the others; they keep their
    roles. Modules that `model` has not are described as in `other`. Neither is changed. Raises PatternError for a
    pattern that is malformed or fits nothing.
    """
    mine, theirs = apart(model), apart(other)
    names = list(theirs.index.tensors)
    wanted = matching(names, patterns, theirs.modules.keys) if patterns else set(names)
    new = {part.name: part for part in theirs.tensors if part.name in wanted}
    tensors: list[Part] = [new.pop(part.name, part) for part in mine.tensors]
    paths = {path for name in wanted for path in _above(name)}
    added = {path: info for path, info in theirs.modules.items() if path in paths and path not in mine.modules}
    return together(mine, [*tensors, *new.values()], others=added)


def _above(name: str) -> list[str]:
    """The names of the modules that a tensor is in."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts))]
