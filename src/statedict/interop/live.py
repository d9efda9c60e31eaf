"""A live `torch.nn.Module` as a tree that looks through to it: reading sees what it holds now, edits reach it."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Self, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import nn

from statedict.dtypes import DType
from statedict.dtypes import dtype as dtype_of
from statedict.expressions.rounding import Overflow
from statedict.interop import values
from statedict.interop.live_tensors import Live, LiveBuffer, LiveParameter, LiveTensor, Sources, detached, live_tensor
from statedict.tree.containers import ModuleDict, ModuleList, Sequential
from statedict.tree.module import Module
from statedict.tree.parameters import ParameterDict, ParameterList
from statedict.tree.tensor import Tensor

_CONTAINERS: tuple[tuple[type[nn.Module], type[Module]], ...] = (
    (nn.Sequential, Sequential),
    (nn.ModuleList, ModuleList),
    (nn.ModuleDict, ModuleDict),
    (nn.ParameterList, ParameterList),
    (nn.ParameterDict, ParameterDict),
)
_INTERNALS = frozenset(vars(nn.Module()))
_EXTRA_STATE = "_extra_state"


def live_tree(model: nn.Module) -> Module:
    """The tree of a live model, whose tensors, tables and attributes are the model's own.

    What is assigned in the tree is assigned in the model: a `Tensor` or an array as a `torch.Tensor`, a module of ours
    as what its `to_torch` returns. `copy_` and `load_state_dict` write into the model's memory at once.
    """
    return _Tree().module(model, "")


class _Tree:
    """What was met of one live model: one of ours for each of PyTorch's modules and tensors, by `id`."""

    def __init__(self) -> None:
        self.modules: dict[int, LiveModule] = {}
        self.tensors: dict[int, Live] = {}
        self.sources: Sources = WeakValueDictionary()

    def module(self, live: nn.Module, head: str) -> "LiveModule":
        found = self.modules.get(id(live))
        return _alive(object.__new__(_class_of(type(live))), live, self, head) if found is None else found

    def tensor(self, kind: "type[Live]", live: torch.Tensor, name: str) -> "Live":
        found = self.tensors.get(id(live))
        if found is None:
            found = self.tensors[id(live)] = live_tensor(kind, live, self.sources, name)
        return found


# Tables


class _View(MutableMapping[str, Any], dict[str, Any]):  # pyright: ignore[reportGeneralTypeIssues]  typeshed's dict
    """The entries of one of a live module's dicts as ours. Also a dict, as those expect who look into a module."""

    __slots__ = ("_owner",)
    _table = ""

    def __init__(self, owner: "LiveModule") -> None:
        self._owner = owner

    @property
    def _held(self) -> dict[str, Any]:
        """The dict itself, which PyTorch's containers exchange for another now and then."""
        return self._owner.live.__dict__[self._table]

    def __getitem__(self, name: str) -> Any:
        value = self._held[name]
        return None if value is None else self._ours(name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __setitem__(self, name: str, value: Any) -> None:
        if value is None and name not in self._held:
            self._held[name] = None
        else:
            self._set(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        delattr(self._owner.live, name)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self))

    def __repr__(self) -> str:
        return repr(dict(self))

    def _ours(self, name: str, value: Any) -> Any:
        raise NotImplementedError

    def _set(self, name: str, value: Any) -> None:
        setattr(self._owner.live, name, _theirs(value, self._owner._tree))


class _Parameters(_View):
    __slots__ = ()
    _table = "_parameters"

    def _ours(self, name: str, value: Any) -> Any:
        return self._owner._tree.tensor(LiveParameter, value, self._owner._head + name)


class _Buffers(_View):
    __slots__ = ()
    _table = "_buffers"

    def _ours(self, name: str, value: Any) -> Any:
        buffer = self._owner._tree.tensor(LiveBuffer, value, self._owner._head + name)
        if type(buffer) is LiveBuffer:
            buffer.persistent = name not in self._owner._non_persistent_buffers_set
        return buffer

    def _set(self, name: str, value: Any) -> None:
        self._held[name] = _theirs(value, self._owner._tree)


