"""`changes`: what of its tensors a tree has otherwise than another, by their descriptions; nothing is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from statedict import collector
from statedict.expressions.nodes import Computed, Leaf, Node
from statedict.index import TensorInfo
from statedict.tree.flat import flatten
from statedict.tree.module import Module

What = Literal["removed", "added", "renamed", "changed"]


class Change(NamedTuple):
    """One name that goes, comes or stands for something else."""

    what: What
    name: str | None
    before: TensorInfo | None
    new_name: str | None
    after: TensorInfo | None


@dataclass(frozen=True, slots=True)
class Changes:
    """How one tree comes from another."""

    changes: list[Change]
    unchanged: int
    """Names that stand for the same as before."""
    metadata: dict[str, tuple[Any, Any]]
    """What the whole says of itself before and after, where that differs; None where it says nothing."""

    def count(self, what: What) -> int:
        return sum(change.what == what for change in self.changes)


@collector.paused()
def changes(before: Module, after: Module) -> Changes:
    """The names that went, came or changed, in the order of `before`, what came last where nothing went for it.

    A tensor that is where it was in the file, under another name, is renamed; one that is computed from it, changed.
    Tensors are taken to be equal if they lie in the same bytes, and not compared.
    """
    old, new = flatten(before).tensors, flatten(after).tensors
    become = {name: name for name in old if name in new} | _renamed(old, new)
    found: list[Change] = []
    for name, info in old.items():
        new_name = become.get(name)
        if new_name is None:
            found.append(Change("removed", name, info, None, None))
        elif _place(new[new_name]) != _place(info):
            found.append(Change("changed", name, info, new_name, new[new_name]))
        elif new_name != name:
            found.append(Change("renamed", name, info, new_name, new[new_name]))
    unchanged, known = len(old) - len(found), set(become.values())
    found += [Change("added", None, None, name, info) for name, info in new.items() if name not in known]
    return Changes(found, unchanged, _said(before.metadata, after.metadata))


def _renamed(old: Mapping[str, TensorInfo], new: Mapping[str, TensorInfo]) -> dict[str, str]:
    """The new names of those tensors that have others: first of those that are as they were, then of what is left."""
    gone = {name: info for name, info in old.items() if name not in new}
    come = {name: info for name, info in new.items() if name not in old}
    found: dict[str, str] = {}
    for key in (_place, _origin):
        names: dict[object, list[str]] = {}
        for name, info in come.items():
            names.setdefault(key(info), []).append(name)
        for name, info in list(gone.items()):
            if alike := names.get(key(info)):
                found[name] = alike.pop(0)
                del gone[name], come[found[name]]
    return found


def _origin(info: TensorInfo) -> object:
    """The bytes that a tensor is made of, if they are those of one."""
    while info.extent is not None and isinstance(info.extent.source, Computed):
        node: Node = info.extent.source.node
        while len(node.operands) == 1:
            node = node.operands[0]
        if not isinstance(node, Leaf):
            break
        info = node.info
    return info.storage or info.extent


def _place(info: TensorInfo) -> tuple[Any, ...]:
    """What a tensor is, whatever its name."""
    return info.dtype, info.shape, info.extent, info.stride, info.encoding


def _said(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = dict.fromkeys([*before, *after])
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}
