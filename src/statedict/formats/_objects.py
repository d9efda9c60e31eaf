"""The object that an index describes, as it would be given to `torch.save`: the inverse of `_graph`.

A dict, list or tuple of a checkpoint becomes one again, with its own keys; any other module the state dict of it: a
dict of full names, which has the modules' versions, where they are known, in its `_metadata`.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from statedict.index import Index, ModuleInfo, TensorInfo, shown
from statedict.narrow import is_number

EXTRA_STATE = "_extra_state"
"""Under which `Module.state_dict` has what a module's `get_extra_state` gives."""
_MOST_NAMED = 5


def object_of(index: Index) -> tuple[Any, tuple[str, ...]]:
    """The object, with a `TensorInfo` for each tensor in it, and notes on what it lacks.

    Raises RecursionError where it is nested deeper than Python can follow.
    """
    objects = _Objects()
    for path, info in index.modules.items():
        objects.module(path, info)
    for name, info in index.tensors.items():
        objects.tensor(name, info)
    for path, info in index.modules.items():
        objects.attributes(path, info)
    return objects.made(objects.root), objects.notes()


class _Holder:
    """A Python container to be made. What it holds goes by the part of its name that follows the container's."""

    __slots__ = ("entries", "info", "modules", "object", "start")

    def __init__(self, info: ModuleInfo, path: str = "") -> None:
        self.info = info
        self.start = len(path) + 1 if path else 0
        self.entries: dict[str, Any] = {}
        self.modules = {"": info}
        """The modules of which it is the state dict, itself among them."""
        self.object: Any = None

    def holds_apart(self, name: str, info: ModuleInfo) -> bool:
        """Whether a module of that name is an entry of its own, and not spread over the names of its tensors."""
        return bool(info.container) or self.info.container in {"list", "tuple"} or name in self.info.keys


class _Objects:
    """The containers found so far, for each module the one that holds it, and the names of what no object has."""

    def __init__(self) -> None:
        self.root = _Holder(ModuleInfo())
        self._places: dict[str, _Holder] = {"": self.root}
        self._made: dict[int, _Holder] = {}
        self._claimed: dict[str, _Holder] = {}
        """Names whose dots part nothing: the keys themselves have them."""
        self._not_persistent: set[str] = set()
        self._left_out: list[str] = []
        self._bare: list[str] = []
        self._moved_up: list[str] = []

    def module(self, path: str, info: ModuleInfo) -> None:
        """Find the place of a module. Those that it is in come before it."""
        if path == "":
            self.root.info = self.root.modules[""] = info
            self._made[id(info)] = self.root
            self._claim("", self.root)
        else:
            holder = self._claimed.get(path) or self._place(path.rpartition(".")[0])
            name = path[holder.start :]
            if holder.holds_apart(name, info):
                known = self._made.get(id(info))
                apart = self._places[path] = _Holder(info, path)  # of no effect if all is listed under the first name
                self._claim(path + ".", apart)
                holder.entries[name] = known or self._made.setdefault(id(info), apart)
            else:
                self._places[path] = holder
                holder.modules[name] = info
        self._not_persistent.update(f"{path}.{local}" if path else local for local in info.non_persistent)

    def tensor(self, name: str, info: TensorInfo) -> None:
        """Put a tensor into the container that holds its module."""
        if name in self._not_persistent:
            self._left_out.append(name)
        else:
            holder = self._claimed.get(name) if name not in self._places else None
            holder = holder or self._place(name[: max(name.rfind("."), 0)])
            holder.entries[name[holder.start :]] = info

    def attributes(self, path: str, info: ModuleInfo) -> None:
        """Put in the other values of a container, and of a module what a state dict has of them."""
        holder = self._places[path]
        prefix = (path + ".")[holder.start :] if path else ""
        if info.container:
            holder.entries.update((prefix + name, value) for name, value in info.attributes.items())
            return
        if EXTRA_STATE in info.attributes:
            holder.entries[prefix + EXTRA_STATE] = info.attributes[EXTRA_STATE]
        if info.attributes.keys() - {EXTRA_STATE}:
            self._bare.append(path)

    def _claim(self, prefix: str, holder: _Holder) -> None:
        self._claimed.update((prefix + name, holder) for name in holder.info.keys if "." in name)

    def _place(self, path: str) -> _Holder:
        """The container that holds a module, which nothing but names may tell of."""
        found = self._places.get(path)
        if found is None:
            found = self._places[path] = self._place(path.rpartition(".")[0])
        return found

    def made(self, holder: Any) -> Any:
        """The container, filled; any other value unchanged."""
        if not isinstance(holder, _Holder):
            return holder
        if holder.object is not None:
            return holder.object
        if holder.info.container == "tuple":
            holder.object = tuple(map(self.made, self._row(holder)))
        elif holder.info.container == "list":
            holder.object = []
            holder.object.extend(map(self.made, self._row(holder)))
        else:
            self._fill_dict(holder)
        return holder.object

    def _fill_dict(self, holder: _Holder) -> None:
        versions = any(info.version is not None for info in holder.modules.values())
        made: dict[Any, Any] = OrderedDict() if versions else {}
        holder.object = made
        made.update((key, self.made(value)) for key, value in _keyed(holder))
        if versions:
            vars(made)["_metadata"] = OrderedDict(
                (name, {} if info.version is None else {"version": info.version})
                for name, info in holder.modules.items()
            )

    def _row(self, holder: _Holder) -> list[Any]:
        """The elements of a list, in the order of their numbers."""
        names = sorted(holder.entries, key=lambda name: (not is_number(name), len(name), name))
        if names != [str(position) for position in range(len(names))]:
            self._moved_up.append(next((path for path, place in self._places.items() if place is holder), ""))
        return [holder.entries[name] for name in names]

    def notes(self) -> tuple[str, ...]:
        """One line for each kind of thing that a file of this object does not tell."""
        what = (
            ("buffers left out, as no state dict has them", self._left_out),
            ("attributes of modules left out, as a state dict has tensors only", self._bare),
            ("lists with missing elements, whose later ones move up", self._moved_up),
        )
        return tuple(f"{text}: {named(names)}" for text, names in what if names)


def named(names: list[str]) -> str:
    """A few of the names, and how many more there are."""
    few = ", ".join(f"`{shown(name)}`" if name else "the root" for name in names[:_MOST_NAMED])
    return few + (f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else "")


def _keyed(holder: _Holder) -> Iterable[tuple[Any, Any]]:
    """The entries of a dict with their keys: in the order of `ModuleInfo.keys`, then those that it does not know."""
    entries, keys = holder.entries, holder.info.keys
    if keys:
        known = [(key, entries[name]) for name, key in keys.items() if name in entries]
        return known + [(name, value) for name, value in entries.items() if name not in keys]
    if any(EXTRA_STATE in info.attributes for info in holder.modules.values()):
        return _by_module(entries, holder.modules)
    return entries.items()


def _by_module(entries: Mapping[str, Any], modules: Iterable[str]) -> Iterable[tuple[str, Any]]:
    """The entries of a state dict, module by module, each one's extra state behind its tensors, as PyTorch lists it."""
    numbers = {name: number for number, name in enumerate(modules)}
    return sorted(entries.items(), key=lambda entry: numbers.get(entry[0].rpartition(".")[0], len(numbers)))
