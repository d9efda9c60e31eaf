"""Dicts of arrays in memory as an `Index`: what a pickle of them would be read as, with the arrays' own memory."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

from statedict.formats import _graph
from statedict.formats._inert import PickledDict
from statedict.formats._stored import KnownTensor
from statedict.index import Index, TensorInfo
from statedict.limits import Limits
from statedict.narrow import is_list, is_set, is_tuple
from statedict.opaque import Opaque
from statedict.source import BytesSource, Source
from statedict.tree.tensor import Parameter, Tensor, info_of, is_array, is_tensor_like

_PLAIN = frozenset({str, int, float, bool, complex, bytes, type(None)})


def index_of(value: Mapping[Any, Any], limits: Limits) -> Index:
    """The index of a nested dict of torch, numpy or JAX arrays, or of our tensors; other values become attributes.

    Raises LimitError where it is nested deeper than `limits` allows.
    """
    source = BytesSource(b"", "a dict in memory")
    return _graph.index_of(_Graph().of(value), "memory", source, limits, {})


class _Graph:
    """What has been met so far, by `id`: what was shared stays shared. What was met is kept: no `id` recurs."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        self._kept: list[Any] = []
        self._sources: dict[int, Source] = {}
        self._views: dict[Any, KnownTensor] = {}

    def of(self, value: Any) -> Any:
        """`value` as a pickle of it would be described."""
        if type(value) in _PLAIN:
            return value
        if id(value) not in self._made:
            self._kept.append(value)
            self._made[id(value)] = self._new(value)
        return self._made[id(value)]

    def _new(self, value: Any) -> Any:
        if is_tensor_like(value) or is_array(value, "jax", "Array"):
            return self._tensor(value)
        if isinstance(value, Mapping):
            return self._dict(cast("Mapping[Any, Any]", value))
        if is_list(value):
            row: list[Any] = []
            self._made[id(value)] = row
            row.extend(map(self.of, value))
            return row
        if is_tuple(value):
            return tuple(map(self.of, value))
        if is_set(value):
            return type(value)(map(self.of, value))
        return self._object(value)

    def _dict(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        made: dict[Any, Any] = PickledDict() if isinstance(value, OrderedDict) else {}
        self._made[id(value)] = made
        for key, held in value.items():
            made[self.of(key)] = self.of(held)
        if isinstance(made, PickledDict):
            made.attributes = {name: self.of(held) for name, held in vars(value).items()}
        return made

    def _object(self, value: Any) -> Any:
        if is_array(value, "torch", "dtype"):
            return Opaque(str(value))
        if isinstance(value, type) or hasattr(value, "__qualname__"):
            return Opaque(f"{value.__module__}.{value.__qualname__}")
        made = self._made[id(value)] = Opaque(f"{type(value).__module__}.{type(value).__qualname__}", ())
        made.state = {name: self.of(held) for name, held in getattr(value, "__dict__", {}).items()} or None
        return made

    def _tensor(self, value: Any) -> KnownTensor:
        """The tensor; the same for two views of the same bytes, since a state dict has a new one for each name."""
        info = self._info(value)
        made = KnownTensor(info, parameter=isinstance(value, Parameter) or is_array(value, "torch.nn", "Parameter"))
        if info.extent is None or made.parameter:
            return made
        source, offset, size = info.extent
        return self._views.setdefault((id(source), offset, size, info.shape, info.stride, info.dtype), made)

    def _info(self, value: Any) -> TensorInfo:
        if is_array(value, "torch", "Tensor"):
            from statedict.interop.torch import describe

            return describe(value, "", self._sources)
        if isinstance(value, Tensor):
            return value.info
        import numpy as np

        return info_of(np.asarray(value))
