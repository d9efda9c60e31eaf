"""`memory`: bytes that a model takes: its weights; gradients and an optimizer's states in training; its KV cache."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from statedict.dtypes import DTYPES, DType
from statedict.ops.cache import Cache, cache_of
from statedict.ops.select import NamedTensor, named_tensors
from statedict.tree.module import Module

Optimizer = Literal["none", "sgd", "sgd-momentum", "adam", "adam8bit"]
"""`none`: gradients only. `adam` stands for AdamW too, `adam8bit` for those of bitsandbytes."""
Precision = Literal["f32", "bf16", "f16", "mixed"]
"""What all floats are trained in. `mixed`: bf16 weights and gradients, a float32 master copy and float32 states."""

OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_FLOAT32 = DTYPES["float32"]
_WEIGHTS: Mapping[Precision, DType] = {
    "f32": _FLOAT32,
    "bf16": DTYPES["bfloat16"],
    "f16": DTYPES["float16"],
    "mixed": DTYPES["bfloat16"],
}
_STATES: Mapping[Optimizer, int] = {"none": 0, "sgd": 0, "sgd-momentum": 1, "adam": 2, "adam8bit": 2}
"""Numbers that are kept for each number of a parameter."""
_COUNTER = 4
"""Bytes of the float32 in which `torch.optim.Adam` counts the steps of each parameter."""
_SMALLEST_8BIT = 4096
_BLOCK_8BIT = 256
"""Elements that share a scale: bitsandbytes keeps smaller parameters' states in float32."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes of some tensors, each counted once."""

    weights: Mapping[DType, int]
    """Those of parameters and buffers by element type, the most first."""
    gradients: int = 0
    states: int = 0
    """Those that the optimizer keeps."""
    master: int = 0
    """The float32 copies of parameters in mixed precision."""

    @property
    def total(self) -> int:
        return sum(self.weights.values()) + self.gradients + self.states + self.master


@dataclass(frozen=True, slots=True)
class Memory(Bytes):
    """What a model takes. Activations are not part of it: they depend on the input."""

    modules: Mapping[str, Bytes] = field(default_factory=dict[str, Bytes])
    """The same of each module and all below it, by full name; the whole is ""."""
    trainable: int = 0
    """Elements of the parameters that are not frozen."""
    cache: Cache | None = None
    """The KV cache, where a configuration beside the weights tells the heads."""
    optimizer: Optimizer | None = None
    precision: Precision | None = None


def memory(model: Module, *, optimizer: Optimizer | None = None, precision: Precision | None = None) -> Memory:
    """The bytes that a model takes, module by module: as it was saved, or with all its floats in `precision`.

    With an `optimizer` those of training, too: gradients and states of the parameters that are not frozen. An
    optimizer's own tensors in a training checkpoint are no weights. Raises ValueError for an unknown word.
    """
    for word, known in ((optimizer, OPTIMIZERS), (precision, PRECISIONS)):
        if word is not None and word not in known:
            raise ValueError(f"`{word}` is not known here; expected one of {', '.join(known)}")
    entries = [entry for entry in named_tensors(model) if entry.role != "optimizer"]
    inside: dict[str, list[NamedTensor]] = {"": entries}
    for entry in entries:
        name = entry.name
        while dot := name.rfind(".") + 1:
            name = name[: dot - 1]
            inside.setdefault(name, []).append(entry)
    modules = {name: bytes_of(held, optimizer, precision) for name, held in inside.items()}
    whole = modules[""]
    kept_as = None if precision is None else _WEIGHTS[precision]
    return Memory(
        whole.weights,
        whole.gradients,
        whole.states,
        whole.master,
        modules,
        sum(entry.tensor.numel() for entry in _distinct(entries) if entry.tensor.requires_grad),
        cache_of(model, kept_as),
        optimizer,
        precision,
    )


def bytes_of(
    entries: Iterable[NamedTensor], optimizer: Optimizer | None = None, precision: Precision | None = None
) -> Bytes:
    """The bytes of some tensors; see `memory`."""
    weights: dict[DType, int] = {}
    gradients = states = master = 0
    for entry in _distinct(entries):
        tensor = entry.tensor
        kept_as, nbytes = tensor.dtype, tensor.nbytes
        if precision is not None and kept_as.is_floating_point:
            kept_as = _WEIGHTS[precision]
            nbytes = kept_as.nbytes(tensor.numel())
        weights[kept_as] = weights.get(kept_as, 0) + nbytes
        if optimizer is None or not tensor.requires_grad:
            continue
        gradients += nbytes
        master += _FLOAT32.nbytes(tensor.numel()) if precision == "mixed" else 0
        states += _states(tensor.numel(), _FLOAT32 if precision == "mixed" else kept_as, optimizer)
    return Bytes(dict(sorted(weights.items(), key=lambda item: -item[1])), gradients, states, master)


def _states(numel: int, kept_as: DType, optimizer: Optimizer) -> int:
    """Bytes that an optimizer keeps for a parameter of `numel` elements."""
    if optimizer == "adam8bit" and numel >= _SMALLEST_8BIT:
        return _STATES[optimizer] * (numel + _FLOAT32.itemsize * -(-numel // _BLOCK_8BIT))
    kept_as = _FLOAT32 if optimizer == "adam8bit" else kept_as
    return _STATES[optimizer] * kept_as.nbytes(numel) + (_COUNTER if optimizer == "adam" else 0)


def _distinct(entries: Iterable[NamedTensor]) -> list[NamedTensor]:
    """The first name of each tensor."""
    found: dict[int, NamedTensor] = {}
    for entry in entries:
        found.setdefault(id(entry.tensor), entry)
    return list(found.values())
