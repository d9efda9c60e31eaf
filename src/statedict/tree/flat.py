"""From the tree back to the flat `Index`, as whoever writes or rebuilds a model needs it: the inverse of `build`."""
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001  It walks modules as `Module` itself does.

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

from statedict import collector
from statedict.errors import LimitError
from statedict.index import EMPTY, Index, ModuleInfo, TensorInfo
from statedict.opaque import Opaque
from statedict.source import BytesSource, Source
from statedict.tree.deferred import Unread
from statedict.tree.module import Module
from statedict.tree.tensor import Tensor
from statedict.tree.walking import require_tree

_SPARE_NAMES = 100_000
_NOWHERE = BytesSource(b"", "a model in memory")


def flatten(
    model: Module, *, state: bool = False, metadata: Mapping[str, Any] | None = None, source: Source = _NOWHERE
) -> Index:
    """The index of a tree: every name of every tensor in the tree's order, tied ones sharing one `TensorInfo`.

    With `state` without the buffers that a state dict leaves out. Raises LimitError when modules shared within shared
    modules have far more names than there are modules.
    """
    require_tree(model)
    with collector.paused():
        flattening = _Flattening(state=state)
        for names, (head, module) in enumerate(model._descend("", set(), again=True)):
            if names > 10 * len(flattening.described) + _SPARE_NAMES:
                raise LimitError(f"modules shared within shared modules have more than {names:,} names")
            flattening.module(head, module)
    said = model.metadata if metadata is None else metadata
    return Index("memory", source, flattening.tensors, flattening.modules, said)


class _Flattening:
    """What was listed so far. What was met is kept: no `id` recurs."""

    def __init__(self, *, state: bool) -> None:
        self.tensors: dict[str, TensorInfo] = {}
        self.modules: dict[str, ModuleInfo] = {}
        self.described: dict[int, ModuleInfo] = {}
        self._state = state
        self._infos: dict[int, TensorInfo] = {}
        self._kept: list[object] = []

    def module(self, head: str, module: Module) -> None:
        info = self.described.get(id(module))
        if info is None:
            self._kept.append(module)
            info = self.described[id(module)] = self._described(module)
        if head != ".":  # a child without a name, of which only its tensors' names tell
            self.modules[head[:-1]] = info
        held = module.__dict__
        for table in ("_parameters", "_buffers"):
            for local, tensor in (held.get(table) or getattr(module, table)).items():
                if tensor is not None and not (self._state and local in info.non_persistent and table == "_buffers"):
                    self.tensors[head + local] = self._info(tensor, head + local)

    def _info(self, tensor: Tensor, name: str = "") -> TensorInfo:
        """What a tensor is, under its first name here and with the gradient that it has now; one object for each."""
        info = self._infos.get(id(tensor))
        if info is None:
            info = tensor.info
            if info.name != name or info.requires_grad != tensor.requires_grad:
                info = info._replace(name=name or info.name, requires_grad=tensor.requires_grad)
            self._kept.append(tensor)
            self._infos[id(tensor)] = info
        return info

    def _described(self, module: Module) -> ModuleInfo:
        held = module.__dict__
        unknown = "_inference" in held or held.get("inferred")
        attributes = module._attributes
        described = attributes.described if isinstance(attributes, Unread) else self._values(attributes)
        return ModuleInfo(
            kind=None if unknown else module.kind,
            class_name=module.class_name,
            attributes=described or EMPTY,
            parameters=tuple(module._parameters),
            buffers=tuple(module._buffers),
            non_persistent=frozenset(module._non_persistent_buffers_set),
            modules=tuple(module._modules),
            training=module.training,
            version=module.version,
            container=cast("Any", module.container),
            keys=module._keys,
        )

    def _values(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._value(value, {}) for name, value in attributes.items()}

    def _value(self, value: Any, made: dict[int, Any]) -> Any:
        """An attribute with a `TensorInfo` for each `Tensor` in it, however deep."""
        if isinstance(value, Tensor):
            return self._info(value)
        if id(value) in made:
            return made[id(value)]
        if isinstance(value, dict):
            entries = cast("dict[Any, Any]", value)
            copied: dict[Any, Any] = OrderedDict() if isinstance(value, OrderedDict) else {}
            made[id(entries)] = copied
            copied.update((key, self._value(each, made)) for key, each in entries.items())
            return copied
        if isinstance(value, list):
            row: list[Any] = []
            made[id(cast("object", value))] = row
            row.extend(self._value(each, made) for each in cast("list[Any]", value))
            return row
        if type(value) is tuple:
            return tuple(self._value(each, made) for each in cast("tuple[Any, ...]", value))
        return self._opaque(value, made) if type(value) is Opaque else value

    def _opaque(self, value: Opaque, made: dict[int, Any]) -> Opaque:
        copied = made[id(value)] = Opaque(value.name)
        copied.args, copied.kwargs = self._value(value.args, made), self._value(dict(value.kwargs), made)
        copied.state, copied.items = self._value(value.state, made), self._value(value.items, made)
        return copied
