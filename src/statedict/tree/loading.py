"""`load_state_dict`: which tensor of a state dict goes where, in PyTorch's order and with PyTorch's messages."""
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001  The tree's own files look inside a `Module`.

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from statedict.tree import hints
from statedict.tree.tensor import Parameter, Tensor, is_tensor_like

if TYPE_CHECKING:
    from statedict.tree.module import Module

_EXTRA_STATE = "_extra_state"
_COUNTING = 2
_UNINITIALISED = (
    "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in `load_state_dict` "
    "when trying to load an uninitialized parameter into an initialized one. Call `forward` to initialize the "
    "parameters before accessing their attributes."
)
"""PyTorch's own words."""


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class IncompatibleKeys(_Keys):
    """The keys that a module wanted and a state dict had not, and the other way round; prints as PyTorch's does."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys!r}, unexpected_keys={self.unexpected_keys!r})"

    __str__ = __repr__


def load(module: "Module", state_dict: Mapping[str, Any], strict: bool, assign: bool) -> IncompatibleKeys:
    """What `Module.load_state_dict` does and says."""
    if not isinstance(cast("object", state_dict), Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
    loading = _Loading(OrderedDict(state_dict), getattr(state_dict, "_metadata", None) or {}, assign)
    loading.module(module, "", list(state_dict), set())
    keys = IncompatibleKeys(list(loading.wanted), loading.unexpected)
    errors = (_key_errors(loading, keys) if strict else []) + loading.errors
    if strict:
        given = {key: value for key, value in state_dict.items() if hasattr(value, "shape")}
        wanted = {key: tensor for key, tensor in loading.wanted.items() if tensor is not None}
        errors += hints.of_keys(wanted, given, keys.unexpected_keys)
    if errors:
        lines = "\n\t".join(errors)
        raise RuntimeError(f"Error(s) in loading state_dict for {module._get_name()}:\n\t{lines}")
    return keys


def _key_errors(loading: "_Loading", keys: IncompatibleKeys) -> list[str]:
    named = (("Missing", keys.missing_keys), ("Unexpected", keys.unexpected_keys))
    quoted = ((kind, ", ".join(f'"{key}"' for key in found)) for kind, found in named)
    return [f"{kind} key(s) in state_dict: {found}. " for kind, found in quoted if found]


class _Loading:
    """One call of `load_state_dict`: what is left over, and what went wrong."""

    def __init__(self, values: Mapping[str, Any], metadata: Mapping[str, Mapping[str, Any]], assign: bool) -> None:
        self.values = values
        self.metadata = metadata
        self.assign = assign
        self.wanted: dict[str, Tensor | None] = {}
        """What the module has and the state dict has not."""
        self.unexpected: list[str] = []
        self.errors: list[str] = []

    def module(self, module: "Module", head: str, keys: list[str], above: "set[Module]") -> None:
        """Load the tensors of one module, then those of its children; `keys` are those that begin with `head`."""
        state = _own_state(module)
        for name, tensor in state.items():
            if head + name in self.values:
                self.tensor(module, name, tensor, head + name, self.values[head + name])
            elif not self.is_younger(module, name, head):
                self.wanted[head + name] = tensor
        extra = _EXTRA_STATE in module.attributes
        self.extra_state(module, head + _EXTRA_STATE, extra)
        below: dict[str, list[str]] = {}
        for key in keys:
            name, dot, _ = key[len(head) :].partition(".")
            if dot:
                below.setdefault(name, []).append(key)
            if key != head + _EXTRA_STATE and name not in (module._modules if dot else state):
                self.unexpected.append(key)
        above.add(module)
        for name, child in module._modules.items():
            if child is not None and child not in above:
                self.module(child, f"{head}{name}.", below.get(name, []), above)
        above.discard(module)

    def is_younger(self, module: "Module", name: str, head: str) -> bool:
        """Whether a buffer is younger than the state dict: batch norms count their batches since their version 2."""
        version = self.metadata.get(head[:-1], {}).get("version") or 0
        return name == "num_batches_tracked" and module.version == _COUNTING > version

    def extra_state(self, module: "Module", key: str, expected: bool) -> None:
        if expected and key in self.values:
            module.attributes[_EXTRA_STATE] = self.values[key]
        elif expected:
            self.wanted[key] = None
        elif key in self.values:
            self.unexpected.append(key)

    def tensor(self, module: "Module", name: str, tensor: Tensor, key: str, given: Any) -> None:
        """Put one value into its place, or note why not."""
        if not is_tensor_like(given):
            self.errors.append(
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object '
                f"from checkpoint but received {type(given)}"
            )
            return
        if not isinstance(given, Tensor):
            given = Tensor(given)
        if tensor.shape == () and given.shape == (1,):
            given = given[0]  # PyTorch 0.3 had no 0-dimensional tensors
        if tensor.shape is not None and given.shape is None:
            raise RuntimeError(_UNINITIALISED)
        if tensor.shape is not None and given.shape != tensor.shape:
            self.errors.append(
                f"size mismatch for {key}: copying a param with shape {_size(given.shape)} from checkpoint, "
                f"the shape in current model is {_size(tensor.shape)}."
            )
            return
        try:
            self.put(module, name, tensor, key, given)
        except (RuntimeError, TypeError) as error:
            self.errors.append(
                f'While copying the parameter named "{key}", whose dimensions in the model are {_size(tensor.shape)}'
                f" and whose dimensions in the checkpoint are {_size(given.shape)}, "
                f"an exception occurred : {error.args}."
            )

    def put(self, module: "Module", name: str, tensor: Tensor, key: str, given: Tensor) -> None:
        if not self.assign:
            if tensor.is_meta and not given.is_meta:
                warnings.warn(
                    f"for {key}: copying from a non-meta parameter in the checkpoint to a meta parameter in the "
                    "current model, which is a no-op. (Did you mean to pass `assign=True` to assign items in the state "
                    "dictionary to their corresponding key in the module instead of copying them in place?)",
                    stacklevel=2,
                )
                return
            tensor.copy_(given)
            return
        if isinstance(tensor, Parameter):
            if not isinstance(given, Parameter):
                given = Parameter(given, requires_grad=tensor.requires_grad)
            given.requires_grad = tensor.requires_grad
        setattr(module, name, given)


def _own_state(module: "Module") -> dict[str, Tensor]:
    """What a state dict holds of a module itself, by local name."""
    left_out = module._non_persistent_buffers_set
    persistent = ((name, buffer) for name, buffer in module._buffers.items() if name not in left_out)
    held: Iterable[tuple[str, Tensor | None]] = (*module._parameters.items(), *persistent)
    return {name: tensor for name, tensor in held if tensor is not None}


def _size(shape: tuple[int, ...] | None) -> str:
    return f"torch.Size({list(shape or ())})"
