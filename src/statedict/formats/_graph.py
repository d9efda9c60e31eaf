"""From the object graph that a pickle described to an `Index`: which of it is a tensor, a module, an attribute.

A dict or list that holds tensors, however deep, is a module; a pickled `torch.nn.Module` is the module that it was; any
other object that holds tensors is a module of its class's name; everything else is an attribute.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from statedict.errors import LimitError
from statedict.formats._described import Described
from statedict.formats._inert import PickledDict
from statedict.formats._numpy import NumpyArray
from statedict.formats._stored import Storage, StoredTensor
from statedict.index import Index, ModuleInfo, TensorInfo, shown
from statedict.limits import Limits
from statedict.narrow import is_container, is_dict, is_list, is_set, is_tuple
from statedict.opaque import Opaque, text
from statedict.source import Source

_INTERNALS = frozenset(
    {
        "training",
        "_parameters",
        "_buffers",
        "_modules",
        "_non_persistent_buffers_set",
        "_backward_pre_hooks",
        "_backward_hooks",
        "_is_full_backward_hook",
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_load_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
    }
)
"""What PyTorch keeps in a module's `__dict__` for itself."""
_LONGEST_KEY = 100
_REGISTERED = ("_parameters", "_buffers", "_modules")


def index_of(graph: Any, format_name: str, source: Source, limits: Limits, metadata: Mapping[str, Any]) -> Index:
    """The validated index of an object graph. Raises FormatError, or LimitError, as `Index.validate` does."""
    walk = _Walk(source.name, limits)
    try:
        walk.root(graph)
    except RecursionError:
        raise LimitError(f"{source.name}: nested deeper than Python can follow; `Limits.depth` is too high") from None
    return Index(format_name, source, walk.tensors, walk.modules, metadata).validate(limits)


class _Walk:
    """The names given so far, and what has been seen under one: an object met twice is one module, one tensor."""

    def __init__(self, where: str, limits: Limits) -> None:
        self.where = where
        self.limits = limits
        self.tensors: dict[str, TensorInfo] = {}
        self.modules: dict[str, ModuleInfo] = {}
        self._described = Described(where, limits)
        self._made: dict[int, ModuleInfo] = {}
        self._holds: dict[int, bool] = {}

    def root(self, graph: Any) -> None:
        graph = _as_tensor(graph)
        if isinstance(graph, StoredTensor):
            self.tensors["tensor"] = self._described.shared(graph, "tensor")
        elif _holder(graph):
            self._module("", graph, 0)
        else:
            self.modules[""] = ModuleInfo(attributes={"value": self._described.value(graph, 0)})

    # Modules

    def _module(self, path: str, value: Any, depth: int) -> None:
        """Name the module `value`, and everything in it."""
        if (known := self._made.get(id(value))) is not None:
            self.modules[path] = known
            return
        if depth > self.limits.depth:
            raise LimitError(
                f"{self.where}: `{shown(path)}` is nested deeper than the {self.limits.depth:,} of `Limits.depth`"
            )
        if len(self.modules) + len(self.tensors) > self.limits.names:
            raise LimitError(
                f"{self.where}: more than {self.limits.names:,} names; raise `Limits.names` if you trust it"
            )
        if _is_module(value):
            self._torch_module(path, value, depth)
        else:
            self._container(path, value, depth)

    def _torch_module(self, path: str, value: Opaque, depth: int) -> None:
        state = value.attributes
        parameters, buffers, children = (state[name] for name in _REGISTERED)
        own = {name: held for name, held in state.items() if name not in _INTERNALS}
        non_persistent = state.get("_non_persistent_buffers_set")
        info = ModuleInfo(
            kind=value.kind,
            class_name=value.name,
            attributes=self._described.values(own, depth),
            parameters=tuple(str(name) for name in parameters),
            buffers=tuple(str(name) for name in buffers),
            modules=tuple(str(name) for name in children),
            non_persistent=frozenset(non_persistent or ()) if _all_strings(non_persistent) else frozenset(),
            training=state.get("training") is not False,
        )
        self.modules[path] = self._made[id(value)] = info
        prefix = path + "." if path else ""
        for entries in (parameters, buffers):
            for name, held in entries.items():
                held = _as_tensor(held)
                if isinstance(held, StoredTensor):
                    full = _free(f"{prefix}{name}", self.tensors)
                    self.tensors[full] = self._described.one(held, full)
        for name, child in children.items():
            if _holder(child):
                self._module(_free(f"{prefix}{name}", self.modules), child, depth + 1)

    def _container(self, path: str, value: Any, depth: int) -> None:
        attributes: dict[str, Any] = {}
        parameters: list[str] = []
        names: list[str] = []
        fields: dict[str, Any] = {"attributes": attributes}
        if isinstance(value, Opaque):
            fields |= {"kind": value.kind, "class_name": value.name}
        else:
            fields["container"] = "dict" if is_dict(value) else "tuple" if is_tuple(value) else "list"
        # Frozen only outwardly: what it maps to is still being filled while its children are named.
        info = self.modules[path] = self._made[id(value)] = ModuleInfo(**fields)
        prefix, others = path + "." if path else "", False
        tensors, shared = self.tensors, self._described.shared
        named = bool(tensors)  # what else may have a name of these, which are told apart among themselves
        for name, held in _named_entries(value):
            held = held if type(held) is StoredTensor else _as_tensor(held)
            if isinstance(held, StoredTensor):
                full = prefix + name
                if named and full in tensors:
                    full = _free(full, tensors)
                    name = full[len(prefix) :]
                tensors[full] = shared(held, full)
                if held.parameter:
                    parameters.append(name)
            elif self._has_tensors(held):
                full, others, named = _free(prefix + name, self.modules), True, True
                name = full[len(prefix) :]
                self._module(full, held, depth + 1)
            else:
                attributes[name] = self._described.value(held, depth)
            names.append(name)
        if parameters:
            object.__setattr__(info, "parameters", tuple(parameters))
        if isinstance(value, PickledDict):
            self._state_dict_metadata(path, value)
        if any(name.endswith("._extra_state") for name in attributes):
            self._extra_states(value, prefix, attributes)
        if is_dict(value) and (others or attributes or names != list(value)):
            keys = (self._described.value(key, depth) for key in value)
            object.__setattr__(info, "keys", dict(zip(names, keys, strict=True)))

    def _state_dict_metadata(self, path: str, value: PickledDict) -> None:
        """The modules that PyTorch lists beside a state dict's tensors, those without tensors among them."""
        listed = getattr(value, "attributes", {}).get("_metadata")
        if not is_dict(listed) or not _all_strings(listed):
            return
        prefix = path + "." if path else ""
        owners = {
            name.rpartition(".")[0]
            for name, held in value.items()
            if isinstance(name, str) and isinstance(held, StoredTensor)
        }
        if not owners <= {"", *listed}:
            return  # the names were changed after the state dict was made: the list is of other modules
        for name, about in listed.items():
            version = about.get("version") if is_dict(about) else None
            full = prefix + name if name else path
            version = version if type(version) is int else None
            object.__setattr__(self.modules.setdefault(full, ModuleInfo()), "version", version)

    def _extra_states(self, value: Any, prefix: str, attributes: dict[str, Any]) -> None:
        """Give what `get_extra_state` returned to the modules that the keys name, in the order of the keys."""
        for name, _ in _named_entries(value):
            owner, _, local = name.rpartition(".")
            info = self.modules.setdefault(prefix + owner, ModuleInfo()) if owner else None
            if info is not None and local == "_extra_state" and name in attributes:
                object.__setattr__(info, "attributes", {**info.attributes, local: attributes.pop(name)})

    def _has_tensors(self, value: Any) -> bool:
        """Whether a tensor or a module lies anywhere in `value`."""
        if not _holder(value):
            return isinstance(value, StoredTensor)
        known = self._holds.get(id(value))
        if known is None:
            known = self._search(value)
        return known

    def _search(self, top: Any) -> bool:
        """`_has_tensors` of a container, by a walk without recursion that settles all it has passed."""
        seen: dict[int, bool] = {}
        parents: dict[int, list[int]] = {}
        stack = [top]
        while stack:
            value = stack.pop()
            if id(value) in seen:
                continue
            seen[id(value)] = _is_module(value)
            for _, held in _entries(value):
                held = _as_tensor(held)
                if isinstance(held, StoredTensor) or self._holds.get(id(held), False):
                    seen[id(value)] = True
                elif _holder(held) and id(held) not in self._holds:
                    parents.setdefault(id(held), []).append(id(value))
                    stack.append(held)
        marked = [key for key, holds in seen.items() if holds]
        while marked:
            for parent in parents.get(marked.pop(), ()):
                if not seen[parent]:
                    seen[parent] = True
                    marked.append(parent)
        self._holds |= seen
        return seen[id(top)]


