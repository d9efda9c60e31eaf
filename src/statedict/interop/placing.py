"""Which module of a live model stands at which place of a file, told by the tensors that they have in common."""
# pyright: reportPrivateUsage=false

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import nn

_INTERNAL = frozenset(vars(nn.Module())) - {"training"}
Shape = tuple[int, ...]


class Placing:
    """The places of a model's modules in a file of those tensors.

    `names` has, for each tensor of the file, its name in the model. A module has a place where the file has all of its
    own tensors, in its shapes, and no other beside them; modules without tensors where what they are part of has one.
    """

    def __init__(self, model: nn.Module, shapes: Mapping[str, Shape | None], names: Mapping[str, str]) -> None:
        self._modules = dict(_named_modules(model))
        state: dict[str, Any] = model.state_dict(keep_vars=True)
        self._state = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
        self._matched = {
            name: names[name]
            for name, shape in shapes.items()
            if name in names and names[name] in self._state and tuple(self._state[names[name]].shape) == shape
        }
        self._present = {id(self._state[live]): name for name, live in reversed(self._matched.items())}
        self._elsewhere = set(self._matched.values())
        self._held = _by_module(shapes)
        self._holds = _by_module(self._state)
        self._below = _below(self._matched)
        self._live_below = _below({live: live for live in self._matched.values()})
        self._file = {above for path in self._held for above in _upwards(path)}
        self._places = self._agreeing()

    def described(self) -> dict[str, Any]:
        """What there is to say of each place, parents first; of which tensors of the file others are second names.

        `frozen` are the names of the parameters that need no gradients.
        """
        order = {name: number for number, name in enumerate(self._modules)}
        modules: dict[str, Any] = {}
        tied: dict[str, str] = {}
        for path, home in sorted(self._everywhere().items(), key=lambda place: order[place[1]]):
            own = self._own(path, home)
            tied |= {_joined(path, local): name for local, name in own.values() if _joined(path, local) != name}
            names = {local: name for local, (name, _) in own.items()}
            modules[path] = _facts(self._modules[home], self._children(path, home), names)
        frozen = [name for name, live in self._matched.items() if not self._state[live].requires_grad]
        return {"modules": modules, "tied": tied, "frozen": frozen}

    def _everywhere(self) -> dict[str, str]:
        """The places with those of the modules that the file has nothing of, and that need nothing of it."""
        found = dict(self._places)
        for path, home in self._places.items():
            for local in self._weightless(path, home):
                inside = _named_modules(self._modules[_joined(home, local)])
                found |= {
                    _joined(_joined(path, local), name): _joined(_joined(home, local), name) for name, _ in inside
                }
        return found

    def _own(self, path: str, home: str) -> dict[str, tuple[str, str]]:
        """Of each of a module's own tensors the local name at that path, and the full name of one that the file has."""
        here = {self._matched[_joined(path, local)]: local for local in self._held.get(path, ())}
        found: dict[str, tuple[str, str]] = {}
        for local in self._holds.get(home, ()):
            live = _joined(home, local)
            name = here.get(live, local)
            found[local] = (name, _joined(path, name) if live in here else self._present[id(self._state[live])])
        return found

    def _children(self, path: str, home: str) -> list[str]:
        weightless = self._weightless(path, home)
        return [
            local
            for local, child in self._modules[home]._modules.items()
            if child is None or local in weightless or _joined(path, local) in self._file
        ]

    def _agreeing(self) -> dict[str, str]:
        """The module of the model at each path of the file; of several that hold the same tensors the most alike.

        No module is at two paths: it is where the file names more of its children as it does.
        """
        places: dict[str, str] = {}
        best: dict[str, tuple[int, str]] = {}
        for path, homes in self._candidates().items():
            agreeing = [home for home in homes if home in self._modules and self._agrees(path, home)]
            if agreeing:
                home = places[path] = max(agreeing, key=lambda home: self._likeness(path, home))
                best[home] = max(best.get(home, (-1, "")), (self._likeness(path, home)[0], path))
        return {path: home for path, home in places.items() if best[home][1] == path}

    def _likeness(self, path: str, home: str) -> tuple[int, bool, int]:
        """How many children have the same names; whether all of it is there, at its own path; how deep it is."""
        module = self._modules[home]
        shared = sum(_joined(path, local) in self._file for local in module._modules)
        return shared, path == home and self._needs_nothing(module), home.count(".") + bool(home)

    def _candidates(self) -> dict[str, set[str]]:
        """The modules that go by the path's own name, and those that its tensors' names in the model lead to."""
        found = {path: {path} for path in self._below}
        for name, live in self._matched.items():
            for path, home in _together(name.rpartition(".")[0], live.rpartition(".")[0]):
                found[path].add(home)
        return found

    def _agrees(self, path: str, home: str) -> bool:
        """Whether the same tensors are below both, and all of the module's own, and no other, are there.

        Of tied tensors the file need not have each name.
        """
        if self._below[path] != self._live_below.get(home):
            return False
        expected = {_joined(home, local) for local in self._holds.get(home, ())}
        there = {self._matched.get(_joined(path, local)) for local in self._held.get(path, ())}
        tied = expected - there
        return there <= expected and all(
            name not in self._elsewhere and id(self._state[name]) in self._present for name in tied
        )

    def _weightless(self, path: str, home: str) -> list[str]:
        """The children at that place that the file has nothing of, and that need nothing of it."""
        return [
            local
            for local, child in self._modules[home]._modules.items()
            if child is not None
            and _joined(path, local) not in self._file
            and _joined(home, local) not in self._live_below
            and self._needs_nothing(child)
        ]

    def _needs_nothing(self, module: nn.Module) -> bool:
        """Whether the file has all of its tensors, be it under the names of those that they are tied to."""
        tensors = module.state_dict(keep_vars=True).values()
        return all(id(tensor) in self._present for tensor in tensors if isinstance(tensor, torch.Tensor))


