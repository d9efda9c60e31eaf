"""`extract_lora`: the adapter of low rank that comes closest to what training changed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from statedict import collector
from statedict.dtypes import DTYPES
from statedict.errors import StatedictError
from statedict.expressions.arithmetic import Combination
from statedict.expressions.nodes import Node, node_of
from statedict.expressions.selecting import stretches
from statedict.index import Index, ModuleInfo, TensorInfo, shown
from statedict.ops.lora.approximation import best_product
from statedict.ops.merge.agreement import check_agreement
from statedict.ops.patterns import matching
from statedict.source import BytesSource
from statedict.tree.build import build
from statedict.tree.combining import is_number
from statedict.tree.flat import flatten
from statedict.tree.reading import info_of_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from statedict.tree.module import Module

METADATA = "statedict.extract_lora"
"""The entry of the adapter's metadata that says, as JSON, what was extracted and what was left out."""
_PREFIX = "base_model.model."
_WEIGHT = ".weight"
_PLAIN = DTYPES["float64"]


def extract_lora(
    tuned: "Module",
    base: "Module",
    rank: int = 16,
    patterns: Sequence[str] = (),
    *,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> "Module":
    """The LoRA adapter of that rank that comes closest to `tuned` when it is folded into `base`, as float32 in memory.

    Of each linear layer's, and embedding's, weight that differs (of those that `patterns` fit, if there are any) the
    best approximation of the difference, which `approximation.best_product` finds, the same for the same `seed`. What
    else differs is left out. The tree is what opening a PEFT folder gives; `save_adapter` writes one. Its metadata
    holds, as `statedict.extract_lora`, the `energy` (share of the sum of squares) that is kept of each module's
    difference, and the names `left_out`. `progress` is told how many bytes of the model are done, and how many there
    are.

    Raises StatedictError where names or shapes differ, or nothing is different; PatternError for a pattern that
    matches nothing.
    """
    if rank < 1:
        raise StatedictError(f"an adapter cannot have the rank {rank}; expected 1 or more")
    with collector.paused():
        first, second = flatten(base), flatten(tuned)
        check_agreement([first, second], based=True, doing="compared")
        wanted = matching(list(first.tensors), patterns) if patterns else set(first.tensors)
        extraction = _Extraction(rank, seed, _transposed_kinds(base))
        aliases = first.aliases()
        compared = [
            (name, info)
            for name, info in first.tensors.items()
            if name in wanted and name not in aliases and is_number(info)
        ]
        done, total = 0, sum(info.nbytes for _, info in compared)
        for name, info in compared:
            extraction.add(name, info, second.tensors[name])
            done += info.nbytes
            if progress is not None:
                progress(done, total)
        return build(extraction.index())


def _transposed_kinds(base: "Module") -> dict[str, str]:
    """The modules whose weights have a row for each input, by path, each with its kind."""
    kinds = ((path, module.kind) for path, module in base.named_modules())
    return {path: kind for path, kind in kinds if kind in ("Embedding", "Conv1D")}


@dataclass(slots=True)
class _Extraction:
    """The adapter as it grows."""

    rank: int
    seed: int
    transposed: dict[str, str]
    tensors: dict[str, TensorInfo] = field(default_factory=dict[str, TensorInfo])
    energy: dict[str, float] = field(default_factory=dict[str, float])
    left_out: list[str] = field(default_factory=list[str])

    def add(self, name: str, base: TensorInfo, tuned: TensorInfo) -> None:
        """Add what a tensor's difference needs, if there is one."""
        change = Combination(((1, node_of(tuned)), (-1, node_of(base))), 0, _PLAIN)
        shape = base.shape or ()
        if len(shape) != 2 or not name.endswith(_WEIGHT) or base.dtype.is_complex:
            if _is_different(change):
                self.left_out.append(name)
            return
        path = name.removesuffix(_WEIGHT)
        found = best_product(change, shape[1], self.rank, f"{self.seed}\0{name}")
        if not found.total:
            return
        if not found.is_finite:
            raise StatedictError(
                f"tensor `{shown(name)}` differs by what is no finite number; leave it out by a pattern"
            )
        self.energy[path] = found.kept / found.total
        self._put(path, found.left, found.right)

    def _put(self, path: str, left: "NDArray[Any]", right: "NDArray[Any]") -> None:
        kind = self.transposed.get(path)
        first, second = (right, left) if kind is None else (left.T, right.T)
        names = ("lora_embedding_A", "lora_embedding_B") if kind == "Embedding" else ("lora_A.weight", "lora_B.weight")
        for local, matrix in zip(names, (first, second), strict=True):
            name = f"{_PREFIX}{path}.{local}"
            self.tensors[name] = info_of_array(matrix.astype("f4", order="C"), name)

    def index(self) -> Index:
        if not self.energy:
            raise StatedictError("no matrix differs between the two models; there is nothing to extract")
        said = {"rank": self.rank, "seed": self.seed, "energy": self.energy, "left_out": self.left_out}
        root = ModuleInfo(attributes={"peft_config": self._config()})
        nowhere = BytesSource(b"", "an extracted adapter")
        return Index("memory", nowhere, self.tensors, {"": root}, {"format": "pt", METADATA: json.dumps(said)})

    def _config(self) -> dict[str, Any]:
        """What PEFT's `adapter_config.json` says; the scale alpha / r is 1."""
        return {
            "peft_type": "LORA",
            "task_type": None,
            "base_model_name_or_path": None,
            "r": self.rank,
            "lora_alpha": self.rank,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": any(self.transposed.get(path) == "Conv1D" for path in self.energy),
            "target_modules": list(self.energy),
            "inference_mode": True,
        }


def _is_different(change: Node) -> bool:
    return any(values.any() for _, values in stretches(change))
