"""`fold_lora`: a model with an adapter added to its weights, which are computed when they are read."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from statedict import collector
from statedict.errors import StatedictError
from statedict.expressions.arithmetic import Combination
from statedict.expressions.arranging import permuted
from statedict.expressions.nodes import Node, computed, node_of
from statedict.expressions.products import ColumnsScaled, MatrixProduct, RowsScaled
from statedict.index import Index, TensorInfo, shown
from statedict.ops.lora.adapter import Adapter, Pair, opened
from statedict.ops.patterns import suggestion
from statedict.tree.build import build
from statedict.tree.flat import flatten

if TYPE_CHECKING:
    from statedict.tree.module import Module


def fold_lora(base: "Module", adapter: "Module") -> "Module":
    """A tree like `base` with a LoRA adapter folded in, as PEFT's `merge_and_unload` does; nothing is read yet.

    `adapter` is the opened folder of an adapter, with its `adapter_config.json`. Weights become W + scale · B · A with
    the scale alpha / r, or alpha / √r of rank-stabilised LoRA, r and alpha by module where the adapter says so; those
    of DoRA get the lengths of its magnitude vector. Linear layers, GPT-2's transposed ones, convolutions without groups
    and embeddings; saved modules and biases replace the base's. Computed in float64 and rounded once, to the base's
    types.

    Hu et al. 2021, "LoRA", arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732; Liu et al. 2024, "DoRA",
    arXiv:2402.09353. Raises StatedictError where the adapter does not fit the base, or is more than that.
    """
    with collector.paused():
        index = flatten(base)
        folding = _Folding(index, opened(adapter, flatten(adapter)))
        return build(Index(index.format, index.source, folding.tensors(), index.modules, index.metadata))


class _Folding:
    """One adapter beside the base's index."""

    def __init__(self, index: Index, adapter: Adapter) -> None:
        self._index = index
        self._adapter = adapter
        self._prefix = _prefix(index.tensors, adapter)
        self._transposed = bool(adapter.config.get("fan_in_fan_out")) or any(
            map(self._is_transposed, adapter.pairs.values())
        )

    def tensors(self) -> dict[str, TensorInfo]:
        """The tensors of the base, those of the adapter folded in; what is tied stays tied."""
        changed: dict[int, TensorInfo] = {}
        tensors = dict(self._index.tensors)
        for name, info in self._adapter.whole.items():
            self._replace(self._prefix.base(name), info, changed, tensors)
        for pair in self._adapter.pairs.values():
            weight = self._target(pair, "weight")
            changed[id(weight)] = self._folded(weight, pair)
            if "bias" in pair.parts:
                bias = self._target(pair, "bias")
                changed[id(bias)] = _sum(bias, node_of(pair.parts["bias"]), pair.scale)
        return {name: changed.get(id(info), info) for name, info in tensors.items()}

    def _replace(
        self, name: str, info: TensorInfo, changed: dict[int, TensorInfo], tensors: dict[str, TensorInfo]
    ) -> None:
        """Put a whole tensor in the place of the base's; one that the base has not, such as a new head, is added."""
        old = self._index.tensors.get(name)
        if old is None:
            tensors[name] = info._replace(name=name)
            return
        if old.shape != info.shape:
            raise StatedictError(
                f"the adapter's `{shown(name)}` has the shape {info.shape}, the base's {old.shape}; is it another base?"
            )
        changed[id(old)] = computed(Combination(((1, node_of(info)),), 0, node_of(old).dtype), old.shape or (), old)

    def _target(self, pair: Pair, local: str) -> TensorInfo:
        name = f"{self._prefix.base(pair.path)}.{local}"
        found = self._index.tensors.get(name)
        if found is None:
            hint = suggestion(name, self._index.tensors)
            raise StatedictError(
                f"the base has no `{shown(name)}`, which the adapter changes{hint}; is it another base?"
            )
        return found

    def _is_transposed(self, pair: Pair) -> bool:
        """Whether the shapes say that a weight has a row for each input, as those of GPT-2's `Conv1D`."""
        shape = self._target(pair, "weight").shape
        rows, columns = _sizes(pair)
        return not pair.embedding and shape == (columns, rows) != (rows, columns)

    def _folded(self, weight: TensorInfo, pair: Pair) -> TensorInfo:
        rows, columns = _sizes(pair)
        shape = weight.shape or ()
        transposed = len(shape) == 2 and (pair.embedding or self._transposed) and shape == (columns, rows)
        if not transposed and (shape[:1] != (rows,) or math.prod(shape[1:]) != columns):
            raise StatedictError(
                f"the adapter's product for `{shown(weight.name)}` has {rows:,} rows of {columns:,}, which the base's "
                f"shape {shape} does not fit; is it another base, or a convolution with groups?"
            )
        if not weight.numel:
            return weight
        first, second = _flat(pair.parts["A"]), _flat(pair.parts["B"])
        if transposed:
            product = MatrixProduct(node_of(permuted(first, (1, 0))), node_of(permuted(second, (1, 0))), rows)
        else:
            product = MatrixProduct(node_of(second), node_of(first), columns)
        folded = _sum(weight, product, pair.scale)
        if "magnitude" not in pair.parts:
            return folded
        return _with_lengths(folded, pair.parts["magnitude"], rows, transposed=transposed)


