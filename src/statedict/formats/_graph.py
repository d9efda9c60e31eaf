"""From the object graph that a pickle described to an `Index`: which of it is a tensor, a module, an attribute.

A dict or list that holds tensors, however deep, is a module; a pickled `torch.nn.Module` is the module that it was; any
other object that holds tensors is a module of its class's name; everything else is an attribute.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from statedict.dtypes import DTYPES, DType
from statedict.errors import FormatError, LimitError
from statedict.formats._numpy import NumpyArray, NumpyDType
from statedict.formats._pickle import PickledDict, is_class
from statedict.formats._stored import StoredTensor
from statedict.index import PLAIN, Encoding, Index, ModuleInfo, TensorInfo, contiguous, span
from statedict.limits import Limits
from statedict.narrow import is_container, is_dict, is_list, is_set, is_tuple
from statedict.opaque import Opaque
from statedict.source import Extent, Source

BIG_ENDIAN = Encoding(byteorder="big")
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
_MOST_DIGITS = 4_000
"""Python refuses to print longer whole numbers."""


def index_of(graph: Any, format_name: str, source: Source, limits: Limits, metadata: Mapping[str, Any]) -> Index:
    """The validated index of an object graph. Raises FormatError, or LimitError, as `Index.validate` does."""
    walk = _Walk(source.name, limits)
    walk.root(graph)
    return Index(format_name, source, walk.tensors, walk.modules, metadata).validate(limits)


class _Walk:
    """The names given so far, and what has been seen under one: an object met twice is one module, one tensor."""

    def __init__(self, where: str, limits: Limits) -> None:
        self.where = where
        self.limits = limits
        self.tensors: dict[str, TensorInfo] = {}
        self.modules: dict[str, ModuleInfo] = {}
        self._infos: dict[int, TensorInfo] = {}
        self._views: dict[tuple[Any, ...], StoredTensor] = {}
        self._made: dict[int, ModuleInfo] = {}
        self._holds: dict[int, bool] = {}
        self._strides: dict[Any, tuple[tuple[int, ...] | None, int]] = {}
        self._plain: dict[int, Any] = {}

    def root(self, graph: Any) -> None:
        if isinstance(graph, NumpyArray):
            graph = graph.value
        if isinstance(graph, StoredTensor):
            self.tensors["tensor"] = self._shared(graph, "tensor")
        elif _holder(graph):
            self._module("", graph, 0)
        else:
            self.modules[""] = ModuleInfo(attributes={"value": self._value(graph, 0)})

    # Modules

    def _module(self, path: str, value: Any, depth: int) -> None:
        """Name the module `value`, and everything in it."""
        if (known := self._made.get(id(value))) is not None:
            self.modules[path] = known
            return
        if depth > self.limits.depth:
            raise LimitError(f"{self.where}: `{path[:40]}…` is nested more than {self.limits.depth:,} deep")
        if len(self.modules) + len(self.tensors) > self.limits.names:
            raise LimitError(
                f"{self.where}: more than {self.limits.names:,} names; raise `Limits.names` if you trust it"
            )
        if isinstance(value, Opaque):
            state = value.attributes
            registered = [state.get(name) for name in ("_parameters", "_buffers", "_modules")]
            if all(isinstance(entry, dict) for entry in registered):
                self._torch_module(path, value, state, registered, depth)
                return
        self._container(path, value, depth)

    def _torch_module(self, path: str, value: Opaque, state: dict[str, Any], registered: list[Any], depth: int) -> None:
        parameters, buffers, children = registered
        own = {name: held for name, held in state.items() if name not in _INTERNALS}
        non_persistent = state.get("_non_persistent_buffers_set")
        info = ModuleInfo(
            kind=value.kind,
            class_name=value.name,
            attributes=self._values(own, depth),
            parameters=tuple(str(name) for name in parameters),
            buffers=tuple(str(name) for name in buffers),
            non_persistent=frozenset(non_persistent or ()) if _all_strings(non_persistent) else frozenset(),
            training=state.get("training") is not False,
        )
        self.modules[path] = self._made[id(value)] = info
        prefix = path + "." if path else ""
        for entries in (parameters, buffers):
            for name, held in entries.items():
                if isinstance(held, NumpyArray):
                    held = held.value
                if isinstance(held, StoredTensor):
                    self.tensors[f"{prefix}{name}"] = self._one(held, f"{prefix}{name}")
        for name, child in children.items():
            if _holder(child):
                self._module(f"{prefix}{name}", child, depth + 1)

    def _container(self, path: str, value: Any, depth: int) -> None:
        attributes: dict[str, Any] = {}
        parameters: list[str] = []
        fields: dict[str, Any] = {"attributes": attributes}
        if isinstance(value, Opaque):
            fields |= {"kind": value.kind, "class_name": value.name}
        else:
            fields["container"] = "dict" if is_dict(value) else "tuple" if is_tuple(value) else "list"
        # Frozen only outwardly: what it maps to is still being filled while its children are named.
        info = self.modules[path] = self._made[id(value)] = ModuleInfo(**fields)
        prefix = path + "." if path else ""
        for name, held in _entries(value):
            if isinstance(held, StoredTensor):
                self.tensors[prefix + name] = self._shared(held, prefix + name)
                if held.parameter:
                    parameters.append(name)
            elif self._has_tensors(held):
                self._module(prefix + name, held, depth + 1)
            else:
                attributes[name] = self._value(held, depth)
        if parameters:
            object.__setattr__(info, "parameters", tuple(parameters))
        if isinstance(value, PickledDict):
            self._state_dict_metadata(path, value)
        if any(name.endswith("._extra_state") for name in attributes):
            self._extra_states(value, prefix, attributes)

    def _state_dict_metadata(self, path: str, value: PickledDict) -> None:
        """The modules that PyTorch lists beside a state dict's tensors, those without tensors among them."""
        listed = getattr(value, "attributes", {}).get("_metadata")
        if not is_dict(listed) or not _all_strings(listed):
            return
        prefix = path + "." if path else ""
        owners = {name.rpartition(".")[0] for name in self.tensors if name.startswith(prefix)}
        if any(owner != path and owner[len(prefix) :] not in listed for owner in owners):
            return  # the names were changed after the state dict was made: the list is of other modules
        for name, about in listed.items():
            version = about.get("version") if is_dict(about) else None
            full = prefix + name if name else path
            version = version if type(version) is int else None
            object.__setattr__(self.modules.setdefault(full, ModuleInfo()), "version", version)

    def _extra_states(self, value: Any, prefix: str, attributes: dict[str, Any]) -> None:
        """Give what `get_extra_state` returned to the modules that the keys name, in the order of the keys."""
        for name, _ in _entries(value):
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
        order: list[Any] = []
        parents: dict[int, list[int]] = {}
        stack = [top]
        while stack:
            value = stack.pop()
            if id(value) in seen:
                continue
            seen[id(value)] = False
            order.append(value)
            for _, held in _entries(value):
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

    # Tensors

    def _shared(self, tensor: StoredTensor, name: str) -> TensorInfo:
        """The info of a tensor in a dict. A state dict has a new object for each name of a weight: the view decides."""
        storage = tensor.storage
        if storage is None or storage.extent is None or tensor.special or tensor.parameter:
            return self._one(tensor, name)
        first = self._views.setdefault((storage, tensor.offset, tensor.shape, tensor.stride), tensor)
        return self._one(first, name)

    def _one(self, tensor: StoredTensor, name: str) -> TensorInfo:
        """The info of a tensor that is told from others by being the same object."""
        info = self._infos.get(id(tensor))
        if info is None:
            info = self._infos[id(tensor)] = self._info(tensor, name)
        return info

    def _info(self, tensor: StoredTensor, name: str) -> TensorInfo:
        shape, stride, storage, dtype = tensor.shape, tensor.stride, tensor.storage, tensor.dtype
        encoding = self._encoding(tensor, name)
        if storage is None or storage.extent is None or shape is None or stride is None:
            return TensorInfo(name, dtype, shape, None, stride, None, tensor.requires_grad, tensor.device, encoding)
        key = (shape, stride)
        if (known := self._strides.get(key)) is None:
            if len(shape) != len(stride) or min(shape, default=0) < 0 or min(stride, default=0) < 0:
                raise FormatError(
                    f"{self.where}: tensor `{name}` has the stride {stride}, which does not fit its shape {shape}"
                )
            known = self._strides[key] = None if stride == contiguous(shape) else stride, span(shape, stride)
        stride, elements = known  # few shapes serve all tensors
        source, start, size = whole = storage.extent
        if dtype.bits >= 8:
            begin, length = tensor.offset * (dtype.bits >> 3), elements * (dtype.bits >> 3)
        else:
            begin, length = dtype.nbytes(tensor.offset), dtype.nbytes(elements)
        if not length:
            begin = min(begin, size)
        extent = Extent(source, start + begin, length)
        spare = None if length == size else whole
        return TensorInfo(name, dtype, shape, extent, stride, spare, tensor.requires_grad, tensor.device, encoding)

    def _encoding(self, tensor: StoredTensor, name: str) -> Encoding:
        if tensor.special is None:
            return BIG_ENDIAN if tensor.storage is not None and tensor.storage.big_endian else PLAIN
        fields: dict[str, Any] = dict(tensor.special)
        if tensor.storage is not None and tensor.storage.big_endian:
            fields["byteorder"] = "big"
        parts = {key: self._one(part, f"{name}.{key}") for key, part in fields.pop("parts", {}).items()}
        attributes = self._values(fields.pop("attributes", {}), 0)
        return Encoding(**fields, parts=parts, attributes=attributes)

    # Attributes

    def _values(self, state: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        return {str(name): self._value(value, depth) for name, value in state.items()}

    def _value(self, value: Any, depth: int) -> Any:
        """`value` as plain Python values, `Opaque` descriptions and `TensorInfo`; shared objects stay shared."""
        if value is None or type(value) in (str, bool, float):
            return value
        if type(value) is int:
            return value if value.bit_length() < 3 * _MOST_DIGITS else Opaque("int", (f"{value.bit_length():,} bits",))
        if id(value) in self._plain:
            return self._plain[id(value)]
        if depth > self.limits.depth:
            return Opaque("…", ())
        if isinstance(value, StoredTensor):
            return self._one(value, "")
        return self._nested_value(value, depth + 1)

    def _nested_value(self, value: Any, depth: int) -> Any:
        made: Any
        memo = self._plain
        if is_dict(value):
            made = memo[id(value)] = {}
            made.update((self._value(key, depth), self._value(held, depth)) for key, held in value.items())
        elif is_list(value):
            made = memo[id(value)] = []
            made.extend(self._value(held, depth) for held in value)
        elif is_tuple(value):
            made = memo[id(value)] = tuple(self._value(held, depth) for held in value)
        elif is_set(value):
            made = memo[id(value)] = type(value)(self._value(held, depth) for held in value)
        elif isinstance(value, NumpyArray):
            made = self._value(value.value, depth)
        elif isinstance(value, NumpyDType):
            made = Opaque("numpy.dtype", (value.code,))
        elif isinstance(value, Opaque):
            made = memo[id(value)] = Opaque(value.name)
            made.args = self._value(value.args, depth)
            made.kwargs = self._value(value.kwargs, depth)
            made.state = self._value(value.state, depth)
            made.items = self._value(value.items, depth)
        else:
            made = _named(value)
        return made


def _named(value: Any) -> Any:
    """A class that stands for itself: an element type as what it is, others by name; bytes and numbers unchanged."""
    if is_class(value):
        found: DType | None = DTYPES.get(value.full_name.removeprefix("torch."))
        return found if found is not None and value.full_name.startswith("torch.") else Opaque(value.full_name)
    if isinstance(value, bytes | bytearray | complex):
        return value
    return Opaque(type(value).__name__.lstrip("_"), ())


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """What a container holds, each under a name; numpy arrays as tensors."""
    if isinstance(value, Opaque):
        entries: Any = [*value.attributes.items()]
        for group in (value.args or (), value.items or ()):
            entries += group.items() if is_dict(group) else enumerate(group)
    else:
        entries = value.items() if is_dict(value) else enumerate(value)
    taken: set[str] = set()
    for key, held in entries:
        name = key if type(key) is str else str(key) if type(key) is int else repr(key)
        while name in taken:
            name = repr(key) if name != repr(key) else name + "'"
        taken.add(name)
        yield name, held.value if type(held) is NumpyArray else held


def _holder(value: object) -> bool:
    """Whether it is of a kind that may hold tensors."""
    return is_container(value) or isinstance(value, Opaque)


def _all_strings(values: Any) -> bool:
    return (is_dict(values) or is_set(values) or is_list(values)) and all(isinstance(value, str) for value in values)
