"""What a merge is told: numbers for all tensors or by patterns over their names, and which method takes which."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from statedict.errors import PatternError, StatedictError
from statedict.index import shown
from statedict.ops.patterns import matching

Setting = float | Mapping[str, float]
"""A number for all tensors, or one for each pattern of names, of which the first that fits counts."""


@dataclass(frozen=True, slots=True)
class Method:
    """What a method needs and takes."""

    about: str
    takes: frozenset[str]
    """Settings beside `weights` that mean something to it; of those below, `elect` and `sparsity` are fixed."""
    base: bool = False
    fewest: int = 1
    most: int | None = None
    weighted: bool = True
    normalize: bool = False
    sparsity: str = ""
    """"largest", "middle", "random", or nothing: all elements are merged."""
    elect: bool = False
    rescale: bool | str = False


_VECTORS = frozenset({"normalize", "scale"})
_SPARSE = _VECTORS | {"density", "rescale"}
METHODS: Mapping[str, Method] = {
    "linear": Method("the weighted average", frozenset({"normalize"}), normalize=True),
    "slerp": Method("between two models, along an arc", frozenset({"t"}), fewest=2, most=2, weighted=False),
    "task-arithmetic": Method("a base and the sum of what training changed", _VECTORS, base=True),
    "ties": Method(
        "the largest changes of the elected sign", _SPARSE, base=True, normalize=True, sparsity="largest", elect=True
    ),
    "dare": Method("random changes, rescaled", _SPARSE | {"seed"}, base=True, sparsity="random", rescale=True),
    "dare-ties": Method(
        "random changes of the elected sign, rescaled",
        _SPARSE | {"seed"},
        base=True,
        sparsity="random",
        elect=True,
        rescale=True,
    ),
    "breadcrumbs": Method("changes of middling size", _SPARSE | {"gamma"}, base=True, sparsity="middle"),
    "breadcrumbs-ties": Method(
        "changes of middling size, of the elected sign", _SPARSE | {"gamma"}, base=True, sparsity="middle", elect=True
    ),
    "model-stock": Method(
        "between a base and the average, by the angle", frozenset[str](), base=True, fewest=2, weighted=False
    ),
}
_SAME = {"dare-linear": "dare"}


def method_of(name: str) -> tuple[str, Method]:
    """A method and its name here. Raises StatedictError for one that there is not."""
    plain = name.lower().replace("_", "-")
    plain = _SAME.get(plain, plain)
    if plain not in METHODS:
        raise StatedictError(f"there is no method `{name}` to merge by; expected one of {', '.join(METHODS)}")
    return plain, METHODS[plain]


def each_of(given: Setting | Sequence[Setting] | None, default: float, count: int, what: str) -> list[Setting]:
    """One setting for each model. Raises StatedictError where they are not as many."""
    if given is None:
        return [default] * count
    if isinstance(given, Mapping | int | float):
        return [given] * count
    if len(given) != count:
        raise StatedictError(f"{what}: {len(given)} given for {count} models; give one for each")
    return list(given)


def by_name(setting: Setting, names: Sequence[str], needed: Sequence[str], what: str) -> dict[str, float]:
    """The number for each name. Raises StatedictError where one is not finite; PatternError for unknown patterns.

    Each of `needed` must have one.
    """
    if not isinstance(setting, Mapping):
        return dict.fromkeys(names, _number(setting, what))
    found: dict[str, float] = {}
    for pattern, value in setting.items():
        for name in matching(names, [pattern]):
            found.setdefault(name, _number(value, what))
    if missing := [name for name in needed if name not in found]:
        raise PatternError(
            f"no pattern gives {what} for `{shown(missing[0])}`; add one for all others, `**`, at the end"
        )
    return found


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise StatedictError(f"`{value}` is no number for {what}; expected a finite one")
    return float(value)
