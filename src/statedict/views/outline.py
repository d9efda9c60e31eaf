"""The nodes that a tree shows, before they are text: modules, tensors and values; alike siblings folded into one."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from statedict.narrow import is_number
from statedict.ops.select import NamedTensor, Optimizer, is_optimizer, own_modules, own_tensors
from statedict.ops.sizes import Sizes
from statedict.tree import printing
from statedict.tree.deferred import recipe_of
from statedict.tree.module import Module
from statedict.views.entries import Entries, Unlisted, joined, sizes_of
from statedict.views.values import value_text

_MOST_INLINE = 6
"""Tensors of a module without children that stand on its own line; more get a line each."""
_PLAIN_KINDS = ("", "ModuleList", "Sequential", "Sequential?", "ParameterList", "ParameterList?")
"""What adds nothing to the fold of all that it holds, which then takes its line: `layers.0-31`."""


@dataclass(slots=True)
class Node:
    """One line of the tree: a module, or a tensor that has a line of its own, or a fold of alike ones."""

    label: str
    """Its local name; "0-31" of a fold."""
    path: str
    """Its full name."""
    kind: str = ""
    details: str = ""
    """What PyTorch prints between the brackets after its kind."""
    inline: Sequence[NamedTensor] = ()
    """The tensors that stand on this line."""
    children: Sequence["Node"] = ()
    values: Sequence[tuple[str, Any]] = ()
    entries: Entries = ()
    """Every tensor in it, and in what is folded into it."""
    same_as: str | None = None
    """The name that it had before, of a module met again."""
    is_tensor: bool = False
    count: int = 1
    """How many nodes it stands for."""
    loose: bool = False
    """Whether the shapes of what it stands for differ."""
    signature: int = 0
    """Equal for nodes that look the same."""
    form: int = 0
    """Equal for nodes that look the same but for shapes; only an optimizer's have it."""
    _sizes: Sizes | None = None

    def sizes(self) -> Sizes:
        """The totals of all that it stands for: found once, and once for all that hold nothing but the same."""
        if self._sizes is None:
            (only,) = self.children if len(self.children) == 1 else (None,)
            alike = only is not None and len(only.entries) == len(self.entries)
            self._sizes = only.sizes() if alike and only is not None else sizes_of(self.entries)
        return self._sizes


class _Last(NamedTuple):
    """The node before, of a module that was not built."""

    node: Node
    like: str
    modules: int
    """How many modules there are in it, itself included."""


