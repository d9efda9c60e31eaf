"""A whole model as `torch.save(model)` pickles it: its modules by the names of their classes, with their attributes."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from statedict import collector
from statedict.errors import StatedictError
from statedict.formats._pickle_writing import Call, Global
from statedict.formats._torch_writing import TorchPickle, archived
from statedict.index import Index, ModuleInfo, TensorInfo, shown
from statedict.opaque import Opaque
from statedict.plan import Plan

_REBUILD = Global("torch._utils", "_rebuild_parameter")
_HOOKS = (
    *("_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_hooks_with_kwargs"),
    *("_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks"),
    *("_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)
"""The empty dicts of a module without hooks."""


def plan(index: Index) -> Plan:
    """The PyTorch zip archive of the modules of an index, which `torch.load(weights_only=False)` opens.

    The classes must be importable there, as for every such file. Raises StatedictError for a module whose class is not
    known, and for an attribute that is no plain value.
    """
    pickle = _ModulePickle(index)
    with collector.paused():
        try:
            pickle.save(pickle.module(""))
        except RecursionError:
            raise StatedictError("the model is nested deeper than Python can follow") from None
    if pickle.left_out:
        place, kind = pickle.left_out[0]
        raise _unknown(place, kind)
    return Plan(archived(pickle), pickle.notes())


class _Object:
    """A module to be written, once."""

    __slots__ = ("kind", "state")

    def __init__(self, kind: Global) -> None:
        self.kind = kind
        self.state: dict[str, Any] = {}


class _Registered:
    """A parameter to be written, once."""

    __slots__ = ("info",)

    def __init__(self, info: TensorInfo) -> None:
        self.info = info


class _ModulePickle(TorchPickle):
    """A pickle of modules: what is shared is one object, and so are tied parameters."""

    def __init__(self, index: Index) -> None:
        super().__init__(index.tensors.values())
        self._index = index
        self._modules: dict[int, _Object] = {}
        self._parameters: dict[int, _Registered] = {}

    def module(self, path: str) -> _Object:
        """The module of that name, with all that is in it."""
        info = self._index.modules.get(path, ModuleInfo())
        found = self._modules.get(id(info))
        if found is None:
            module, _, name = (info.class_name or "").rpartition(".")
            if not module or not all(part.isidentifier() for part in f"{module}.{name}".split(".")):
                raise StatedictError(
                    f"module `{shown(path)}` has no class that is known, which a whole model needs; "
                    "leave `whole` out, and its tensors are saved"
                )
            found = self._modules[id(info)] = _Object(Global(module, name))
            found.state = self._state(path, info)
        return found

    def _state(self, path: str, info: ModuleInfo) -> dict[str, Any]:
        head = path + "." if path else ""
        tensors = self._index.tensors
        return {
            "training": info.training,
            "_parameters": {name: self._parameter(tensors.get(head + name)) for name in info.parameters},
            "_buffers": {name: tensors.get(head + name) for name in info.buffers},
            "_non_persistent_buffers_set": set(info.non_persistent),
            **{name: OrderedDict() for name in _HOOKS},
            "_is_full_backward_hook": None,
            "_modules": {
                name: self.module(head + name) if head + name in self._index.modules else None for name in info.modules
            },
            **info.attributes,
        }

    def _parameter(self, info: TensorInfo | None) -> _Registered | None:
        return None if info is None else self._parameters.setdefault(id(info), _Registered(info))

    def _object(self, value: _Object) -> None:
        if self.once(value):
            self.parts += self.ref(value.kind), b")\x81"
            self.remember(value)
            self.save(value.state)
            self.parts.append(b"b")

    def _registered(self, value: _Registered) -> None:
        if self.once(value):
            info = value.info
            if info.shape is None:
                self.save(info)
            else:
                self.save(Call(_REBUILD, (info, info.requires_grad, OrderedDict())))
            self.remember(value)

    def _opaque(self, value: Opaque) -> None:
        module, _, name = value.name.rpartition(".")
        if value.args is not None or not module:
            raise _unknown(".".join(map(str, self._path)), value.name)
        self.parts.append(self.ref(Global(module, name)))

    kinds: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        **TorchPickle.kinds,
        _Object: _object,
        _Registered: _registered,
        Opaque: _opaque,
    }


def _unknown(place: str, kind: str) -> StatedictError:
    return StatedictError(
        f"attribute `{shown(place)}` is a {shown(kind)}, of which the file gives only a description; "
        "leave `whole` out, and the tensors are saved"
    )
