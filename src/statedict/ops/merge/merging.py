"""`merge`: one tree of several models of the same architecture, whose tensors are computed when they are read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from statedict import collector
from statedict.dtypes import DType
from statedict.dtypes import dtype as dtype_of
from statedict.errors import StatedictError
from statedict.expressions.nodes import Node, computed, node_of
from statedict.expressions.once import Once
from statedict.index import Index, TensorInfo
from statedict.ops.merge import averages, task_vectors
from statedict.ops.merge.agreement import check_agreement
from statedict.ops.merge.settings import Method, Setting, by_name, each_of, method_of
from statedict.ops.merge.sparsity import Largest, Middle, Randomly, Sparsifier, restored
from statedict.ops.merge.task_vectors import Merged, TaskVector, difference
from statedict.tree.build import build
from statedict.tree.combining import is_number
from statedict.tree.flat import flatten

if TYPE_CHECKING:
    from statedict.tree.module import Module

METADATA = "statedict.merge"
"""The entry of the result's metadata that says, as JSON, how it was merged."""
_DEFAULTS = {"t": 0.5, "density": 1.0, "gamma": 0.01, "scale": 1.0, "seed": 0}


def merge(
    models: "Sequence[Module]",
    method: str = "linear",
    weights: Sequence[Setting] | None = None,
    base: "Module | None" = None,
    *,
    t: Setting | None = None,
    density: Setting | Sequence[Setting] | None = None,
    gamma: Setting | Sequence[Setting] | None = None,
    scale: Setting | None = None,
    normalize: bool | None = None,
    rescale: bool | Literal["l1"] | None = None,
    seed: int | None = None,
    dtype: DType | str | None = None,
) -> "Module":
    """A tree like the first model, with the tensors of all merged; nothing is read before its elements are.

    `method` is "linear", "slerp", "task-arithmetic", "ties", "dare", "dare-ties", "breadcrumbs", "breadcrumbs-ties" or
    "model-stock"; those but the first two merge what training changed in a `base`. The models need the same names and
    shapes. Computed in float64, and rounded once, to `dtype` or the types of the base, or else the first model. Whole
    numbers and truth values (`num_batches_tracked`, masks) are the first model's.

    `weights` has one for each model (1 unless given); `normalize` divides by their sum, as linear and ties do.
    `t` leads from the first model of slerp, at 0, to the second, at 1 (0.5 unless given). `scale` multiplies the sum of
    the task vectors. `density` is the share of each task vector's elements that is merged (all of them unless given):
    of ties those of the largest magnitudes, exactly so many; of dare random ones, the same for the same `seed`; of
    breadcrumbs those that are left without the share `gamma` (0.01) of the largest, and then the smallest. `rescale`
    makes up for the others: dare divides by `density`; "l1" keeps the sum of the magnitudes, as mergekit has it.

    Each of these numbers may be a dict of patterns over names, of which the first that fits counts. How it was merged
    is kept in the result's metadata as `statedict.merge`. The papers are cited in `ops.merge`.

    Raises StatedictError where models, names, shapes or settings do not fit, PatternError for a pattern that matches
    nothing.
    """
    name, kind = method_of(method)
    given = {"t": t, "density": density, "gamma": gamma, "scale": scale, "seed": seed} | {
        "normalize": normalize,
        "rescale": rescale,
    }
    _check_use(name, kind, len(models), weights, base, given)
    settings = {key: value for key, value in given.items() if value is not None}
    with collector.paused():
        indexes = [flatten(model) for model in (*([base] if base is not None else []), *models)]
        check_agreement(indexes, based=base is not None)
        like = indexes[0 if base is None else 1]
        merger = _Merger(name, kind, len(models), weights, settings, indexes, _dtype(dtype))
        tensors = merger.tensors(like)
        said = {**like.metadata, METADATA: json.dumps(_said(name, kind, len(models), weights, settings))}
        return build(Index(like.format, like.source, tensors, like.modules, said))


def _dtype(dtype: DType | str | None) -> DType | None:
    if dtype is None or isinstance(dtype, DType):
        return dtype
    try:
        target = dtype_of(dtype)
    except ValueError as error:
        raise StatedictError(str(error)) from None
    if not target.is_floating_point:
        raise StatedictError(f"models cannot be merged to {target}; expected a floating point type")
    return target


def _check_use(name: str, kind: Method, count: int, weights: object, base: object, given: Mapping[str, object]) -> None:
    if count < kind.fewest or (kind.most is not None and count > kind.most):
        wanted = f"{kind.fewest}" if kind.most else f"{kind.fewest} or more"
        raise StatedictError(f"method `{name}` merges {wanted} models; got {count}")
    if kind.base and base is None:
        raise StatedictError(f"method `{name}` needs the base that the models were trained from; give one")
    if base is not None and not kind.base:
        raise StatedictError(f"method `{name}` takes no base; leave it out, or merge it as one of the models")
    taken = {*kind.takes, "weights"} if kind.weighted else {*kind.takes}
    for setting, value in {**given, "weights": weights}.items():
        if value is not None and setting not in taken:
            listed = ", ".join(f"`{each}`" for each in sorted(taken)) or "none"
            raise StatedictError(f"method `{name}` takes no `{setting}`; its settings: {listed}")