class Outline:
    """The nodes of a model, and the first name of each tensor that has several.

    `only` holds the names of the tensors and modules to show, with all that is in them, and the way there; None: all.
    """

    def __init__(self, model: Module, *, unfold: bool = False, only: Collection[str] | None = None) -> None:
        self._first_names: dict[int, str] = {}
        self._unfold = unfold
        self._only = only
        self._interned: dict[Any, int] = {}
        self._met: dict[int, str] = {}
        self._unbuilt = 0
        """Modules in those of `_met` that are not built."""
        self._quantizations: dict[int, str] = {}
        self.root = self._module("", "", "", model, None, whole=only is None)

    @property
    def modules(self) -> int:
        """How many modules there are, each counted once."""
        return len(self._met) + self._unbuilt

    def tied_to(self, entry: NamedTensor) -> str | None:
        """The first name of a tensor that has another than this; None where this is it."""
        first = self._first_names[id(entry.tensor)]
        return None if first == entry.name else first

    def _module(self, label: str, path: str, prefix: str, module: Module, role: Optimizer, *, whole: bool) -> Node:
        """The node of `module`. `prefix` is what its tensors' names begin with."""
        node = Node(label, path, printing.kind(module), self._details(module))
        if id(module) in self._met:
            node.same_as = self._met[id(module)]
            node.signature = node.form = self._intern("=", node.same_as)
            return node
        self._met[id(module)] = path
        whole = whole or self._asked(path)
        role = role or ("optimizer" if is_optimizer(module) else None)
        if whole and "_attributes" in module.__dict__ and (module.kind is None or module.inferred):
            node.values = list(module.attributes.items())
        node.inline = node.entries = self._tensors(prefix, module, role, whole=whole)
        if "_modules" in module.__dict__:
            node.children = list(self._modules(prefix, module, role, whole=whole))
        if node.children or len(node.inline) > _MOST_INLINE or not path:
            self._give_lines(node)
        if node.children and not self._unfold:
            node.children = list(self._folded(node.children, loosely=role == "optimizer"))
            if _only_folds(node):
                node = replace(node.children[0], label=f"{label}.{node.children[0].label}")
        self._sign(node, loosely=role == "optimizer")
        return node

    def _details(self, module: Module) -> str:
        """What it says of itself; of an inferred one only what the shapes beside it do not show."""
        if not module.inferred:
            text = module.extra_repr() if module.kind else ""
            return "" if "\n" in text else text
        quantization = module.quantization
        if quantization is None:
            return ""
        known = self._quantizations.get(id(quantization))  # thousands of layers share one
        if known is None:
            known = self._quantizations[id(quantization)] = str(quantization)
        return known

    def _asked(self, path: str) -> bool:
        return self._only is not None and path in self._only

    def _tensors(self, prefix: str, module: Module, role: Optimizer, *, whole: bool) -> list[NamedTensor]:
        entries, first_names = own_tensors(prefix, module, role), self._first_names
        for name, tensor, _, _ in entries:
            first_names.setdefault(id(tensor), name)
        return entries if whole else [entry for entry in entries if self._asked(entry.name)]

    def _modules(self, prefix: str, module: Module, role: Optimizer, *, whole: bool) -> Iterator[Node]:
        children = own_modules(module)
        skipped = _skipped([name for name, _ in children]) if whole and role is None and _is_bare(module) else {}
        last: _Last | None = None
        for local, child in children:
            path = prefix + local
            if whole and last and (node := self._alike(local, path, child, last)):
                last = last._replace(node=node)
                yield node
                continue
            recipe, met = recipe_of(child), self.modules
            node = self._module(local, path, path + ".", child, role, whole=whole)
            last = _Last(node, recipe.like, self.modules - met) if recipe else None
            if whole or node.entries or self._asked(path):
                if local in skipped:
                    yield self._gap(prefix, skipped[local])
                yield node

    def _alike(self, local: str, path: str, module: Module, last: "_Last") -> Node | None:
        """The node of a module that is not built, and need not be: it goes into one line with the last one."""
        recipe = None if self._unfold or id(module) in self._met else recipe_of(module)
        if recipe is None or recipe.like != last.like or not _follows(last.node, local):
            return None
        self._met[id(module)] = path
        self._unbuilt += last.modules - 1
        entries = last.node.entries
        like = entries.like if isinstance(entries, Unlisted) else entries
        return replace(last.node, label=local, path=path, entries=Unlisted(path + ".", module, like))

    def _gap(self, prefix: str, label: str) -> Node:
        """The line of numbers that no tensor has: modules without weights, or those of another file."""
        node = Node(label, prefix + label)
        node.signature = node.form = self._intern("gap", label)
        return node

    def _give_lines(self, node: Node) -> None:
        """Move the tensors of a module from its own line to lines before those of its children."""
        lines: list[Node] = []
        for entry in node.inline:
            line = Node(local_name(entry), entry.name, inline=[entry], entries=[entry], is_tensor=True)
            line.signature, line.form = self._intern(self._look(entry)), self._intern(entry.role, self.tied_to(entry))
            lines.append(line)
        node.children = [*lines, *node.children]
        node.inline = []
        node.entries = joined([child.entries for child in node.children])

    def _sign(self, node: Node, *, loosely: bool) -> None:
        """Give `node` the numbers that tell whether it looks as another does."""
        look: list[Any] = [node.kind, node.details]
        if node.values:
            look += [(name, value_text(value)) for name, value in node.values]
        for child in node.children:
            look += (child.label, child.signature)
        if loosely:
            node.form = self._intern(*look, *((local_name(entry), entry.role) for entry in node.inline))
        start, first_names = len(node.path) + 1 if node.path else 0, self._first_names
        for name, tensor, _, role in node.inline:  # as `_look`, without a call for each of 60,000
            info, first = tensor.info, first_names[id(tensor)]
            look += (name[start:], info.shape, info.dtype, role, None if first is name or first == name else first)
        node.signature = self._intern(*look)

    def _look(self, entry: NamedTensor) -> tuple[Any, ...]:
        info = entry.tensor.info
        return info.shape, info.dtype, self.tied_to(entry), entry.role

    def _intern(self, *parts: Any) -> int:
        return self._interned.setdefault(parts, len(self._interned))

    def _folded(self, nodes: Sequence[Node], *, loosely: bool) -> Iterator[Node]:
        run: list[Node] = []
        for node in nodes:
            if run and not _continues(run[-1], node, loosely=loosely):
                yield _fold(run)
                run = []
            run.append(node)
        if run:
            yield _fold(run)


def local_name(entry: NamedTensor) -> str:
    """The last part of a tensor's name, under which its module registered it."""
    return entry.name.rpartition(".")[2]


def _is_bare(module: Module) -> bool:
    """Whether all that is known of a module is names."""
    return not (module.class_name or module.container)


def _skipped(names: list[str]) -> dict[str, str]:
    """The numbers left out before one of `names`, by that name, where all are numbers: {"4": "2-3"}."""
    if not all(map(is_number, names)):
        return {}
    found: dict[str, str] = {}
    expected = 0
    for name in names:
        number = int(name)
        if number > expected:
            found[name] = str(expected) if number == expected + 1 else f"{expected}-{number - 1}"
        expected = number + 1
    return found


def _continues(last: Node, node: Node, *, loosely: bool) -> bool:
    """Whether `node` is the next number after `last`, and alike. Loosely, any number: old optimizers use addresses."""
    if not (last.label.isdecimal() and node.label.isdecimal() and (loosely or _follows(last, node.label))):
        return False
    alike = last.form == node.form if loosely else last.signature == node.signature
    return alike and last.is_tensor == node.is_tensor


def _follows(last: Node, label: str) -> bool:
    # The lengths first: a name of thousands of digits is no number that Python would make.
    return len(last.label) < 20 and label == str(int(last.label) + 1)


def _fold(run: list[Node]) -> Node:
    first, last = run[0], run[-1]
    if first is last:
        return first
    entries = joined([node.entries for node in run])
    loose = any(node.signature != first.signature for node in run)
    dash = "-" if all(_follows(last, node.label) for last, node in pairwise(run)) else "…"
    return replace(first, label=f"{first.label}{dash}{last.label}", entries=entries, count=len(run), loose=loose)


def _only_folds(node: Node) -> bool:
    """Whether the line of `node` can go to the one fold in it."""
    if len(node.children) != 1 or node.children[0].count == 1 or node.values or node.details:
        return False
    return bool(node.path) and node.kind in _PLAIN_KINDS and not node.label.isdecimal()
