"""What a page shows of a checkpoint, made once: its tree as columns of small numbers, however large it is.

The page in the browser, the report and what draws on them read the same columns; a tree of 60,000 tensors takes about
2 MB of JSON, as names, kinds and shapes that come again are written once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from statedict import collector
from statedict.index import EMPTY, PLAIN, TensorInfo
from statedict.ops.select import NamedTensor, Optimizer, is_optimizer, own_modules, own_tensors
from statedict.ops.sizes import covered
from statedict.tree import printing
from statedict.tree.module import Module
from statedict.tree.roles import Role

ROLES: tuple[Role | None, ...] = (None, "parameter", "buffer", "optimizer")
"""What the numbers in the column `role` stand for; None is a module."""
_NUMBERS = {role: number for number, role in enumerate(ROLES)}


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
        # A tree may have 100,000 entries: what is done for each of them is written out.
        page, seen = self.page, self._first
        depths, roles, whats, members = page.depth, page.role, page.what, page.members
        waiting: list[tuple[int, str, str, Module, Optimizer]] = [(0, "", "", model, None)]
        while waiting:
            depth, label, path, module, role = waiting.pop()
            at = len(members)
            depths.append(depth)
            self._add_label(label)
            roles.append(0)
            whats.append(self._kind(module))
            members.append(NamedModule(path, module))
            first = seen.setdefault(id(module), at)
            if first != at:
                page.same[at] = first
                continue
            below = module.__dict__.get("_modules")
            if below:
                role = role or ("optimizer" if is_optimizer(module) else None)
            head = path + "." if depth else ""
            for entry in own_tensors(head, module, role):
                at = len(members)
                depths.append(depth + 1)
                self._add_label(entry.name[len(head) :])
                roles.append(_NUMBERS[entry.role])
                whats.append(self._spec(entry.tensor.info))
                members.append(entry)
                first = seen.setdefault(id(entry.tensor), at)
                if first != at:
                    page.same[at] = first
            if below:
                for name, child in reversed(own_modules(module)):
                    waiting.append((depth + 1, name, head + name, child, role))

    def _add_label(self, label: str) -> None:
        number = self._labels.get(label)
        if number is None:
            number = self._labels[label] = len(self._labels)
            self.page.labels.append(label)
        self.page.label.append(number)

    def _kind(self, module: Module) -> int:
        kind = printing.kind(module)
        number = self._kinds.get(kind)
        if number is None:
            number = self._kinds[kind] = len(self._kinds)
            self.page.kinds.append(kind)
        return number

    def _spec(self, info: TensorInfo) -> int:
        plain = is_plain(info)
        key = (info.dtype, info.shape, plain, 0 if plain else info.nbytes)
        number = self._specs.get(key)
        if number is None:
            number = self._specs[key] = len(self._specs)
            self.page.specs.append(Spec(info.dtype.short, info.shape, info.numel, info.nbytes, plain))
        return number

    def _sign(self) -> None:
        """Fill the column `look`, from the last entry to the first, so that what is in a module is known before it."""
        page, known = self.page, dict[Any, int]()
        labels, roles, whats, same = page.label, page.role, page.what, page.same
        below: list[list[int]] = [[] for _ in range(max(page.depth, default=0) + 2)]
        look = page.look = [0] * len(roles)
        for at in range(len(look) - 1, -1, -1):
            depth = page.depth[at]
            inside = below[depth + 1]
            if inside:
                below[depth + 1] = []
            number = look[at] = known.setdefault((roles[at], whats[at], same.get(at), *inside), len(known))
            below[depth] += (labels[at], number)


def is_plain(info: TensorInfo) -> bool:
    """Whether a tensor's elements can be had one by one."""
    if info.shape is None or info.extent is None or info.dtype.quantized:
        return False
    return info.encoding is PLAIN or (info.encoding.layout == "strided" and not info.encoding.parts)


def head_fields(
    page: Page, file: str, format: str, file_size: int, metadata: Mapping[str, Any] = EMPTY
) -> dict[str, Any]:
    """What there is to say of a whole checkpoint, as JSON has it."""
    infos = {id(entry.tensor): entry.tensor.info for _, entry in page.tensors()}
    return {
        "file": file,
        "format": format,
        "file_size": file_size,
        "nbytes": covered(infos.values()),
        "tensors": len(infos),
        "modules": page.role.count(0) - sum(page.role[at] == 0 for at in page.same),
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