class _Modules(_View):
    __slots__ = ()
    _table = "_modules"

    def _ours(self, name: str, value: Any) -> Any:
        return self._owner._tree.module(value, f"{self._owner._head}{name}.")


class _Attributes(_View):
    """What stands in a live module's `__dict__` beside PyTorch's own tables."""

    __slots__ = ()

    @property
    def _held(self) -> dict[str, Any]:
        return self._owner.live.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in self._held if name not in _INTERNALS])

    def __len__(self) -> int:
        return len(self._held.keys() - _INTERNALS)

    def __contains__(self, name: object) -> bool:
        return name in self._held and name not in _INTERNALS

    def __getitem__(self, name: str) -> Any:
        if name in _INTERNALS:
            raise KeyError(name)
        return super().__getitem__(name)

    def _ours(self, name: str, value: Any) -> Any:
        return self._owner._ours(value)


def _theirs(value: Any, tree: _Tree) -> Any:
    """What a live module is to hold for a value of ours; a live one stays one object in the tree, too."""
    if isinstance(value, LiveModule):
        tree.modules.setdefault(id(value.live), value)
        return value.live
    if isinstance(value, Live):
        tree.tensors.setdefault(id(value.live), value)
        return value.live
    if isinstance(value, Module):
        return value.to_torch()
    return value.torch() if isinstance(value, Tensor) else values.theirs(value)


# Modules


