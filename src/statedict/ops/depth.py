"""How deep in a model each tensor lies, counted in its repeated blocks: what layer-wise learning rates need."""
# pyright: reportPrivateUsage=false

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from statedict.errors import StatedictError
from statedict.ops.patterns import matching
from statedict.ops.select import own_modules, own_parameters
from statedict.tree.containers import ModuleList, Sequential
from statedict.tree.module import Module

_FEWEST = 2
"""Alike children that make a row of blocks."""


class Depth(NamedTuple):
    """Where a tensor lies: `layer` 0 is before the first block, 1 in the first, `layers` behind the last."""

    layer: int
    layers: int

    @property
    def below_top(self) -> int:
        return self.layers - self.layer


def depths(model: Module, blocks: str | None = None) -> Mapping[str, Depth]:
    """The depth of each parameter by full name, each of a tied one's names included.

    Blocks are the children of containers that hold several alike ones with children of their own (`ModuleList`,
    `Sequential`), the outermost counting; or the modules that the pattern `blocks` fits. Rows of blocks that stand in
    one module follow each other (`layer1` to `layer4` of a ResNet); those in different ones (two towers, an encoder
    and a decoder) lie side by side, and each has its own first and last block. A module's own parameters lie before its
    children.

    Raises StatedictError where there are no such blocks, PatternError for a pattern that fits none.
    """
    named = dict(model.named_modules(remove_duplicate=False))
    rows = _rows(model) if blocks is None else _given(named, blocks)
    if not rows:
        raise StatedictError(
            "no blocks repeat in this model, so its layers have no depth; say which modules follow each other: "
            "`sd.layer_decay(0.75, blocks='features.*')`"
        )
    found: dict[str, Depth] = {}
    _Walk(rows, found).into(model, "")
    return found


def _rows(model: Module) -> dict[str, str]:
    """The full name of each block, and of the module in which its row stands."""
    found: dict[str, str] = {}

    def look(module: Module, head: str, parent: str) -> None:
        children = [(head + name, child) for name, child in own_modules(module)]
        if _is_row(module) and _repeats(child for _, child in children):
            found.update({name: parent for name, child in children if any(True for _ in child.parameters())})
            return
        for name, child in children:
            look(child, name + ".", head[:-1])

    look(model, "", "")
    return found


def _is_row(module: Module) -> bool:
    if isinstance(module, ModuleList | Sequential) or module.kind in ("ModuleList", "Sequential"):
        return True
    names = [name for name, _ in own_modules(module)]
    return module.kind is None and all(map(str.isdecimal, names))  # as a state dict shows one


def _repeats(children: Iterable[Module]) -> bool:
    kinds = Counter(child.class_name or child.kind for child in children if own_modules(child))
    return bool(kinds) and max(kinds.values()) >= _FEWEST


def _given(named: Mapping[str, Module], pattern: str) -> dict[str, str]:
    """Modules that a pattern fits, without those inside of one that it fits; all of them in one row."""
    fits = matching([name for name in named if name], [pattern])
    inside = {name for name in fits if any(name.startswith(other + ".") for other in fits)}
    ordered = [name for name in named if name in fits - inside]
    return dict.fromkeys(ordered, _common(ordered))


def _common(names: list[str]) -> str:
    """The innermost module that all of these are in."""
    parts = [name.split(".")[:-1] for name in names]
    shared = 0
    while all(len(each) > shared and each[shared] == parts[0][shared] for each in parts):
        shared += 1
    return ".".join(parts[0][:shared])


class _Walk:
    """One pass over the tree in its order, which counts the blocks that were passed."""

    def __init__(self, rows: Mapping[str, str], found: dict[str, Depth]) -> None:
        self._rows = rows
        self._found = found
        self._lengths = Counter(rows.values())
        self._passed: Counter[str] = Counter()

    def into(self, module: Module, head: str) -> None:
        """Give all in `module`, which is no block nor in one, their depths."""
        rows = self._inside(head)
        for name, _ in own_parameters(module):
            self._found[head + name] = self._between(rows)
        for name, child in own_modules(module):
            self._child(child, head + name, rows)

    def _child(self, child: Module, name: str, rows: list[str]) -> None:
        if name in self._rows:
            row = self._rows[name]
            self._passed[row] += 1
            self._all(child, name, Depth(self._passed[row], self._lengths[row] + 1))
        elif self._inside(name + "."):
            self.into(child, name + ".")
        else:
            self._all(child, name, self._between(rows))

    def _all(self, module: Module, name: str, depth: Depth) -> None:
        for local, _ in module.named_parameters(remove_duplicate=False):
            self._found[f"{name}.{local}"] = depth

    def _inside(self, head: str) -> list[str]:
        """The rows of which a block lies below the module with these first parts."""
        return list(dict.fromkeys(row for block, row in self._rows.items() if block.startswith(head)))

    def _between(self, rows: list[str]) -> Depth:
        """Before the first of these rows, behind the last that ended, or between two blocks of one."""
        begun = [row for row in rows if self._passed[row]]
        if not begun:
            layers = max(self._lengths[row] for row in rows) + 1
            return Depth(0, layers)
        row = begun[-1]
        layers = self._lengths[row] + 1
        return Depth(layers if self._passed[row] == self._lengths[row] else self._passed[row], layers)
