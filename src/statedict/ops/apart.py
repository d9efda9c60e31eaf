"""A tree taken apart into its named tensors and modules, and one put together of them under other names."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from statedict.index import EMPTY, Index, ModuleInfo, TensorInfo
from statedict.tree.build import build
from statedict.tree.flat import flatten
from statedict.tree.module import Module


class Part(NamedTuple):
    """One name of one tensor."""

    name: str
    info: TensorInfo
    is_buffer: bool = False
    is_persistent: bool = True
    was: str | None = None
    """Its name before; None: as it is, or of another tree."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The tensors of a tree in its order, and what is said of its modules."""

    tensors: list[Part]
    index: Index

    @property
    def modules(self) -> Mapping[str, ModuleInfo]:
        return self.index.modules


def apart(model: Module) -> Parts:
    """A tree taken apart. It is not changed, nor is what is made of its parts: they are shared."""
    index = flatten(model)
    tensors: list[Part] = []
    for name, info in index.tensors.items():
        path, local = parted(name)
        owner = index.modules[path]
        tensors.append(Part(name, info, local in owner.buffers, local not in owner.non_persistent))
    return Parts(tensors, index)


def parted(name: str) -> tuple[str, str]:
    """The name of the owner and the local name."""
    path, _, local = name.rpartition(".")
    return path, local


T = TypeVar("T")


def changed(model: Module, wanted: Mapping[str, T], change: Callable[[TensorInfo, T], TensorInfo]) -> Module:
    """A tree of the same names, in which each wanted tensor is what `change` makes of it, under all its names."""
    index = flatten(model)
    values = {id(index.tensors[name]): value for name, value in wanted.items()}
    made = {id(info): info for info in index.tensors.values()}
    made |= {key: change(made[key], value) for key, value in values.items()}
    tensors = {name: made[id(info)] for name, info in index.tensors.items()}
    return build(Index(index.format, index.source, tensors, index.modules, index.metadata))


def with_metadata(model: Module, metadata: Mapping[str, Any]) -> Module:
    """The same tree, saying that of itself as a whole."""
    return build(dataclasses.replace(flatten(model), metadata=metadata))


def together(
    parts: Parts,
    tensors: Iterable[Part],
    moved: Mapping[str, str | None] = EMPTY,
    *,
    values: Callable[[str], bool] = lambda _: True,
    others: Mapping[str, ModuleInfo] = EMPTY,
) -> Module:
    """A tree of these tensors, in their roles, with the modules of `parts`.

    `moved` gives modules' new names, None to those that go. `values` says of the full name of an attribute of a
    container whether it is kept. `others` describes modules that `parts` has not.
    """
    putting = _Putting(parts, moved, values)
    for path, info in others.items():
        putting.places.setdefault(path, _Place(info=info))
    for part in tensors:
        putting.tensor(part)
    return build(putting.index())


class _Place:
    """A module to be: what it holds, and what was said of it."""

    __slots__ = ("children", "info", "tensors", "was")

    def __init__(self, was: str | None = None, info: ModuleInfo | None = None) -> None:
        self.was = was
        self.info = info
        self.tensors: list[tuple[str, Part]] = []
        self.children: list[str] = []