class _Renaming:
    """How an adapter's names become those of the base: by a prefix that one of them has."""

    def __init__(self, drop: str = "", add: str = "") -> None:
        self._drop = drop
        self._add = add

    def base(self, name: str) -> str:
        return self._add + name.removeprefix(self._drop)


def _prefix(names: Mapping[str, TensorInfo], adapter: Adapter) -> _Renaming:
    """The renaming that all weights of the adapter are found by: a base may be saved with its head, or without."""
    wanted = [f"{path}.weight" for path in adapter.pairs]
    if not wanted or all(name in names for name in wanted):
        return _Renaming()
    first = wanted[0]
    candidates = [_Renaming(add=name.removesuffix(first)) for name in names if name.endswith("." + first)]
    cuts = [at + 1 for at, letter in enumerate(first) if letter == "."]
    candidates += [_Renaming(drop=first[:cut]) for cut in cuts if first[cut:] in names]
    fitting = [each for each in candidates if all(each.base(name) in names for name in wanted)]
    return fitting[0] if len(fitting) == 1 else _Renaming()


def _sizes(pair: Pair) -> tuple[int, int]:
    """Rows and columns of the product B · A."""
    rank, rows = pair.rank, pair.parts["B"].numel
    return (rows // rank, pair.parts["A"].numel // rank) if rank else (0, 0)


def _flat(info: TensorInfo) -> TensorInfo:
    """A matrix, of a convolution's kernel too: all but the first dimension in one."""
    rows, *others = info.shape or (1,)
    return info if len(others) == 1 else info._replace(shape=(rows, math.prod(others)), stride=None)


def _sum(info: TensorInfo, more: Node, scale: float) -> TensorInfo:
    node = node_of(info)
    return computed(Combination(((1, node), (scale, more)), 0, node.dtype), info.shape or (), info)


def _with_lengths(folded: TensorInfo, lengths: TensorInfo, rows: int, *, transposed: bool) -> TensorInfo:
    """A weight whose rows, the columns of a transposed one, have the lengths that DoRA learned."""
    if lengths.numel != rows:
        raise StatedictError(
            f"the adapter's magnitude vector for `{shown(folded.name)}` has {lengths.numel:,} numbers for {rows:,} rows"
        )
    of, node = node_of(folded), node_of(lengths)
    columns = folded.numel // rows
    scaled = ColumnsScaled(of, rows, node) if transposed else RowsScaled(of, columns, node)
    return computed(scaled, folded.shape or (), folded)
