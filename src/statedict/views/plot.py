"""One figure of what the numbers of a model are, along its depth: magnitudes, ranges, norms, zeros. By matplotlib."""

import importlib
import io
import math
import re
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict.errors import MissingExtraError
from statedict.ops.stats import Stats, TensorStats, is_of_numbers
from statedict.views import numbers
from statedict.views.lines import escaped, middle_shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".png", ".svg", ".pdf")
_NAMED = 64
"""Tensors that each have their name below them; of more, the modules have."""
_GROUPS = 130
_APART = 0.13
"""Inches between names, at least."""
_LONGEST_NAME = 44
_RARE = 0.005
"""The share of the smallest numbers of a tensor that need no room."""
_INK, _PALE, _WARM, _ALARM = "#22313f", "#9fb3c8", "#d9822b", "#c23030"
_SERIES = (
    "#2b6cb0", "#2f9e6e", "#8e5ea2", "#d9822b", "#5f6b7a", "#b83280", "#3aa6b9", "#a68a2d",
    "#1a365d", "#7bc47f", "#c9a4e0", "#8a4b08", "#111111", "#f28cb1", "#7fd1e0", "#d6c04a",
)  # fmt: skip
_STYLE: Any = {
    "font.size": 8.5,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": _PALE,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.hashsalt": "statedict",
    "svg.fonttype": "none",
}
_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
"""So that the same figures give the same bytes."""


def require_matplotlib() -> None:
    """Nothing, where plots can be drawn. Raises MissingExtraError with the command that installs matplotlib."""
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise MissingExtraError(
            "plots need matplotlib, which is not installed; install it with `pip install statedict[plot]`"
        ) from error


def plot(stats: Stats, title: str = "", suffix: str = ".png") -> bytes:
    """The figure, as a file of that suffix: .png, .svg or .pdf; the same bytes for the same figures.

    `stats` are those of `stats(..., magnitudes=True)`; tensors of whole numbers are left out. From above: how many
    numbers of each tensor have each magnitude, with their largest and their standard deviation; from the least to the
    greatest; the L2 norm, equal places of repeated blocks joined; the share of zeros.

    Raises MissingExtraError without matplotlib, ValueError for another suffix.
    """
    if suffix not in SUFFIXES:
        raise ValueError(f"`{suffix}` is no kind of picture; expected {', '.join(SUFFIXES)}")
    require_matplotlib()
    matplotlib: Any = importlib.import_module("matplotlib")
    with matplotlib.rc_context(_STYLE):
        figure = _drawn([each for each in stats.tensors if _is_drawn(each)], title)
        out = io.BytesIO()
        figure.savefig(out, format=suffix[1:], dpi=160, metadata=_METADATA[suffix[1:]])
    return out.getvalue()


def _is_drawn(each: TensorStats) -> bool:
    return is_of_numbers(each.info.dtype) and not each.info.dtype.is_complex and bool(each.summary.count)