def _entries(value: Any) -> Iterable[tuple[Any, Any]]:
    """What a container holds, each with its key."""
    if is_dict(value):
        return value.items()
    entries: Any = enumerate(value) if not isinstance(value, Opaque) else _parts(value)
    return entries


def _parts(value: Opaque) -> list[tuple[Any, Any]]:
    entries: Any = [*value.attributes.items(), *value.kwargs.items()]
    if value.state is not None and not value.attributes:
        entries.append(("state", value.state))
    for group in (value.args or (), value.items or ()):
        entries += group.items() if is_dict(group) else enumerate(group)
    return entries


def _named_entries(value: Any) -> Iterable[tuple[str, Any]]:
    """What a container holds, each under a name of its own: `0` and `'0'` where there are both keys 0 and "0"."""
    if is_dict(value) and set(map(type, value)) == {str}:
        return value.items()
    return _told_apart(_entries(value))


def _told_apart(entries: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    taken: dict[str, int] = {}
    for position, (key, held) in enumerate(entries):
        name = key if type(key) is str else _name(key, position)
        if name in taken:
            name = text(key, _LONGEST_KEY)
        while name in taken:
            taken[name] += 1
            name = f"{name}#{taken[name]}"
        taken[name] = 1
        yield name, held


def _name(key: Any, position: int) -> str:
    """What to call what stands under a key that is no string; a tensor as a key (an optimizer's) goes by its place."""
    return str(position) if isinstance(key, StoredTensor) else text(key, _LONGEST_KEY)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """The name, or one like it if it is taken: `{"a.b": ..., "a": {"b": ...}}` has two of one name."""
    while name in taken:
        name += "'"
    return name


def _as_tensor(value: Any) -> Any:
    if type(value) is NumpyArray:
        return value.value
    return value.whole() if type(value) is Storage else value


def _is_module(value: Any) -> TypeGuard[Opaque]:
    """Whether it was a `torch.nn.Module`: an object that keeps PyTorch's three registers."""
    state = value.state if isinstance(value, Opaque) else None
    return is_dict(state) and all(is_dict(state.get(name)) for name in _REGISTERED)


def _holder(value: object) -> bool:
    """Whether it is of a kind that may hold tensors."""
    return is_container(value) or isinstance(value, Opaque)


def _all_strings(values: Any) -> bool:
    return (is_dict(values) or is_set(values) or is_list(values)) and all(isinstance(value, str) for value in values)