class LiveModule(Module):
    """A module of a live model."""

    live: nn.Module
    """The `torch.nn.Module` itself."""
    _tree: _Tree
    _head: str
    _torch_class: type[nn.Module]

    def __init__(self) -> None:
        """A new and empty one, as slicing a container makes it. Raises TypeError where its class needs arguments."""
        _alive(self, self._torch_class(), _Tree(), "")

    @property
    def training(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.live.training

    @training.setter
    def training(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.live.training = value

    def to_torch(self, classes: Mapping[str, type[nn.Module]] | None = None) -> nn.Module:
        """The live module itself."""
        return self.live

    def to(self, dtype: DType | str, overflow: Overflow = "torch") -> Self:
        """This module, whose live module PyTorch has cast."""
        self.live.to(getattr(torch, str(dtype_of(str(dtype)))))
        return self

    def extra_repr(self) -> str:
        prints_itself = type(self.live).__repr__ is not nn.Module.__repr__
        return super().extra_repr() if prints_itself else self.live.extra_repr()

    def __repr__(self) -> str:
        return repr(self.live)

    def _get_name(self) -> str:
        return self.live._get_name()

    # What `Module` does through the views, straight from PyTorch's tables: a third of the time for 10,000 modules

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        seen = {module.live for module in memo or () if isinstance(module, LiveModule)}
        known, made, skip = self._tree.modules, self._tree.module, len(prefix) + bool(prefix)
        for name, live in _walk(prefix, self.live, seen, again=not remove_duplicate):
            module = known[id(live)] if id(live) in known else made(live, f"{self._head}{name[skip:]}.")
            if memo is not None and remove_duplicate:
                memo.add(module)
            yield name, module

    def _descend(self, head: str, seen: set[Module], again: bool) -> Iterator[tuple[str, Module]]:
        for name, module in self.named_modules(seen, remove_duplicate=not again):
            yield f"{head}{name}." if name else head, module

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        memo: set[int] = set()
        known, alone, skip = self._tree.tensors, [(prefix, self.live)], len(prefix) + bool(prefix)
        for name, live in _walk(prefix, self.live, set(), again=not remove_duplicate) if recurse else alone:
            if not (held := live.__dict__[table]):
                continue
            head = name + "." if name else ""
            for local, tensor in held.items():
                key = id(tensor)
                if tensor is None or key in memo:
                    continue
                if remove_duplicate:
                    memo.add(key)
                yield head + local, known[key] if key in known else self._registered(table, live, head[skip:], local)

    def _registered(self, table: str, owner: nn.Module, head: str, local: str) -> Any:
        """Ours for a tensor that a module registered whose names begin with `head` below this one."""
        return self._tree.module(owner, self._head + head).__dict__[table][local]

    def _fill(self, destination: MutableMapping[str, Any], metadata: Any, prefix: str, keep_vars: bool) -> None:
        for name, live in _walk("", self.live, set(), again=True):
            head = f"{prefix}{name}." if name else prefix
            if metadata is not None:
                metadata[head[:-1]] = {"version": live._version}
            held = live.__dict__
            if parameters := held["_parameters"]:
                self._save("_parameters", live, destination, head, keep_vars, list(parameters))
            if buffers := held["_buffers"]:
                left_out = held["_non_persistent_buffers_set"]
                kept = [local for local in buffers if local not in left_out]
                self._save("_buffers", live, destination, head, keep_vars, kept)
            if type(live).get_extra_state is not nn.Module.get_extra_state:
                destination[head + _EXTRA_STATE] = self._ours(live.get_extra_state())

    def _save(
        self,
        table: str,
        owner: nn.Module,
        destination: MutableMapping[str, Any],
        head: str,
        keep_vars: bool,
        names: list[str],
    ) -> None:
        held, sources = owner.__dict__[table], self._tree.sources
        for local in names:
            if (live := held[local]) is not None:
                full = head + local
                destination[full] = (
                    self._registered(table, owner, head, local) if keep_vars else detached(live, sources, full)
                )

    def _ours(self, value: Any) -> Any:
        return values.ours(value, self._value)

    def _value(self, value: Any) -> Any:
        """A tensor or module that an attribute holds, which need not be registered."""
        if isinstance(value, nn.Module):
            return self._tree.module(value, "")
        found = self._tree.tensors.get(id(value))
        if found is not None:
            return found
        return (
            self._tree.tensor(LiveParameter, value, "")
            if isinstance(value, nn.Parameter)
            else (live_tensor(LiveTensor, value, self._tree.sources, ""))
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return live_tree, (self.live,)


def _walk(name: str, root: nn.Module, seen: set[nn.Module], *, again: bool) -> Iterator[tuple[str, nn.Module]]:
    """Yield a live module and all below it, parents first; with `again` under each of its names."""
    if root in seen:
        return
    seen.add(root)
    yield name, root
    path = [(name + "." if name else "", root, iter(root._modules.items()))]
    while path:
        head, parent, children = path[-1]
        for local, live in children:
            if live is None or live in seen:
                continue
            seen.add(live)
            name = head + local
            yield name, live
            if inside := live._modules:
                path.append((name + ".", live, iter(inside.items())))
                break
            if again:
                seen.discard(live)
        else:
            path.pop()
            if again:
                seen.discard(parent)


def _alive(made: LiveModule, live: nn.Module, tree: _Tree, head: str) -> LiveModule:
    held = made.__dict__
    held["live"], held["_tree"], held["_head"] = live, tree, head
    held["_parameters"] = _Parameters(made)
    held["_buffers"] = _Buffers(made)
    held["_modules"] = _Modules(made)
    held["_non_persistent_buffers_set"] = live.__dict__["_non_persistent_buffers_set"]
    held["_attributes"] = _Attributes(made)
    tree.modules[id(live)] = made
    return made


_classes: "WeakKeyDictionary[type[nn.Module], type[LiveModule]]" = WeakKeyDictionary()


def _class_of(kind: type[nn.Module]) -> type[LiveModule]:
    """Our class for modules of one of PyTorch's, made once; the containers among them are indexed as PyTorch's."""
    found = _classes.get(kind)
    if found is None:
        container = next((ours for theirs, ours in _CONTAINERS if issubclass(kind, theirs)), None)
        version = cast("Any", kind._version)
        fields: dict[str, Any] = {
            "kind": kind.__name__,
            "class_name": f"{kind.__module__}.{kind.__qualname__}",
            "version": version if isinstance(version, int) else 1,
            "_torch_class": kind,
        }
        bases = (container, LiveModule) if container else (LiveModule,)
        found = _classes[kind] = cast("type[LiveModule]", type((container or Module).__name__, bases, fields))
    return found