def _said(
    name: str, kind: Method, count: int, weights: Sequence[Setting] | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """How it was merged, the settings that nobody gave among them."""
    said: dict[str, Any] = {"method": name}
    if kind.weighted:
        said["weights"] = list(weights) if weights is not None else [1.0] * count
    defaults = {**_DEFAULTS, "normalize": kind.normalize, "rescale": kind.rescale}
    return said | {key: value for key, value in defaults.items() if key in kind.takes} | dict(settings)


@dataclass(slots=True)
class _Merger:
    """What is the same for all tensors of one merge."""

    name: str
    kind: Method
    count: int
    weights: Sequence[Setting] | None
    settings: Mapping[str, Any]
    indexes: list[Index]
    dtype: DType | None

    def tensors(self, like: Index) -> dict[str, TensorInfo]:
        """The merged tensor of each name; what is tied in all models stays tied."""
        names = list(like.tensors)
        needed = [name for name, info in like.tensors.items() if is_number(info)]
        numbers = self._numbers(names, needed)
        made: dict[tuple[int, ...], TensorInfo] = {}
        merged: dict[str, TensorInfo] = {}
        for name, info in like.tensors.items():
            infos = [index.tensors[name] for index in self.indexes]
            key = tuple(map(id, infos))
            if key not in made:
                made[key] = self._merged(name, infos, info, numbers) if is_number(info) else info
            merged[name] = made[key]
        return merged

    def _numbers(self, names: list[str], needed: list[str]) -> dict[str, list[dict[str, float]]]:
        """Each setting by name, a dict for each model or one for all of them."""
        numbers: dict[str, list[dict[str, float]]] = {}
        per_model = {"weights": (self.weights, 1.0)} if self.kind.weighted else {}
        per_model |= {
            key: (self.settings.get(key), _DEFAULTS[key]) for key in ("density", "gamma") if key in self.kind.takes
        }
        for key, (given, default) in per_model.items():
            each = each_of(given, default, self.count, key)
            numbers[key] = [by_name(setting, names, needed, key) for setting in each]
        for key in ("t", "scale"):
            if key in self.kind.takes:
                numbers[key] = [by_name(self.settings.get(key, _DEFAULTS[key]), names, needed, key)]
        self._check_shares(numbers)
        return numbers

    def _check_shares(self, numbers: dict[str, list[dict[str, float]]]) -> None:
        for key in ("density", "gamma"):
            for value in (value for each in numbers.get(key, ()) for value in each.values()):
                if not 0 <= value <= 1:
                    raise StatedictError(f"`{value:g}` is no share for {key}; expected a number from 0 to 1")

    def _merged(
        self, name: str, infos: list[TensorInfo], like: TensorInfo, numbers: dict[str, list[dict[str, float]]]
    ) -> TensorInfo:
        try:
            nodes = [node_of(info) for info in infos]
        except TypeError as error:
            raise StatedictError(f"{error} before it is merged") from None
        if like.dtype.is_complex and self.name not in ("linear", "task-arithmetic"):
            raise StatedictError(
                f"tensor `{name}` is of {like.dtype}, which method `{self.name}` cannot merge; use `linear`"
            )
        dtype = nodes[0].dtype if self.dtype is None or like.dtype.is_complex else self.dtype
        own = {key: [each[name] for each in values] for key, values in numbers.items()}
        return computed(self._node(name, nodes, own, dtype), like.shape or (), like)

    def _node(self, name: str, nodes: list[Node], own: dict[str, list[float]], dtype: DType) -> Node:
        normalize = self.settings.get("normalize", self.kind.normalize)
        if self.name == "linear":
            return averages.linear(nodes, own["weights"], normalize=normalize, dtype=dtype)
        if self.name == "slerp":
            return averages.slerp(nodes[0], nodes[1], own["t"][0], dtype)
        base, *models = nodes
        if self.name == "model-stock":
            return averages.model_stock(base, models, dtype)
        if self.name == "task-arithmetic":
            return task_vectors.task_arithmetic(
                base, models, own["weights"], normalize=normalize, scale=own["scale"][0], dtype=dtype
            )
        vectors = [self._vector(name, at, base, model, own) for at, model in enumerate(models)]
        return Merged(base, vectors, dtype, elect=self.kind.elect, normalize=normalize, scale=own["scale"][0])

    def _vector(self, name: str, at: int, base: Node, model: Node, own: dict[str, list[float]]) -> TaskVector:
        weight, density = own["weights"][at], own["density"][at]
        if density == 1:
            return TaskVector(model, weight)
        vector = difference(model, base)
        sparsifier: Sparsifier
        if self.kind.sparsity == "largest":
            sparsifier = Largest(vector, density)
        elif self.kind.sparsity == "middle":
            sparsifier = Middle(vector, density, own["gamma"][at])
        else:
            seed = self.settings.get("seed", _DEFAULTS["seed"])
            sparsifier = Randomly(f"{seed}\0{at}\0{name}", density)
        return TaskVector(model, weight, sparsifier, self._factor(vector, sparsifier, density))

    def _factor(self, vector: Node, sparsifier: Sparsifier, density: float) -> float | Once[float]:
        rescale = self.settings.get("rescale", self.kind.rescale)
        if rescale is True and self.kind.sparsity == "random":
            return 1 / density if density else 1.0
        return Once(restored, vector, sparsifier) if rescale else 1.0
