"""`prune`: a tree in which exactly so many weights are zero, chosen in one or two passes when it is read or saved."""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from statedict import collector
from statedict._version import __version__
from statedict.engine import Progress
from statedict.errors import StatedictError
from statedict.index import Index
from statedict.ops.prune.amounts import Amount
from statedict.ops.prune.choosing import PROTECTED, Protected, choose, chosen_by_masks
from statedict.ops.prune.kept import Kept
from statedict.ops.prune.masking import pruned_info
from statedict.ops.prune.planning import Planner
from statedict.ops.prune.ranking import Watch
from statedict.ops.prune.ways import NORMS, Way, way_of
from statedict.ops.select import named_modules, named_tensors
from statedict.tree.build import build
from statedict.tree.flat import flatten

if TYPE_CHECKING:
    from statedict.tree.module import Module

METADATA = "statedict.prune"
"""The entry of the result's metadata that says, as JSON, how it was pruned."""
Scope = Literal["global", "tensor"]


@dataclass(frozen=True, slots=True)
class Pruning:
    """A pruned tree, and what is known of it before anything is read."""

    model: "Module"
    tensors: Mapping[str, int]
    """The elements of each pruned tensor."""
    left_out: Mapping[str, str]
    """Why what was chosen is not pruned, by name."""
    said: Mapping[str, Any]
    """What the metadata say."""
    kept: Sequence[Kept]
    watch: Watch

    def find(self, progress: Progress | None = None, executor: Executor | None = None) -> None:
        """Do the passes now that find what stays, which else the first read or save does, by threads or an executor."""
        import numpy as np

        self.watch.progress, self.watch.executor = progress, executor
        try:
            for each in self.kept:
                each.keeps(np.empty(0, np.float32), 0)
        finally:
            self.watch.progress, self.watch.executor = None, None


def prune(
    model: "Module",
    *patterns: str,
    amount: Amount | Mapping[str, Amount] | None = None,
    method: str = "magnitude",
    scope: Scope = "global",
    norm: str = "l2",
    protect: Iterable[Protected] = PROTECTED,
    seed: int = 0,
    masks: "Module | None" = None,
) -> "Module":
    """A tree of which so many weights are zero. Nothing is read yet: what stays is found when it is read or saved.

    `method` is "magnitude" (the smallest go), "random", "rows", "columns" or "channels" (whole slices, with the
    smallest root mean square, or by `norm` "l1" the smallest mean magnitude; channels take their biases along, and by
    `norm` "batchnorm" go by the scales of the BatchNorm that follows), blocks such as "4x4", N:M such as "2:4" (of
    each 4 neighbours along the inputs the 2 largest stay), or "mask" (what is zero in `masks`, by the same names).
    `amount` is a share or a whole number of elements, slices or blocks, exactly, or one for each of several patterns;
    N:M and masks need none. With the `scope` "global" all are ranked together, with "tensor" each tensor alone. Of
    equal ones those stay that come first. Random ones depend on `seed`, names and positions alone.

    All parameters of floating-point numbers are pruned, or those that the patterns fit, but those of the kinds in
    `protect`: norms, biases, embeddings, and the first and the last weight. How it was pruned is kept in the metadata
    as `statedict.prune`.

    Raises StatedictError where nothing is left to prune, or settings or shapes do not fit, PatternError for a pattern
    that fits nothing; reading raises StatedictError for a tensor that is to be ranked and holds NaN.
    """
    return pruning(
        model, patterns, amount, method, scope=scope, norm=norm, protect=protect, seed=seed, masks=masks
    ).model


@collector.paused()
def pruning(
    model: "Module",
    patterns: Sequence[str],
    amount: Amount | Mapping[str, Amount] | None,
    method: str,
    *,
    scope: str = "global",
    norm: str = "l2",
    protect: Iterable[Protected] = PROTECTED,
    seed: int = 0,
    masks: "Module | None" = None,
) -> Pruning:
    """What `prune` returns, and what is known of it."""
    way, protect = way_of(method), tuple(protect)
    _check_use(method, way, amount, scope, norm, masks)
    flat, entries = flatten(model), list(named_tensors(model))
    known = cache(lambda: {name for name, *_ in named_modules(model)})
    if masks is not None:
        chosen = chosen_by_masks(entries, patterns, masks, known)
    else:
        chosen = choose(entries, patterns, 0.0 if amount is None else amount, protect, known)
    planner = Planner(way, norm, seed, flat.tensors, entries, masks)
    chosen = planner.fitting(chosen, asked=bool(patterns) or isinstance(amount, Mapping))
    tensors: dict[str, int] = {}
    made: dict[str, Kept] = {}
    for entries, share in chosen.shares:
        tensors |= {entry.name: entry.tensor.numel() for entry in entries}
        for row in [entries] if scope == "global" else [[entry] for entry in entries]:
            made |= planner.plan(row, share)
    said: dict[str, Any] = {"method": method, "amount": amount, "patterns": list(patterns)}
    said |= {"scope": scope} if way.takes_amount else {}
    said |= {"norm": norm} if way.is_whole else {"seed": seed} if way.name == "random" else {}
    said |= {"protect": list(protect)} if masks is None else {}
    said |= {"tensors": len(tensors), "values": sum(tensors.values()), **planner.counts(), "version": __version__}
    left_out = {name: reason for name, reason in chosen.left_out.items() if name not in made}
    return Pruning(_changed(flat, made, said), tensors, left_out, said, planner.firsts, planner.watch)


def _check_use(method: str, way: Way, amount: object, scope: str, norm: str, masks: object) -> None:
    for word, value, choices in (("scope", scope, ("global", "tensor")), ("norm", norm, NORMS)):
        if value not in choices:
            raise StatedictError(f"`{word}` is {value!r}; expected one of {', '.join(choices)}")
    if (amount is None) == way.takes_amount:
        says = "needs an `amount`, such as 0.5" if way.takes_amount else "says the amount itself; leave `amount` out"
        raise StatedictError(f"`{method}` {says}")
    if (masks is None) == (way.name == "mask"):
        says = "needs `masks`, a checkpoint of them" if masks is None else "takes no `masks`; use the method `mask`"
        raise StatedictError(f"`{method}` {says}")
    if norm == "batchnorm" and way.name != "channels":
        raise StatedictError(f"`{method}` has no norm `batchnorm`, which ranks channels; expected l1 or l2")


def _changed(flat: Index, made: Mapping[str, Kept], said: Mapping[str, Any]) -> "Module":
    """The tree with these tensors pruned, under all their names."""
    infos = {id(flat.tensors[name]): pruned_info(flat.tensors[name], kept) for name, kept in made.items()}
    tensors = {name: infos.get(id(info), info) for name, info in flat.tensors.items()}
    return build(Index(flat.format, flat.source, tensors, flat.modules, {**flat.metadata, METADATA: json.dumps(said)}))
