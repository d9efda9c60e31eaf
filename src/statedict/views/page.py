"""What a page shows of a checkpoint, made once: its tree as columns of small numbers, however large it is.

The page in the browser, the report and what draws on them read the same columns; a tree of 60,000 tensors takes about
2 MB of JSON, as names, kinds and shapes that come again are written once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from statedict import collector
from statedict.index import EMPTY, TensorInfo
from statedict.ops.select import NamedTensor, Optimizer, is_optimizer, own_modules, own_tensors
from statedict.ops.sizes import Sizes, sizes
from statedict.tree import printing
from statedict.tree.module import Module
from statedict.tree.roles import Role

ROLES: tuple[Role | None, ...] = (None, "parameter", "buffer", "optimizer")
"""What the numbers in the column `role` stand for; None is a module."""


class Spec(NamedTuple):
    """What many tensors have in common."""

    dtype: str
    """The short name of the element type: "bf16"."""
    shape: tuple[int, ...] | None
    numel: int
    nbytes: int
    plain: bool
    """Whether its elements can be looked at: it is neither sparse nor meta, and nothing but numbers."""


class NamedModule(NamedTuple):
    """One name of one module."""

    name: str
    module: Module


@dataclass(slots=True)
class Page:
    """A tree, walked parents first: each column has one entry for each module and for each name of a tensor."""

    depth: list[int] = field(default_factory=list[int])
    label: list[int] = field(default_factory=list[int])
    """The local name, as a number of `labels`."""
    role: list[int] = field(default_factory=list[int])
    what: list[int] = field(default_factory=list[int])
    """Of a module its kind, as a number of `kinds`; of a tensor its number in `specs`."""
    look: list[int] = field(default_factory=list[int])
    """Equal for what is the same but for its name: of blocks that come again."""
    labels: list[str] = field(default_factory=list[str])
    kinds: list[str] = field(default_factory=list[str])
    specs: list[Spec] = field(default_factory=list[Spec])
    same: dict[int, int] = field(default_factory=dict[int, int])
    """Of a tensor or module that has been met before under another name: where."""
    members: list[NamedTensor | NamedModule] = field(default_factory=list[NamedTensor | NamedModule])
    """What each entry is."""

    def tensors(self) -> Iterator[tuple[int, NamedTensor]]:
        """Every name of every tensor, with the number of its entry."""
        for at, member in enumerate(self.members):
            if isinstance(member, NamedTensor):
                yield at, member

    def sizes(self) -> Sizes:
        """The totals of all."""
        return sizes(entry for _, entry in self.tensors())

    def columns(self) -> dict[str, Any]:
        """The tree as JSON has it."""
        return {
            "depth": self.depth,
            "label": self.label,
            "role": self.role,
            "what": self.what,
            "look": self.look,
            "labels": self.labels,
            "kinds": self.kinds,
            "specs": self.specs,
            "same": [[at, first] for at, first in self.same.items()],
        }


@collector.paused()
def page(model: Module) -> Page:
    """The page of a model. Nothing is read."""
    return _Walk(model).page


class _Walk:
    """One walk through a tree."""

    def __init__(self, model: Module) -> None:
        self.page = Page()
        self._labels: dict[str, int] = {}
        self._kinds: dict[str, int] = {}
        self._specs: dict[Any, int] = {}
        self._first: dict[int, int] = {}
        """Where each tensor and module was met first, by its `id`."""
        self._go(model)
        self._sign()

    def _go(self, model: Module) -> None:
        waiting: list[tuple[int, str, str, Module, Optimizer]] = [(0, "", "", model, None)]
        while waiting:
            depth, label, path, module, role = waiting.pop()
            at = self._add(depth, label, 0, self._kind(module), NamedModule(path, module))
            if self._met(module, at):
                continue
            role = role or ("optimizer" if is_optimizer(module) else None)
            head = path + "." if depth else ""
            for entry in own_tensors(head, module, role):
                number = ROLES.index(entry.role)
                self._met(entry.tensor, self._add(depth + 1, entry.name[len(head) :], number, self._spec(entry), entry))
            for name, child in reversed(own_modules(module)):
                waiting.append((depth + 1, name, head + name, child, role))

    def _add(self, depth: int, label: str, role: int, what: int, member: NamedTensor | NamedModule) -> int:
        page, labels = self.page, self._labels
        number = labels.get(label)
        if number is None:
            number = labels[label] = len(labels)
            page.labels.append(label)
        page.depth.append(depth)
        page.label.append(number)
        page.role.append(role)
        page.what.append(what)
        page.members.append(member)
        return len(page.members) - 1

    def _met(self, held: object, at: int) -> bool:
        first = self._first.setdefault(id(held), at)
        if first != at:
            self.page.same[at] = first
        return first != at

    def _kind(self, module: Module) -> int:
        kind = printing.kind(module)
        if kind not in self._kinds:
            self._kinds[kind] = len(self._kinds)
            self.page.kinds.append(kind)
        return self._kinds[kind]

    def _spec(self, entry: NamedTensor) -> int:
        info = entry.tensor.info
        key = (info.dtype, info.shape, is_plain(info), info.nbytes if info.encoding.parts else 0)
        number = self._specs.get(key)
        if number is None:
            number = self._specs[key] = len(self._specs)
            self.page.specs.append(Spec(info.dtype.short, info.shape, info.numel, info.nbytes, key[2]))
        return number

    def _sign(self) -> None:
        """Fill the column `look`, from the last entry to the first, so that what is in a module is known before it."""
        page, known = self.page, dict[Any, int]()
        below: dict[int, list[int]] = {}
        look = [0] * len(page.depth)
        for at in range(len(look) - 1, -1, -1):
            depth = page.depth[at]
            inside = below.pop(depth + 1, ())
            first = page.same.get(at)
            key = (page.role[at], page.what[at], first, *inside)
            number = look[at] = known.setdefault(key, len(known))
            below.setdefault(depth, []).extend((page.label[at], number))
        page.look = look


def is_plain(info: TensorInfo) -> bool:
    """Whether a tensor's elements can be had one by one."""
    known = info.shape is not None and info.extent is not None
    return known and info.encoding.layout == "strided" and not info.dtype.quantized and not info.encoding.parts


def head_fields(
    page: Page, file: str, format: str, file_size: int, metadata: Mapping[str, Any] = EMPTY
) -> dict[str, Any]:
    """What there is to say of a whole checkpoint, as JSON has it."""
    total = page.sizes()
    return {
        "file": file,
        "format": format,
        "file_size": file_size,
        "nbytes": total.nbytes,
        "tensors": total.tensors,
        "modules": sum(role == 0 for role in page.role) - sum(page.role[at] == 0 for at in page.same),
        "elements": {
            role: {dtype.short: count for dtype, count in held.items()} for role, held in total.elements.items()
        },
        "metadata": {str(key): str(value)[:2000] for key, value in metadata.items()},
    }


FIGURES = ("min", "max", "mean", "std", "rms", "zeros", "nan", "infinite")
"""What is said of each tensor's numbers in the columns of `figure_columns`."""


def figure_columns(page: Page, figures: Mapping[str, Sequence[float | int | None]]) -> dict[str, list[Any]]:
    """Figures by the first name of each tensor as columns: the numbers of entries, and a list for each of `FIGURES`."""
    found: dict[str, list[Any]] = {"at": [], **{name: [] for name in FIGURES}}
    for at, entry in page.tensors():
        row = figures.get(entry.name)
        if row is not None:
            found["at"].append(at)
            for name, value in zip(FIGURES, row, strict=True):
                found[name].append(value)
    return found
