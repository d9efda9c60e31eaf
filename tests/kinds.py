"""How inferred kinds are judged: the class of each live module, what may stand for it, and the count of the answers.

Only modules that hold tensors themselves count. What their kind ought to be:

- the class of `torch.nn` that the live module is, or inherits;
- of a class of a library's own that computes what one of `torch.nn` does, under `EQUIVALENT` names, that one;
- nothing, for any other class: blocks that hold a tensor or two of their own beside their layers.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from statedict.dtypes import dtype
from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.source import BytesSource
from statedict.tree.build import build
from statedict.tree.module import Module

_WITHOUT_MEAN = "Udop|SwitchTransformers|Pop2Piano|ImageGPT|CpmAnt|Kosmos2_5"
EQUIVALENT = (
    (re.compile(rf"RMS_?Norm|RmsNorm|T5LayerNorm$|^({_WITHOUT_MEAN})LayerNorm$"), "RMSNorm"),
    (re.compile(r"FrozenBatchNorm2d$"), "BatchNorm2d"),
    (re.compile(r"LayerNorm$"), "LayerNorm"),
    (re.compile(r"^Conv1D$"), "Conv1D"),
    (re.compile(r"[Rr]outer$"), "Linear"),
)
"""Patterns of the names of other classes, and the kind that is right for them, the first that fits.

`T5LayerNorm` and its copies divide by the root mean square and no more. A `…Router` with a matrix `weight` multiplies
by it. `Conv1D` is the name that transformers gives its transposed linear layer, and the one that we give it.
"""
_FAMILIES = frozenset({"BatchNorm", "InstanceNorm"})
"""Answers that leave the dimensions open: they count as unknown."""


def truth(module: nn.Module) -> str | None:
    """The kind that is right for a live module; None where there is no name that would be."""
    classes = [kind for kind in type(module).__mro__ if issubclass(kind, nn.Module) and kind is not nn.Module]
    for kind in classes:
        if kind.__module__.startswith("torch.nn.") and kind.__name__ in _PUBLIC:
            return kind.__name__
    for kind in classes:
        for pattern, name in EQUIVALENT:
            if pattern.search(kind.__name__) and (name != "Linear" or _matrix(module)):
                return name
    return None


_PUBLIC = frozenset({*dir(nn), "ParametrizationList"})


def _matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.ndim == 2


@dataclass
class Score:
    """Answers, counted."""

    right: int = 0
    wrong: int = 0
    """Named otherwise than they are, those that no name is right for among them."""
    unknown: int = 0
    """Left nameless, though there is a right name."""
    nameless: int = 0
    """Left nameless, as is right."""
    misnamed: int = 0
    """Those of the wrong that no name is right for."""
    roles_right: int = 0
    """Tensors that are a parameter, or a buffer, as in the live model."""
    roles_wrong: int = 0
    mistakes: Counter[tuple[str, str | None, str]] = field(default_factory=Counter[tuple[str, str | None, str]])
    """The wrong and unknown: the live class, the answer and the local name."""

    @property
    def share_right(self) -> float:
        """Of the modules that there is a right name for."""
        return self.right / max(self.right + self.wrong - self.misnamed + self.unknown, 1)

    @property
    def share_wrong(self) -> float:
        """Of all modules that hold tensors."""
        return self.wrong / max(self.right + self.wrong + self.unknown + self.nameless, 1)

    def add(self, live: nn.Module, *, ordered: bool = True) -> None:
        """Count the answers for a live model: from its state dict as PyTorch saves it, or as safetensors does."""
        model = bare(live, ordered=ordered)
        for name, module in _holders(model):
            self._judge(name, live.get_submodule(name), module.kind)
        parameters = {name for name, _ in live.named_parameters(remove_duplicate=False)}
        found = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        names = model.state_dict().keys()
        self.roles_wrong += len((parameters ^ found) & names)
        self.roles_right += len(names) - len((parameters ^ found) & names)

    def _judge(self, name: str, live: nn.Module, answer: str | None) -> None:
        right = truth(live)
        if answer in _FAMILIES:
            answer = None
        if answer == right:
            self.right += answer is not None
            self.nameless += answer is None
            return
        self.unknown += answer is None
        self.wrong += answer is not None
        self.misnamed += answer is not None and right is None
        self.mistakes[type(live).__name__, answer, re.sub(r"\d+", "0", name.rpartition(".")[2])] += 1


def _holders(model: Module) -> Iterator[tuple[str, Module]]:
    for name, module in model.named_modules():
        if any(True for _ in module.named_parameters(recurse=False)) or any(
            True for _ in module.named_buffers(recurse=False)
        ):
            yield name, module


def bare(live: nn.Module, *, ordered: bool = True) -> Module:
    """The tree of nothing but a live model's state dict.

    `ordered`: with the order, ties and `_metadata` that PyTorch saves; else by name, as safetensors keeps it: without
    the second names of tied tensors.
    """
    state = live.state_dict(keep_vars=True)
    made: dict[int, TensorInfo] = {}
    infos: dict[str, TensorInfo] = {}
    for name in state if ordered else sorted(state):
        tensor = state[name]
        if not isinstance(tensor, torch.Tensor) or (not ordered and id(tensor) in made):
            continue
        shape = None if is_lazy(tensor) else tuple(tensor.shape)
        infos[name] = made.setdefault(id(tensor), TensorInfo(name, dtype(str(tensor.dtype)), shape, None))
    versions = getattr(state, "_metadata", {}) if ordered else {}
    modules = {name: ModuleInfo(version=told.get("version")) for name, told in versions.items()}
    return build(Index("torch", BytesSource(b""), infos, modules, ordered=ordered))
