"""What two checkpoints have otherwise, as a tree that shows at a glance what moved: alike parts and the same folded."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from statedict.difference import Difference
from statedict.ops.diff.result import Described, Diff, merged
from statedict.views.diff_tree import Shown, arrow, tree_of
from statedict.views.lines import Line, Style, escaped, fitted, wrapped
from statedict.views.numbers import counted, shape
from statedict.views.table import WIDE, Column, table
from statedict.views.values import value_text

_MOST_DESCRIBED = 24
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
_BAR = 8
_LEAST = 1e-6
"""The relative difference that has the shortest bar; each step is the same factor, and 1 has the longest."""
_STRUCTURES = ("added", "removed", "renamed", "reshaped", "recast", "retied")


def diff_lines(diff: Diff, width: int | None = None, *, top: int | None = None) -> list[Line]:
    """What differs, folded; or a line for each of the `top` tensors that changed most; then what there is of all."""
    shown = list(tree_of(diff)) if top is None else list(_most_changed(diff, top))
    lines = _table(shown, width) if shown else []
    said = [_said(each, width) for each in diff.described[:_MOST_DESCRIBED]]
    if (hidden := len(diff.described) - len(said)) > 0:
        said.append([(f"… {counted(hidden, 'more difference')} in what is said of it", "dim")])
    parts = [part for part in (lines, said) if part]
    return [line for part in parts for line in [*part, []]] + [
        each for line in _summary(diff) for each in wrapped(line, width)
    ]


# The table


def _most_changed(diff: Diff, top: int) -> Iterator[Shown]:
    rows = [row for row in diff.rows if row.has_changed_values and row.values is not None]
    rows.sort(key=lambda row: -row.values.relative if row.values is not None else 0.0)
    for row in rows[:top]:
        yield Shown(row.name, [row], True, "~")


def _table(shown: Sequence[Shown], width: int | None) -> list[Line]:
    values = [merged(each.rows) for each in shown]
    wide = width is None or width >= WIDE
    columns = [
        Column("", [each.sign for each in shown], "bold"),
        Column("name", [label_of(each) for each in shown], "name", shrinks=True),
    ]
    if wide:
        columns += [
            Column("dtype", [_dtypes(each) for each in shown], "dtype"),
            Column("shape", [_shapes(each) for each in shown], "shape"),
        ]
    if any(value.changed for value in values):
        columns.append(_figures("changed", [_share(value) for value in values]))
        columns += [_figures("max", [_number(value, value.max) for value in values])] if wide else []
        columns.append(_figures("rel L2", [_number(value, value.relative) for value in values]))
        columns += [_figures("cosine", [_cosine(value) for value in values])] if wide else []
        columns += [_figures("dB", [_decibels(value) for value in values])] if wide else []
        columns += [Column("", [_bar(value) for value in values], "kind")] if wide else []
    columns.append(Column("", [about(each, wide=wide) for each in shown], "dim"))
    return table([column for column in columns if any(column.texts)], width)


def _figures(title: str, texts: Sequence[str]) -> Column:
    return Column(title, texts, "number", to_right=True)


def label_of(shown: Shown) -> str:
    """What a line is called, without its mark."""
    indent = len(shown.label) - len(shown.label.lstrip(" "))
    times = f" ({len(shown.rows)}x)" if shown.is_tensor and len(shown.rows) > 1 else ""
    return " " * indent + escaped(shown.label[indent:]) + times


def _dtypes(shown: Shown) -> str:
    row = shown.rows[0]
    if not shown.is_tensor:
        return ""
    return arrow([info.dtype.short for info in (row.before, row.after) if info is not None])


def _shapes(shown: Shown) -> str:
    row = shown.rows[0]
    if not shown.is_tensor:
        return ""
    return arrow([shape(info.shape) for info in (row.before, row.after) if info is not None])


def about(shown: Shown, *, wide: bool) -> str:
    """What is said of a line in words: how much is in it, what its new names are, what kind of change it is."""
    said = [shown.about] if shown.about else []
    if shown.is_tensor:
        first = shown.rows[0]
        if not wide:
            said += [text for text in (_dtypes(shown), _shapes(shown)) if "→" in text]
        if "renamed" in first.structure:
            said.append(f"now {_template([escaped(row.new_name) for row in shown.rows])}")
        said += [each for each in ("retied",) if each in first.structure]
        if first.status in ("equal bits", "equal values", "same bytes", "close") and first.structure:
            said.append(first.status)
        said += [_template([row.kinds[at].text for row in shown.rows]) for at in range(len(first.kinds))]
        said += [first.note] if first.note else []
    return "; ".join(said)


def _template(texts: Sequence[str]) -> str:
    """One text of several that differ in numbers, each from its least to its greatest."""
    if len(set(texts)) == 1:
        return texts[0]
    if len({_NUMBER.sub("0", text) for text in texts}) > 1:
        return f"{texts[0]}, …"
    columns = iter(list(zip(*(_NUMBER.findall(text) for text in texts), strict=True)))

    def spread(_: re.Match[str]) -> str:
        found = sorted(set(next(columns)), key=lambda text: float(text.replace(",", "")))
        return found[0] if len(found) == 1 else f"{found[0]}-{found[-1]}"

    return _NUMBER.sub(spread, texts[0])


def _share(values: Difference) -> str:
    """The share of elements that changed, of which neither 0 nor 100 is rounded to."""
    if not values.count or not values.changed:
        return ""
    return "all" if values.changed == values.count else f"{min(max(100 * values.share, 0.01), 99.99):.2f}%"


def _number(values: Difference, number: float) -> str:
    return f"{number:.3g}" if values.changed else ""


def _cosine(values: Difference) -> str:
    if not values.changed or values.cosine is None:
        return ""
    apart = 1 - values.cosine
    return f"{values.cosine:.4f}" if apart >= 1e-4 or not apart else f"1-{apart:.0e}"


def _decibels(values: Difference) -> str:
    return f"{values.snr:.1f}" if values.changed and math.isfinite(values.snr) else ""


def _bar(values: Difference) -> str:
    """How far it moved: a bar that grows by the same for each factor."""
    relative = values.relative
    if not values.changed or not relative:
        return ""
    part = 1 - math.log(min(max(relative, _LEAST), 1.0)) / math.log(_LEAST)
    return "▇" * max(1, round(part * _BAR))


# In words


def _said(each: Described, width: int | None) -> Line:
    pieces: Line = [(f"{escaped(each.name)}: ", "name")]
    sides: list[tuple[str, Style]] = [
        ("nothing" if value is None else value_text(value), "") for value in (each.before, each.after)
    ]
    return fitted([*pieces, sides[0], (" → ", "dim"), sides[1]], width)


def _summary(diff: Diff) -> Iterable[Line]:
    names = [f"{count:,} {what}" for what in _STRUCTURES if (count := diff.count(what))]
    told = [counted(len(diff.described), "difference") + " in what is said of it"] if diff.described else []
    if diff.names_only:
        same = sum(row.is_same for row in diff.rows)
        heading = "the same names, types and shapes" if diff.same else ", ".join([*names, *told])
        yield [(heading, "bold"), (f"; {same:,} of {counted(len(diff.rows), 'name')} as before; no values read", "dim")]
        return
    statuses = [row.status for row in diff.rows if row.before is not None and row.after is not None]
    values = [f"{statuses.count(status):,} {status}" for status in dict.fromkeys(sorted(statuses))]
    heading = "the same" if diff.same else ", ".join([*names, *told]) or "values differ"
    yield [(heading, "bold"), (f"; {counted(len(statuses), 'tensor')}: " + ", ".join(values) if values else "", "dim")]
    total = diff.total
    if total.changed:
        share = f"{_share(total)} of " if total.changed < total.count else "all "
        measured = [f"relative L2 {total.relative:.3g}", f"max {total.max:.3g}"]
        measured += [f"{total.nans:,} NaN that were numbers"] if total.nans else []
        yield [(f"{share}{total.count:,} values changed: {', '.join(measured)}", "")]


def title(first: str, second: str) -> Line:
    """The line above all."""
    return [(one_line_name(first), "bold"), (" → ", "dim"), (one_line_name(second), "bold")]


def one_line_name(name: str) -> str:
    """A path as it can be shown."""
    return escaped(name)
