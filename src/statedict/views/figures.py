"""What `stats` has found, as rows for tensors or modules, and their fields as JSON, CSV and Parquet have them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.moments import Summary
from statedict.ops.stats import Stats, TensorStats, histogram, is_of_numbers
from statedict.views import numbers
from statedict.views.documents import plain
from statedict.views.lines import escaped

if TYPE_CHECKING:
    from statedict.structure import Structure

BINS = 16
_MOST_INDICES = 100
_FIGURES: tuple[tuple[str, Callable[[Summary], Any]], ...] = (
    ("numel", lambda summary: summary.count),
    ("min", lambda summary: summary.min),
    ("max", lambda summary: summary.max),
    ("mean", lambda summary: summary.mean),
    ("std", lambda summary: summary.std),
    ("l1", lambda summary: summary.l1),
    ("l2", lambda summary: summary.l2),
    ("linf", lambda summary: summary.linf),
    ("zeros", lambda summary: summary.zeros),
    ("sparsity", lambda summary: summary.sparsity),
    ("nan", lambda summary: summary.nans),
    ("posinf", lambda summary: summary.positive_infinities),
    ("neginf", lambda summary: summary.negative_infinities),
    ("denormals", lambda summary: summary.denormals),
)
FIGURES: Mapping[str, Callable[[Summary], Any]] = dict(_FIGURES)
"""What is said of each, by the key that JSON, CSV and Parquet have for it."""


class Figures(NamedTuple):
    """One row: a tensor or a module."""

    name: str
    summary: Summary
    tensor: TensorStats | None = None
    within: tuple[TensorStats, ...] = ()
    """The tensors in a module that count in what is said of it; the tensor itself."""
    quantiles: Mapping[float, float] = MappingProxyType({})
    """By their shares, where they were asked for."""

    @property
    def lost(self) -> tuple[int, int] | None:
        """How many numbers overflow and vanish, where that was asked for."""
        found = [each.lost for each in self.within if each.lost is not None]
        return (sum(each.overflowed for each in found), sum(each.vanished for each in found)) if found else None

    @property
    def dead(self) -> dict[str, int] | None:
        """How many rows, columns and channels are dead, by what they are; where that was asked for."""
        found = [each.structure for each in self.within if each.structure is not None]
        if not found:
            return None
        kinds = dict.fromkeys(kind for each in found for kind in each.dead)
        return {kind: sum(each.dead[kind].count for each in found if kind in each.dead) for kind in kinds}

    def histogram(self) -> tuple[list[int], list[float]]:
        """Counts and edges; both empty where they were not asked for."""
        return histogram(self.within, BINS)


def figures_of(stats: Stats, *, modules: bool) -> list[Figures]:
    """A row for each tensor, or for each module."""
    if modules:
        return [module_figures(stats, name) for name in stats.modules]
    return [Figures(each.name, each.summary, each, (each,), each.quantiles) for each in stats.tensors]


def module_figures(stats: Stats, name: str = "") -> Figures:
    """The row of one module; of all, unless one is named."""
    within = tuple(each for each in stats.within[name] if is_of_numbers(each.info.dtype))
    return Figures(name, stats.modules[name], None, within, stats.quantiles.get(name, {}))


def figure_fields(row: Figures, *, histogram: bool = False) -> dict[str, Any]:
    """One row as JSON has it: strict, so that NaN and infinities are texts."""
    fields: dict[str, Any] = {"name": row.name}
    found = row.tensor
    if found is not None:
        fields |= {"dtype": found.info.dtype.name, "shape": found.info.shape, "role": found.role}
        fields |= {"also": found.names[1:]} if len(found.names) > 1 else {}
    fields |= {key: plain(value(row.summary)) for key, value in _FIGURES}
    if row.lost is not None:
        fields |= dict(_lost_fields(*row.lost, row.summary.count))
    if row.quantiles:
        fields["quantiles"] = {f"{share:g}": plain(value) for share, value in row.quantiles.items()}
    if found is not None:
        fields |= plain(dict(_of_tensor(found)))
    elif row.dead is not None:
        fields |= {f"dead_{kind}": count for kind, count in row.dead.items()}
    if histogram:
        counts, edges = row.histogram()
        fields |= {} if found is None else {"distinct": found.distinct}
        fields["histogram"] = {"counts": counts, "edges": plain(edges)}
    return fields


def _lost_fields(overflowed: int, vanished: int, count: int) -> Iterator[tuple[str, Any]]:
    yield from (("overflowed", overflowed), ("vanished", vanished))
    yield "overflow_share", overflowed / count if count else None
    yield "vanish_share", vanished / count if count else None


def _of_tensor(found: TensorStats) -> Iterator[tuple[str, Any]]:
    """What only tensors have: how zeros are arranged, singular values."""
    if found.structure is not None:
        yield from _structure_fields(found.structure)
    if found.spectrum is not None:
        yield "spectral_norm", found.spectrum.norm
        yield "stable_rank", found.spectrum.stable_rank
        yield "effective_rank", found.spectrum.effective_rank
        yield "spectrum_exact", found.spectrum.exact
        yield "singular_values", found.spectrum.values


def _structure_fields(structure: "Structure") -> Iterator[tuple[str, Any]]:
    for kind, dead in structure.dead.items():
        yield f"dead_{kind}", dead.count
        if dead.count:
            yield f"dead_{kind}_at", dead.indices[:_MOST_INDICES]
    for group, most in structure.patterns.items():
        yield f"n_of_{group}", most


def flat_fields(row: Figures, *, histogram: bool = False) -> dict[str, Any]:
    """One row for tables, where a cell holds one value: quantiles have a column each, lists are left out."""
    fields = figure_fields(row, histogram=histogram)
    fields |= {f"q{share}": value for share, value in fields.pop("quantiles", {}).items()}
    return {key: value for key, value in fields.items() if key == "shape" or not isinstance(value, list | tuple | dict)}


def comma_separated(rows: Iterable[Figures], *, histogram: bool = False) -> str:
    """`rows` as CSV (RFC 4180); shapes as JSON lists, what does not print in names escaped, nothing for what is not."""
    import csv
    import io

    every = [flat_fields(row, histogram=histogram) for row in rows]
    for fields in every:
        fields["name"] = escaped(fields["name"])
        if "shape" in fields:
            fields["shape"] = numbers.shape(fields["shape"])
    keys = dict.fromkeys(key for fields in every for key in fields)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(keys) or ["name", *FIGURES], lineterminator="\n")
    writer.writeheader()
    writer.writerows(every)
    return out.getvalue()