def _named_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every name of every module, whose type PyTorch's own generator does not tell."""
    return cast("Iterator[tuple[str, nn.Module]]", module.named_modules(remove_duplicate=False))


def _facts(module: nn.Module, children: list[str], names: Mapping[str, str]) -> dict[str, Any]:
    """What is said of a module. `names` has the local name in the file for each of the module's own tensors."""
    kind = type(module)
    return {
        "kind": kind.__name__,
        "class_name": f"{kind.__module__}.{kind.__qualname__}",
        "attributes": _plain_items(vars(module)),
        "parameters": _registered(module._parameters, names),
        "buffers": _registered(module._buffers, names),
        "modules": children,
        "version": module._version,
    }


def _registered(table: Mapping[str, torch.Tensor | None], names: Mapping[str, str]) -> list[str]:
    """The names of a table, as the file has them; those of None too, but not of tensors that no state dict has."""
    return [names.get(local, local) for local, tensor in table.items() if tensor is None or local in names]


def _plain_items(attributes: Mapping[str, Any]) -> dict[str, Any]:
    written = {name: _written(value) for name, value in attributes.items() if name not in _INTERNAL}
    return {name: value for name, value in written.items() if value is not ...}


def _written(value: Any) -> Any:
    """A plain value for JSON, which has no tuples and no types; Ellipsis for all others."""
    if value is None or type(value) in {bool, int, float, str}:
        return value
    if isinstance(value, torch.dtype):
        return {"dtype": str(value)}
    if isinstance(value, tuple | list):
        items = [_written(each) for each in cast("list[Any]", value)]
        if ... in items:
            return ...
        return items if isinstance(value, list) else {"tuple": items}
    return ...


def _by_module(names: Mapping[str, object]) -> dict[str, list[str]]:
    """The local names of the tensors of each module."""
    found: dict[str, list[str]] = {}
    for name in names:
        path, _, local = name.rpartition(".")
        found.setdefault(path, []).append(local)
    return found


def _below(tensors: Mapping[str, str]) -> dict[str, set[str]]:
    """What stands for the tensors below each module, at whatever depth."""
    found: dict[str, set[str]] = {}
    for name, value in tensors.items():
        for above in _upwards(name.rpartition(".")[0]):
            found.setdefault(above, set()).add(value)
    return found


def _together(path: str, home: str) -> Iterator[tuple[str, str]]:
    """The path and the home, and those above them as long as both go by the same names."""
    yield path, home
    while path and home:
        path, _, local = path.rpartition(".")
        home, _, other = home.rpartition(".")
        if local != other:
            return
        yield path, home


def _upwards(path: str) -> Iterator[str]:
    """The path, and those of all modules above it."""
    yield path
    while path:
        path = path.rpartition(".")[0]
        yield path


def _joined(path: str, local: str) -> str:
    return f"{path}.{local}" if path and local else path or local
