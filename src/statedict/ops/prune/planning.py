"""What stays of each row of tensors that are ranked together, by each way to prune; and of what goes with them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from statedict.errors import StatedictError
from statedict.expressions.nodes import node_of
from statedict.index import TensorInfo
from statedict.ops.prune import kept, ranking, whole
from statedict.ops.prune.amounts import Amount, counted
from statedict.ops.prune.choosing import Chosen
from statedict.ops.prune.kept import Kept
from statedict.ops.prune.masking import Given
from statedict.ops.prune.neighbours import Neighbours
from statedict.ops.prune.ranking import Named, Watch
from statedict.ops.prune.ways import Way
from statedict.ops.prune.whole import Norm, Part, Slices, Whole
from statedict.ops.select import NamedTensor
from statedict.tree.flat import flatten
from statedict.tree.reading import require_values

if TYPE_CHECKING:
    from statedict.tree.module import Module

_WITHOUT_ZERO = frozenset({"float8_e8m0fnu", "float4_e2m1fn_x2"})
"""Types whose elements cannot be set to zero one by one."""

_ENDS_OF_SCALES = ("_scale_inv", "_scale", ".scale_inv", ".scales", ".scale")


class Planner:
    """What is the same for all rows of one pruning, and what they make together."""

    def __init__(
        self,
        way: Way,
        norm: str,
        seed: int,
        infos: Mapping[str, TensorInfo],
        entries: Sequence[NamedTensor],
        masks: "Module | None",
    ) -> None:
        self.way, self.norm, self.seed, self.infos = way, norm, seed, infos
        self.watch = Watch()
        self.firsts: list[Kept] = []
        """Of each row one that stands for all: to ask it finds what stays of the row."""
        self._total = self._pruned = 0
        self._masks = None if masks is None else flatten(masks).tensors
        self._by_name = {entry.name: entry for entry in entries}
        self._behind = _norms_behind(entries) if norm == "batchnorm" else {}

    def fitting(self, chosen: Chosen, *, asked: bool) -> Chosen:
        """The same without what cannot be pruned so. Raises StatedictError for such, if it was `asked` for by name."""
        scales = _scales(self.infos)
        left_out = dict(chosen.left_out)
        unfit: dict[str, str] = {}
        shares: list[tuple[Sequence[NamedTensor], Amount]] = []
        for every, share in chosen.shares:
            left_out |= {entry.name: "scales of quantised weights" for entry in every if entry.name in scales}
            entries = [entry for entry in every if entry.name not in scales]
            unfit |= {entry.name: reason for entry in entries if (reason := self._unfitness(entry))}
            if fit := [entry for entry in entries if entry.name not in unfit]:
                shares.append((fit, share))
        if not shares or (unfit and asked):
            name, reason = next(iter((unfit or left_out).items()))
            raise StatedictError(f"tensor `{name}`: {reason}; leave it out, or choose another method")
        return Chosen(shares, {**left_out, **unfit})

    def _unfitness(self, entry: NamedTensor) -> str:
        info = self.infos[entry.name]
        try:
            require_values(info)
        except (TypeError, ValueError):
            return "no plain values"
        if info.dtype.name in _WITHOUT_ZERO:
            return f"{info.dtype}, whose elements cannot be zero"
        if self.norm == "batchnorm" and entry.name not in self._behind:
            return "no BatchNorm follows it"
        return self.way.unfitness(entry)

    def plan(self, row: Sequence[NamedTensor], share: Amount) -> dict[str, Kept]:
        """What stays of each tensor of a row, and of the biases and norms that go with it."""
        if self.way.is_whole:
            return self._whole(row, share)
        named = [Named(entry.name, self.infos[entry.name]) for entry in row]
        values = sum(each.info.numel for each in named)
        made: Sequence[Kept]
        if self._masks is not None:
            made = [Given(node_of(self._masks[each.name])) for each in named]
        elif self.way.name == "n:m":
            made = [self._neighbours(entry) for entry in row]
            self._add(values, values // self.way.m * (self.way.m - self.way.n))
        else:
            made = self._ranked(named, counted(share, values))
            self._add(values, counted(share, values), made[0])
        return dict(zip((each.name for each in named), made, strict=True))

    def _neighbours(self, entry: NamedTensor) -> Neighbours:
        dim = self.way.dimension(entry.owner.kind, len(entry.tensor.shape or ()))
        return Neighbours(Named(entry.name, self.infos[entry.name]), dim, self.way.n, self.way.m)

    def _ranked(self, row: Sequence[Named], pruned: int) -> list[Kept]:
        if self.way.name == "random":
            return kept.random([node_of(each.info) for each in row], [each.name for each in row], pruned, self.seed)
        return ranking.without_smallest(row, pruned, self.watch)

    def _whole(self, row: Sequence[NamedTensor], share: Amount) -> dict[str, Kept]:
        units = [self.way.units(entry) for entry in row]
        parts = [self._part(entry, each) for entry, each in zip(row, units, strict=True)]
        total = sum(each.count for each in units)
        norm = cast("Norm", "l1" if self.norm == "batchnorm" else self.norm)
        made = whole.without_smallest(parts, counted(share, total), norm, self.watch)
        self._add(total, counted(share, total), made[0])
        found: dict[str, Kept] = {}
        for entry, each in zip(row, made, strict=True):
            found[entry.name] = each
            found |= self._beside(entry, each)
        return found

    def _part(self, entry: NamedTensor, units: whole.Units) -> Part:
        if (norm := self._behind.get(entry.name)) is None:
            return Part(units, Named(entry.name, self.infos[entry.name]), units)
        return Part(units, Named(norm, self.infos[norm]), Slices(units.count, 1))

    def _beside(self, entry: NamedTensor, stays: Whole) -> dict[str, Kept]:
        """The biases that go with channels, and the scales and shifts of the BatchNorm that ranked them."""
        if self.way.name != "channels":
            return {}
        names = [_sibling(entry.name, "bias")]
        if norm := self._behind.get(entry.name):
            names += [norm, _sibling(norm, "bias")]
        count = self.way.units(entry).count
        beside = stays.beside(Slices(count, 1))
        return {name: beside for name in names if name in self.infos and self.infos[name].shape == (count,)}

    def _add(self, total: int, pruned: int, first: Kept | None = None) -> None:
        self._total += total
        self._pruned += pruned
        if first is not None and pruned:
            self.firsts.append(first)

    def counts(self) -> dict[str, int]:
        """How many elements are pruned, or of how many slices or blocks how many; nothing where masks tell."""
        if self._masks is not None:
            return {}
        return {"units": self._total, "pruned_units": self._pruned} if self.way.is_whole else {"pruned": self._pruned}


def _scales(infos: Mapping[str, TensorInfo]) -> set[str]:
    """The names of scales without which the codes beside them mean nothing: `weight_scale` of `weight`, and so on."""
    codes = {name for name, info in infos.items() if info.dtype.bits <= 8 and info.dtype.name != "bool"}
    stems = codes | {name.rpartition(".")[0] for name in codes}
    ends = {name: next((end for end in _ENDS_OF_SCALES if name.endswith(end)), "") for name in infos}
    return {name for name, end in ends.items() if end and name.removesuffix(end) in stems}


def _sibling(name: str, local: str) -> str:
    head = name.rpartition(".")[0]
    return f"{head}.{local}" if head else local


def _norms_behind(entries: Sequence[NamedTensor]) -> dict[str, str]:
    """The name of the scale of the BatchNorm that follows a weight in the order of the tree, by the weight's name."""
    found: dict[str, str] = {}
    last: NamedTensor | None = None
    for entry in entries:
        local, shape = entry.name.rpartition(".")[2], entry.tensor.shape or ()
        if local != "weight" or entry.role != "parameter":
            continue
        if (entry.owner.kind or "").endswith(("BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d")):
            if last is not None and shape and shape[0] in (last.tensor.shape or ()):
                found[last.name] = entry.name
            last = None
        else:
            last = entry
    return found