def _drawn(tensors: Sequence[TensorStats], title: str) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = min(15.0, max(7.5, 2.5 + 0.17 * len(tensors)))
    figure: Any = Figure(figsize=(width, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    if not tensors:
        figure.text(0.5, 0.5, "no tensor of floating-point numbers", ha="center")
        return figure
    ratios = {"height_ratios": [4, 2, 2, 0.8]}
    heat, ranges, norms, zeros = figure.subplots(4, 1, sharex=True, gridspec_kw=ratios)
    _draw_magnitudes(figure, heat, tensors)
    _draw_ranges(ranges, tensors)
    _draw_norms(norms, tensors)
    _draw_zeros(zeros, tensors)
    _draw_names(zeros, (heat, ranges, norms, zeros), tensors)
    count = sum(each.summary.count for each in tensors)
    facts = f"{numbers.counted(len(tensors), 'tensor')}, {numbers.brief(count)} numbers"
    heat.set_title(_plain(f"{title}: {facts}" if title else facts), loc="left", fontsize=11, parse_math=False)
    return figure


# The four panels


def _draw_magnitudes(figure: Any, axes: Any, tensors: Sequence[TensorStats]) -> None:
    """Each tensor a column, coloured by how many of its numbers have each magnitude; each column's most are darkest."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    from statedict.distribution import DECADES, LEAST

    shares = np.zeros((10 * DECADES, len(tensors)))
    for at, each in enumerate(tensors):
        if each.magnitudes is not None:
            shares[:, at] = np.array(each.magnitudes.counts) / each.summary.count
    low, high = _shown_rows(shares)
    densest = np.maximum(shares.max(axis=0), 1e-300)
    image = axes.imshow(
        np.ma.masked_equal(shares / densest, 0)[low:high],
        aspect="auto", origin="lower", interpolation="nearest", cmap="YlGnBu", vmin=0, vmax=1,
        extent=(-0.5, len(tensors) - 0.5, LEAST + low / 10, LEAST + high / 10),
    )  # fmt: skip
    places = range(len(tensors))
    largest = [_log(each.summary.largest) for each in tensors]
    axes.hlines(
        largest, [at - 0.4 for at in places], [at + 0.4 for at in places], _ALARM, linewidth=1.4, label="max |w|"
    )
    size = max(6.0, 22 - len(tensors) / 12)
    deviation = [_log(each.summary.std) for each in tensors]
    axes.scatter(places, deviation, size, _WARM, edgecolors="white", linewidths=0.5, label="std", zorder=3)
    axes.set_ylim(LEAST + low / 10, max(LEAST + high / 10, max((x for x in largest if x == x), default=0)) + 0.15)
    axes.yaxis.set_major_formatter("1e{x:+.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("magnitude |w|")
    _legend_above(axes)
    bar = figure.colorbar(image, cax=axes.inset_axes((1.01, 0, 0.012, 1)), ticks=[0, 1])
    bar.ax.set_yticklabels(["none", "most"])
    bar.set_label("of the tensor's numbers", labelpad=-14)
    bar.outline.set_visible(False)


def _legend_above(axes: Any) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=2, frameon=False, borderpad=0.1)


def _shown_rows(shares: "NDArray[Any]") -> tuple[int, int]:
    """The rows between which nearly all numbers of nearly all tensors are."""
    import numpy as np

    totals = shares.sum(axis=0)
    if not totals.any():
        return 90, 120
    below = shares.cumsum(axis=0)[:, totals > 0] / totals[totals > 0]
    low = int(np.quantile((below <= _RARE).sum(axis=0), _RARE * 10))
    high = int(np.flatnonzero(shares.any(axis=1))[-1]) + 1
    return max(0, min(low, high - 20)), max(high, 20)


def _draw_ranges(axes: Any, tensors: Sequence[TensorStats]) -> None:
    """From the least to the greatest number, thick within one standard deviation of the mean."""
    places, summaries = range(len(tensors)), [each.summary for each in tensors]
    thick = max(1.2, min(6.0, 300 / len(tensors)))
    low, high = ([_or_nan(getattr(each, name)) for each in summaries] for name in ("min", "max"))
    axes.vlines(places, low, high, _PALE, linewidth=max(0.6, thick / 3), label="min to max")
    means, stds = ([_or_nan(getattr(each, name)) for each in summaries] for name in ("mean", "std"))
    spans = [(mean - std, mean + std) for mean, std in zip(means, stds, strict=True)]
    axes.vlines(places, *zip(*spans, strict=True), _SERIES[0], linewidth=thick, label="mean ± std")
    largest = max((each.linf for each in summaries), default=0.0)
    usual = sorted(each.std or 0.0 for each in summaries)[len(summaries) // 2]
    if largest > 30 * usual > 0:
        axes.set_yscale("symlog", linthresh=10 ** math.ceil(math.log10(usual)), linscale=1.2)
    axes.axhline(0, color=_INK, linewidth=0.5)
    axes.set_ylabel("range")
    _legend_above(axes)


def _draw_norms(axes: Any, tensors: Sequence[TensorStats]) -> None:
    """The L2 norm; those that stand at the same place in repeated blocks are joined."""
    families: dict[str, list[int]] = {}
    for at, each in enumerate(tensors):
        families.setdefault(re.sub(r"\d+", "*", each.name), []).append(at)
    norms = [each.summary.l2 or math.nan for each in tensors]
    joined = sorted((places for places in families.values() if len(places) > 2), key=len, reverse=True)
    coloured = {at: _SERIES[number % len(_SERIES)] for number, places in enumerate(joined) for at in places}
    for number, places in enumerate(joined):
        name = ".".join(re.sub(r"\d+", "*", tensors[places[0]].name).split(".")[-3:])
        axes.plot(
            places, [norms[at] for at in places], color=coloured[places[0]], linewidth=0.9, alpha=0.7,
            label=_short(name, 28) if number < len(_SERIES) else None,
        )  # fmt: skip
    size = max(5.0, 20 - len(tensors) / 15)
    axes.scatter(range(len(tensors)), norms, size, [coloured.get(at, _PALE) for at in range(len(tensors))], zorder=3)
    known = [norm for norm in norms if norm > 0]
    if known and max(known) > 10 * min(known):
        axes.set_yscale("log")
    axes.set_ylabel("L2 norm")
    axes.grid(axis="y", color=_PALE, alpha=0.35, linewidth=0.6)
    if joined:
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(1, 1.05), frameon=False, fontsize=6.5, handlelength=1, labelspacing=0.2
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def _draw_zeros(axes: Any, tensors: Sequence[TensorStats]) -> None:
    """The share of zeros, and a cross where there are NaN or infinities."""
    shares = [100 * (each.summary.sparsity or 0.0) for each in tensors]
    axes.bar(range(len(tensors)), shares, 0.85, color=_SERIES[0])
    most = max(shares)
    axes.set_ylim(0, 100 if most > 30 else max(1.0, most * 1.25))
    axes.set_ylabel("zeros %")
    broken = [at for at, each in enumerate(tensors) if each.summary.finite < each.summary.count]
    if broken:
        top = axes.get_ylim()[1] * 0.85
        axes.scatter(broken, [top] * len(broken), 26, _ALARM, marker="x", label="NaN or infinite", clip_on=False)
        axes.legend(loc="upper right", framealpha=0.9, edgecolor="none")


# Names


class _Group(NamedTuple):
    name: str
    first: int
    last: int


def _draw_names(axes: Any, panels: Sequence[Any], tensors: Sequence[TensorStats]) -> None:
    """The names below, and lines between modules."""
    groups = _grouped([each.name for each in tensors])
    for panel in panels:
        panel.set_xlim(-0.6, len(tensors) - 0.4)
        panel.tick_params(axis="x", length=0)
        for before, _ in pairwise(groups):
            panel.axvline(before.last + 0.5, color=_PALE, alpha=0.6, linewidth=0.5, zorder=0.5)
    if len(tensors) <= _NAMED:
        places, names = list(range(len(tensors))), [each.name for each in tensors]
    else:
        places, names = [(each.first + each.last) // 2 for each in groups], [each.name for each in groups]
    kept = _apart(places, _APART * len(tensors) / (axes.figure.get_figwidth() - 2))
    shown = [_short(names[at], _LONGEST_NAME) for at in kept]
    axes.set_xticks([places[at] for at in kept], shown, rotation=90, fontsize=7, parse_math=False)


def _apart(places: Sequence[int], gap: float) -> list[int]:
    """The positions of those that are as far apart as they should be."""
    kept: list[int] = []
    for at, place in enumerate(places):
        if not kept or place - places[kept[-1]] >= gap:
            kept.append(at)
    return kept


def _grouped(names: Sequence[str]) -> list[_Group]:
    """The names in runs of the same module, as deep down as there are not too many of these."""
    found = _runs(names, 1)
    for depth in range(2, max(name.count(".") for name in names) + 1):
        deeper = _runs(names, depth)
        if len(deeper) > _GROUPS:
            break
        found = deeper
    return found


def _runs(names: Sequence[str], depth: int) -> list[_Group]:
    runs: list[_Group] = []
    for prefix, run in groupby(enumerate(".".join(name.split(".")[:-1][:depth]) or name for name in names), _name):
        places = [at for at, _ in run]
        runs.append(_Group(prefix, places[0], places[-1]))
    return runs


def _name(numbered: tuple[int, str]) -> str:
    return numbered[1]


def _short(name: str, width: int) -> str:
    return middle_shortened(_plain(name), width).replace("…", "..")


def _plain(name: str) -> str:
    """A name in characters that every font has."""
    return escaped(name).encode("ascii", "backslashreplace").decode()


def _log(value: float | None) -> float:
    return math.log10(value) if value else math.nan


def _or_nan(value: Any) -> float:
    return math.nan if value is None else float(value)