class _Putting:
    """The places so far, by name."""

    def __init__(self, parts: Parts, moved: Mapping[str, str | None], values: Callable[[str], bool]) -> None:
        self._old = parts.index
        self._values = values
        self._moved = moved
        self.places: dict[str, _Place] = {}
        for path, info in parts.modules.items():
            target = moved.get(path, path)
            if target is not None:
                self._module(target, path, info)
        self.places.setdefault("", _Place())

    def _module(self, target: str, path: str, info: ModuleInfo) -> None:
        """Put a module to its place. Of two, the one that was there counts, unless it is a dict or list of others."""
        known = self.places.get(target)
        if known is None or known.info is None:
            self.places[target] = _Place(path, info)
            return
        first, second = known.info, info
        if first.container and not second.container:
            first, second = second, first
            known.was = path
        attributes = {**(second.attributes if second.container else EMPTY), **first.attributes}
        known.info = dataclasses.replace(first, attributes=attributes) if attributes != first.attributes else first

    def tensor(self, part: Part) -> None:
        path, local = parted(part.name)
        self.places.setdefault(path, _Place()).tensors.append((local, part))

    def index(self) -> Index:
        """All that was put, with each module saying what it holds."""
        for path in list(self.places):
            while path and (above := parted(path)[0]) not in self.places:
                self.places[above] = _Place()
                path = above
        for path in self.places:
            if path:
                above, local = parted(path)
                self.places[above].children.append(local)
        made = self._infos()
        modules = {path: made[path] for path in self.places}
        tensors = {
            f"{path}.{local}" if path else local: part.info
            for path, place in self.places.items()
            for local, part in place.tensors
        }
        return Index("memory", self._old.source, tensors, modules, self._old.metadata)

    def _infos(self) -> dict[str, ModuleInfo]:
        """What is said of each module, by its name; one that was shared and still holds the same is shared."""
        made: dict[str, ModuleInfo] = {}
        alike: dict[Any, ModuleInfo] = {}
        for path in sorted(self.places, key=lambda path: -path.count(".") if path else 1):
            place = self.places[path]
            children = tuple((local, id(made[_joined(path, local)])) for local in place.children)
            held = tuple((local, id(part.info), part.is_buffer, part.is_persistent) for local, part in place.tensors)
            key = (id(place.info) if place.info else path, place.info is None, children, held)
            if key not in alike:
                alike[key] = self._info(place)
            made[path] = alike[key]
        return made

    def _info(self, place: _Place) -> ModuleInfo:
        was, info = place.was, place.info or ModuleInfo()
        renamed: dict[str, str] = {}
        absent: set[str] = set()
        attributes = info.attributes
        if was is not None:
            names = ((local, parted(part.was or part.name)) for local, part in place.tensors)
            renamed = {before: local for local, (path, before) in names if path == was}
            absent = {name for name in info.parameters + info.buffers if _joined(was, name) not in self._old.tensors}
            if info.container:
                attributes = {name: value for name, value in attributes.items() if self._values(_joined(was, name))}
        buffers = [local for local, part in place.tensors if part.is_buffer]
        fleeting = {local for local, part in place.tensors if part.is_buffer and not part.is_persistent}
        return dataclasses.replace(
            info,
            attributes=attributes,
            parameters=_ordered(
                info.parameters, renamed, absent, [n for n, part in place.tensors if not part.is_buffer]
            ),
            buffers=_ordered(info.buffers, renamed, absent, buffers),
            non_persistent=frozenset(fleeting | info.non_persistent & absent),
            modules=self._children(place, info),
            keys=self._keys(place, info, renamed, attributes),
        )

    def _children(self, place: _Place, info: ModuleInfo) -> tuple[str, ...]:
        """The names of the modules in a place, in the order in which they stood there."""
        if place.was is None:
            return tuple(place.children)
        renamed, absent = dict[str, str](), set[str]()
        for local in info.modules:
            path = _joined(place.was, local)
            if path not in self._old.modules:
                absent.add(local)
            elif (target := self._moved.get(path, path)) is not None:
                renamed[local] = parted(target)[1]
        return _ordered(info.modules, renamed, absent, place.children)

    def _keys(
        self, place: _Place, info: ModuleInfo, renamed: Mapping[str, str], attributes: Mapping[str, Any]
    ) -> Mapping[Any, Any]:
        """The keys of a dict: those of what is still there."""
        if not info.keys or place.was is None:
            return info.keys
        kept: dict[Any, Any] = {}
        there = {part.name for _, part in place.tensors}
        for name, key in info.keys.items():
            path = _joined(place.was, name)
            if name in renamed:
                kept[renamed[name]] = key if renamed[name] == name else renamed[name]
            elif name in attributes or path in there or self._moved.get(path, path) == path in self._old.modules:
                kept[name] = key
        return kept


def _ordered(
    before: Iterable[str], renamed: Mapping[str, str], absent: set[str], now: Iterable[str]
) -> tuple[str, ...]:
    """What is there now, and what is registered as None: first in the order of before, then the new."""
    there = dict.fromkeys(now)
    kept = [local if local in absent else renamed.get(local, "") for local in before]
    return tuple(dict.fromkeys([*(local for local in kept if local in there or local in absent), *there]))


def _joined(path: str, local: str) -> str:
    return f"{path}.{local}" if path else local
