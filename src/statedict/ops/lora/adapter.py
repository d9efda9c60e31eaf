"""What an adapter's folder holds: for each module the two small matrices and how they are scaled, and whole tensors."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from statedict.errors import StatedictError
from statedict.index import Index, TensorInfo, shown
from statedict.narrow import is_dict
from statedict.tree.module import Module

_PREFIX = "base_model.model."
_PART = re.compile(
    r"(?P<path>.+)\.(?:lora_(?P<matrix>[AB])(?P<bias>\.bias|\.weight)|lora_embedding_(?P<embedding>[AB])(?:\.weight)?"
    r"|lora_(?P<magnitude>magnitude_vector)(?:\.weight)?)"
)
_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin training that change the base's weights, too (`init_lora_weights`)."""
_NOT_FOLDED = ("use_qalora", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config", "velora_config", "mica")
"""Settings of kinds of adapters that are more than a product of two matrices."""


@dataclass(slots=True)
class Pair:
    """One module's adapter: the weight becomes weight + scale · B · A, its rows then of the lengths `magnitude`."""

    path: str
    parts: dict[str, TensorInfo] = field(default_factory=dict[str, TensorInfo])
    """"A", "B"; "magnitude" and "bias" where there are such."""
    embedding: bool = False
    """Whether it is that of an embedding, whose weight is transposed: A · B."""
    scale: float = 1.0

    @property
    def rank(self) -> int:
        return _sizes(self.parts["A"])[0]


class Adapter:
    """An opened adapter, by the names of the base model's modules and tensors."""

    def __init__(self, index: Index, config: Mapping[str, Any]) -> None:
        """Raises StatedictError where it is no LoRA adapter, or one that cannot be folded."""
        _check_config(config)
        self.config = config
        self.pairs: dict[str, Pair] = {}
        self.whole: dict[str, TensorInfo] = {}
        """Tensors that replace those of the base: of `modules_to_save`, and trained biases."""
        for name, info in index.tensors.items():
            self._add(name.removeprefix(_PREFIX), info)
        for pair in self.pairs.values():
            self._complete(pair)

    def _add(self, name: str, info: TensorInfo) -> None:
        part = _PART.fullmatch(name)
        if part is None:
            if ".lora_" in name or "trainable_tokens" in name:
                raise StatedictError(
                    f"the adapter holds `{shown(name)}`, of a kind of LoRA that cannot be folded here; merge it by PEFT"
                )
            self.whole[name.replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")] = info
            return
        path = part["path"].replace(".base_layer", "")
        pair = self.pairs.setdefault(path, Pair(path))
        pair.embedding |= part["embedding"] is not None
        matrix = part["matrix"] or part["embedding"]
        if part["bias"] == ".bias" and matrix == "B":
            matrix = "bias"
        pair.parts[matrix or "magnitude"] = info

    def _complete(self, pair: Pair) -> None:
        """Check a module's parts, and find their scale as PEFT does."""
        if missing := {"A", "B"} - pair.parts.keys():
            raise StatedictError(
                f"the adapter has no LoRA matrix {min(missing)} for `{shown(pair.path)}`; fetch it again"
            )
        first, second = (_sizes(pair.parts[part]) for part in ("A", "B"))
        if len(first) < 2 or len(first) != len(second) or first[0] != second[1] or set(second[2:]) - {1}:
            raise StatedictError(
                f"the adapter's matrices A {first} and B {second} for `{shown(pair.path)}` do not fit each other"
            )
        alpha = _by_pattern(self.config.get("alpha_pattern"), pair.path, self.config.get("lora_alpha", 8))
        rank = max(1, pair.rank)
        pair.scale = alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def opened(adapter: Module, index: Index) -> Adapter:
    """The adapter of a tree. Raises StatedictError where the tree was not opened from an adapter's folder."""
    config = adapter.attributes.get("peft_config")
    if not is_dict(config):
        raise StatedictError("the adapter has no `adapter_config.json`; open its folder instead of a file in it")
    return Adapter(index, config)


def _sizes(info: TensorInfo) -> tuple[int, ...]:
    return info.shape or ()


def _check_config(config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise StatedictError(f"the adapter's `peft_type` is {shown(repr(kind))}; only those of LORA can be folded")
    begin = config.get("init_lora_weights")
    if isinstance(begin, str) and begin.lower().startswith(_CHANGE_THE_BASE):
        raise StatedictError(
            f"the adapter was begun by `{shown(begin)}`, which changes the base's weights, too; save it by PEFT with "
            "`path_initial_model_for_weight_conversion` first"
        )
    if strange := [name for name in _NOT_FOLDED if config.get(name)]:
        raise StatedictError(f"the adapter's `{strange[0]}` makes more of it than LoRA's product; merge it by PEFT")


def _by_pattern(patterns: Any, path: str, default: float) -> float:
    """What the first pattern gives that a module's name ends in, as PEFT reads them: as regular expressions."""
    for pattern, value in patterns.items() if is_dict(patterns) else ():
        try:
            fits = re.fullmatch(rf"(.*\.)?({pattern})", path)
        except re.error as error:
            raise StatedictError(f"the adapter's pattern `{shown(str(pattern))}` is malformed: {error.msg}") from None
        if fits:
            return float(value)
    return float(default)
