"""The tree that PyTorch users know: `Module`, with the methods of `torch.nn.Module` and their behaviour."""
# ruff: noqa: SLF001  A module looks inside those below it.

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Self, cast

from statedict import collector
from statedict.displaying import Displayed
from statedict.extras import needed
from statedict.index import EMPTY
from statedict.tree import finding, layers, loading, printing, registering, walking
from statedict.tree.combining import ModuleOperators
from statedict.tree.deferred import Deferred, Table, Unread
from statedict.tree.registering import type_name
from statedict.tree.tensor import Buffer, Parameter, Tensor, is_tensor_like

if TYPE_CHECKING:
    from torch import nn

    from statedict.tree.infer.quantization import Quantization

_EXTRA_STATE = "_extra_state"


class Module(ModuleOperators, Displayed):
    """One module of a checkpoint: child modules, parameters, buffers and other attributes, under PyTorch's names.

    It holds weights and what the file says of them, but no code, so it cannot be called. Assigning a `Parameter`, a
    `Buffer` or a `Module` registers it; the file itself is never changed.
    """

    kind: str | None = cast("Any", Deferred(None))
    """The name of its class ("Conv2d"), where the checkpoint or, once it is asked for, names and shapes tell."""
    inferred: bool = cast("Any", Deferred(default=False))
    quantization: "Quantization | None" = cast("Any", Deferred(None))
    """How its weight is stored in fewer bits, where that can be told."""
    class_name: str | None = None
    """The full name of its class ("torch.nn.modules.conv.Conv2d")."""
    version: int | None = None
    """The version that PyTorch writes for it into a state dict's `_metadata`."""
    container: str | None = None
    """"dict", "list" or "tuple", where it was such a container of a checkpoint and no module."""
    metadata: Mapping[str, Any] = EMPTY
    """What the opened file says of itself as a whole, at the root of its tree: safetensors' `__metadata__`, say."""
    training: bool = True

    _keys: Mapping[Any, Any] = EMPTY
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None] = cast("Any", Table(dict))
    _modules: "dict[str, Module | None]" = cast("Any", Table(dict))
    _non_persistent_buffers_set: set[str] = cast("Any", Table(set))
    _attributes: "dict[str, Any] | Unread" = cast("Any", Table(dict))

    def __init__(self) -> None:
        self.__dict__["_parameters"] = {}

    @property
    def attributes(self) -> dict[str, Any]:
        """Its other attributes by name: plain values, `Tensor` and `Opaque`. They also read as `module.name`."""
        held = self._attributes
        if isinstance(held, Unread):
            held = self.__dict__["_attributes"] = held.convert(held.described)
        return held

    @property
    def inferred_attributes(self) -> dict[str, Any]:
        """What shapes tell of a layer whose kind was `inferred`: `in_channels`, `bias` as None where it has none."""
        from statedict.tree.infer.layout import inferred_attributes

        return inferred_attributes(self) if self.inferred else {}

    # Calling

    def forward(self, *input: Any) -> None:
        """Nothing but NotImplementedError: a checkpoint holds no code."""
        raise NotImplementedError(
            f'Module [{self._get_name()}] is missing the required "forward" function: a checkpoint holds weights, not '
            "code; build the model's class in PyTorch and give it these weights with its `load_state_dict`"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def to_torch(self, classes: "Mapping[str, type[nn.Module]] | None" = None) -> "nn.Module":
        """The live PyTorch module that it describes, with those below it, its weights read into memory.

        Classes of `torch.nn`, and those that `classes` gives for full names in the file, are built without their
        `__init__`, as unpickling does; nothing else that a file names is looked up. Any other module becomes a holder
        without `forward`: `interop.modules.holders` lists them. Tied weights stay tied. Of a live model's tree it is
        the live module itself. Raises StatedictError where the file names no class, as state dicts do not.
        """
        needed("torch", "torch", "PyTorch is not installed")
        from statedict.interop.modules import to_torch

        return to_torch(self, classes or {})

    # Registering

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add a buffer: a `Tensor`, an array or None. Raises TypeError, KeyError as PyTorch does."""
        registering.check_name(self, "buffer", name, self._buffers)
        if tensor is not None and not is_tensor_like(tensor):
            raise TypeError(
                f"cannot assign '{type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        known = tensor is None or isinstance(tensor, Tensor)
        self._buffers[name] = tensor if known else Buffer(tensor, persistent=persistent)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a `Parameter`, or None in its place. Raises TypeError, KeyError as PyTorch does."""
        registering.check_name(self, "parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type_name(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)"
            )
        self._parameters[name] = param

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a child module, or None in its place. Raises TypeError, KeyError as PyTorch does."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{type_name(module)} is not a Module subclass")
        registering.check_name(self, "module", name, self._modules)
        self._modules[name] = module

    def register_module(self, name: str, module: "Module | None") -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    # Finding

    def get_submodule(self, target: str) -> "Module":
        """The module of that dotted name; "" is this one. Raises AttributeError, with the closest names."""
        return finding.submodule(self, target.split("."), target) if target else self

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of that dotted name. Raises AttributeError, with the closest names."""
        return finding.parameter(self, target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of that dotted name. Raises AttributeError, with the closest names."""
        return finding.buffer(self, target)

    def set_submodule(self, target: str, module: "Module", strict: bool = False) -> None:
        """Put a module in the place of that dotted name. Raises ValueError, AttributeError as PyTorch does."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(cast("object", module), Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        owner, name = finding.place(self, target, strict)
        setattr(owner, name, module)

    # Walking

    def named_modules(
        self, memo: "set[Module] | None" = None, prefix: str = "", remove_duplicate: bool = True
    ) -> "Iterator[tuple[str, Module]]":
        """Yield this module and all below it with their full names, parents first, each once.

        With `remove_duplicate=False` a shared module comes under each of its names.
        """
        memo = set() if memo is None else memo if remove_duplicate else set(memo)
        if self not in memo:
            for head, module in self._descend(_head(prefix), memo, not remove_duplicate):
                yield head[:-1], module

    def modules(self, remove_duplicate: bool = True) -> "Iterator[Module]":
        """Yield this module and all below it, parents first."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> "Iterator[tuple[str, Module]]":
        """Yield the immediate child modules with their names, each once."""
        memo: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in memo:
                memo.add(module)
                yield name, module

    def children(self) -> "Iterator[Module]":
        """Yield the immediate child modules, each once."""
        for _, module in self.named_children():
            yield module

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters of this module and, unless `recurse` is false, of all below it, with full names."""
        yield from self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters of this module and, unless `recurse` is false, of all below it."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the buffers of this module and, unless `recurse` is false, of all below it, with full names."""
        yield from self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers of this module and, unless `recurse` is false, of all below it."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        memo: set[Tensor] = set()
        head = _head(prefix)
        for below, module in self._descend(head, set(), not remove_duplicate) if recurse else ((head, self),):
            for name, tensor in module.__dict__.get(table, EMPTY).items():
                if tensor is None or tensor in memo:
                    continue
                if remove_duplicate:
                    memo.add(tensor)
                yield below + name, tensor

    def _descend(self, head: str, seen: "set[Module]", again: bool) -> "Iterator[tuple[str, Module]]":
        return walking.descend(self, head, seen, again)

    # State

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """All parameters and persistent buffers by full name, shared ones under each name: an OrderedDict.

        The tensors are detached, unless `keep_vars`. Its `_metadata` holds the modules' versions, as PyTorch's does.
        """
        if args:
            warnings.warn("Positional args are being deprecated, use kwargs instead.", FutureWarning, stacklevel=2)
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict[str, Any]()
            vars(destination)["_metadata"] = OrderedDict[str, Any]()
        metadata: Any = getattr(destination, "_metadata", None)
        with collector.paused():
            self._fill(destination, metadata, prefix, keep_vars)
        return destination

    def _fill(self, destination: MutableMapping[str, Any], metadata: Any, prefix: str, keep_vars: bool) -> None:
        for head, module in self._descend(prefix, set(), again=True):
            if metadata is not None:
                metadata[head[:-1]] = {} if module.version is None else {"version": module.version}
            module._save_to_state_dict(destination, head, keep_vars)

    def _save_to_state_dict(self, destination: MutableMapping[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, parameter in self._parameters.items():
            if parameter is not None:
                destination[prefix + name] = parameter if keep_vars else parameter.detach()
        for name, buffer in self.__dict__.get("_buffers", EMPTY).items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars else buffer.detach()
        if self._has_extra_state():
            destination[prefix + _EXTRA_STATE] = self.attributes[_EXTRA_STATE]

    def _has_extra_state(self) -> bool:
        held = self.__dict__.get("_attributes", EMPTY)
        return _EXTRA_STATE in (held.described if isinstance(held, Unread) else held)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> loading.IncompatibleKeys:
        """Take the tensors of a state dict: into the dtypes here, or as they are with `assign`. Nothing is read yet.

        Values may be `Tensor`, numpy arrays or `torch.Tensor`. Returns the missing and the unexpected keys. Raises
        RuntimeError in PyTorch's words, followed by what may be meant, for wrong shapes and, if `strict`, wrong keys.
        """
        return loading.load(self, state_dict, strict, assign)

    # Changing all

    def apply(self, fn: "Callable[[Module], object]") -> Self:
        """This module, after `fn` was called with every module below it, children first, and with itself."""
        for module in self._children_first(set()):
            fn(module)
        return self

    def _children_first(self, above: "set[Module]") -> "Iterator[Module]":
        above.add(self)
        for child in self.children():
            if child not in above:
                yield from child._children_first(above)
        above.discard(self)
        yield self

    def train(self, mode: bool = True) -> Self:
        """This module, with all below it marked as training, or not. Raises ValueError unless `mode` is a bool."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """This module, with all below it marked as not training."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """This module, with all its parameters marked."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    # Attributes

    def __getattr__(self, name: str) -> Any:
        held = self.__dict__
        for table in ("_parameters", "_buffers", "_modules"):
            if table in held and name in held[table]:
                return held[table][name]
        if "_attributes" in held and not name.startswith("__") and name in self.attributes:
            return self.attributes[name]
        raise AttributeError(f"'{self._get_name()}' object has no attribute '{name}'", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            self._set_early(name, value)
        elif isinstance(value, Parameter):
            self._forget(name, self._parameters)
            self.register_parameter(name, value)
        elif name in self._parameters:
            self._parameters[name] = registering.parameter_for(name, value, self._parameters[name])
        elif isinstance(value, Module):
            self._forget(name, self._modules)
            self._modules[name] = value
        elif name in self._modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type_name(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            self._modules[name] = None
        elif isinstance(value, Buffer) or name in self._buffers:
            buffer = registering.buffer_for(name, value, name not in self._non_persistent_buffers_set)
            self.register_buffer(
                name, buffer, getattr(buffer, "persistent", name not in self._non_persistent_buffers_set)
            )
        elif name in _FIELDS or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            self.attributes[name] = value

    def _set_early(self, name: str, value: Any) -> None:
        for role, kind in (("parameters", Parameter), ("module", Module)):
            if isinstance(value, kind):
                raise AttributeError(f"cannot assign {role} before Module.__init__() call")
        object.__setattr__(self, name, value)

    def _forget(self, name: str, kept: Any) -> None:
        for table in (self.attributes, self._parameters, self._buffers, self._modules):
            if table is not kept:
                table.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                self._non_persistent_buffers_set.discard(name)
                return
        if name in self.attributes:
            del self.attributes[name]
        elif name in self.__dict__:
            object.__delattr__(self, name)
        else:
            raise AttributeError(f"'{self._get_name()}' object has no attribute '{name}'", name=name, obj=self)

    def __dir__(self) -> list[str]:
        held = (self.__dict__, self._parameters, self._modules, self._buffers, self.attributes)
        names = [*dir(type(self)), *(name for table in held for name in table)]
        return sorted(name for name in names if not name[:1].isdigit())

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.__dict__, "_attributes": self.attributes}

    # Printing

    def _get_name(self) -> str:
        return layers.name(self.class_name) if self.class_name else printing.kind(self) or type(self).__name__

    def extra_repr(self) -> str:
        """What `print` shows of this module between its name's brackets, before its children."""
        return printing.extra_repr(self)

    def __repr__(self) -> str:
        return printing.text(self)


_FIELDS = frozenset(Module.__annotations__)


def _head(prefix: str) -> str:
    return prefix + "." if prefix else ""
