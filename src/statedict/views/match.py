"""How one checkpoint becomes another, as a page that says what to do next; and as the fields of a JSON document."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from statedict.ops.folding import folded
from statedict.ops.making import MakeRule
from statedict.ops.match.matching import Line as Made
from statedict.ops.match.matching import Match
from statedict.ops.recipes import Recipe
from statedict.views.lines import Line, escaped, fitted, name_text, wrapped
from statedict.views.numbers import counted, shape
from statedict.views.table import Column, table

_MOST = 20
"""Patterns of names in one list; `--json` has all."""
_SURE = 0.75


def match_lines(match: Match, source: str, target: str, written: str | None, width: int | None) -> list[Line]:
    """What was found by which rule, what was not, and the command to type next; `written` is the file of rules."""
    blocks = [
        [_head(match, source, target)],
        _rules(match, width),
        _names("missing", "the target has them, the source has nothing for them", match.missing, width),
        _mismatched(match, width),
        _open(match, width),
        _names("unexpected", "the source has them, the target has no place for them", match.unexpected, width),
        _next(match, source, target, written),
    ]
    lines: list[Line] = []
    for block in blocks:
        lines += [*([[]] if lines and block else []), *block]
    return lines


def _head(match: Match, source: str, target: str) -> Line:
    total = len(match.lines) + len(match.missing) + len(match.mismatched) + len(match.ambiguous)
    same = sum(line.recipe.is_plain and line.sources[0] == line.target for line in match.lines)
    how = f": {same:,} under their own names" if same < len(match.lines) else ": all under their own names"
    rules = f", {counted(len(match.rules), 'rule')}" if match.rules else ""
    said = (
        f" of {counted(total, 'tensor')} of {name_text(target)} are in {name_text(source)}{how if match.lines else ''}"
    )
    proof = "values compared" if match.proved else "by names and shapes alone"
    return [(f"{len(match.lines):,}", "number"), (f"{said}{rules}; {proof}", "")]


def _rules(match: Match, width: int | None) -> list[Line]:
    rows = match.counted_rules
    if not rows:
        return []
    columns = [
        Column("in the source", [_side(rule.sources) for rule, _ in rows], "name", shrinks=True),
        Column("in the target", [_side(rule.targets) for rule, _ in rows], "name", shrinks=True),
        Column("tensors", [f"{len(lines):,}" for _, lines in rows], "number", to_right=True),
        Column("how", [_how(rule) for rule, _ in rows]),
        Column("why", [_why(lines) for _, lines in rows], "dim"),
    ]
    return table(columns, width)


def _side(names: Sequence[str]) -> str:
    """One side of a rule; names of which one part differs with that part as alternatives."""
    rows = [name.split(".") for name in names]
    if len({len(row) for row in rows}) == 1:
        columns = list(zip(*rows, strict=True))
        if sum(len(set(column)) > 1 for column in columns) == 1:
            return escaped(".".join(c[0] if len(set(c)) == 1 else f"{{{','.join(c)}}}" for c in columns))
    return escaped(" + ".join(names))


def _how(rule: MakeRule) -> str:
    joined = len(rule.sources) > 1
    words = [
        "transposed" if rule.transpose else "",
        f"dimensions {shape(rule.permute)}" if rule.permute else "",
        f"joined along {rule.dim}" if joined else "",
        f"cut along {rule.dim}" if len(rule.targets) > 1 and not rule.tie else "",
        f"{rule.heads} heads" if rule.heads > 1 else "",
        "stacked" if rule.stack else "",
        "unstacked" if rule.unstack else "",
        "tied" if rule.tie else "",
        f"reshaped to {shape(rule.shape)}" if rule.shape is not None else "",
        f"rows of {abs(rule.rotary)} heads {'from pairs to halves' if rule.rotary > 0 else 'from halves to pairs'}"
        if rule.rotary
        else "",
    ]
    return ", ".join(word for word in words if word) or "renamed"


def _why(lines: Sequence[Made]) -> str:
    reasons = ", ".join(dict.fromkeys(line.reason for line in lines))
    return reasons if min(line.confidence for line in lines) > _SURE else f"{reasons} (check it)"


def _names(title: str, said: str, names: Sequence[str], width: int | None) -> list[Line]:
    if not names:
        return []
    patterns = folded(names)
    more = f"  … and {len(patterns) - _MOST:,} more" if len(patterns) > _MOST else ""
    return [
        [(f"{title} ({len(names):,}): ", "bold"), (said, "dim")],
        *(fitted([("  ", ""), (name_text(pattern), "name")], width) for pattern in patterns[:_MOST]),
        *([[(more, "dim")]] if more else []),
    ]


def _mismatched(match: Match, width: int | None) -> list[Line]:
    if not match.mismatched:
        return []
    lines: list[Line] = [[(f"of another shape ({len(match.mismatched):,})", "bold")]]
    for each in match.mismatched[:_MOST]:
        sizes = f" {shape(each.shape)}, in the source {shape(each.found)}: "
        lines += wrapped([("  ", ""), (name_text(each.target), "name"), (sizes, ""), (each.advice, "")], width)
    more = len(match.mismatched) - _MOST
    return [*lines, *([[(f"  … and {more:,} more", "dim")]] if more > 0 else [])]


def _open(match: Match, width: int | None) -> list[Line]:
    """What is not decided: those of one reason whose candidates differ in numbers alone would fill pages."""
    if not match.ambiguous:
        return []
    lines: list[Line] = [
        [(f"open ({len(match.ambiguous):,}): ", "bold"), ("one of several; say which in a rule", "dim")]
    ]
    for each in match.ambiguous[:_MOST]:
        said = " or ".join(_recipe(candidate) for candidate in each.candidates)
        lines += wrapped([("  ", ""), (name_text(each.target), "name"), (": ", ""), (said, "")], width)
    more = len(match.ambiguous) - _MOST
    return [*lines, *([[(f"  … and {more:,} more", "dim")]] if more > 0 else [])]


def _recipe(recipe: Recipe) -> str:
    names = [escaped(name) for name in recipe.sources[:3]]
    text = " + ".join(names) + (" + …" if len(recipe.sources) > len(names) else "")
    return f"{text} ({recipe.said})" if recipe.said else text


def _next(match: Match, source: str, target: str, written: str | None) -> list[Line]:
    """The command to type next."""
    if match.complete and not match.rules and not match.unused:
        return [[("next: ", "bold"), ("nothing; it loads as it is", "")]]
    first = f"statedict match {source} {target} -o rules.toml"
    second = f"statedict edit {source} NEW --rules {written or 'rules.toml'}"
    if not match.lines:
        return [[("next: ", "bold"), ("nothing of it fits: these are other models", "")]]
    lines: list[Line] = [] if written else [[("next: ", "bold"), (first, "")]]
    return [*lines, [("next: " if written else "then: ", "bold"), (second, "")]]


def match_fields(match: Match) -> dict[str, Any]:
    """All that was found, as plain values, but for the lines."""
    return {
        "complete": match.complete,
        "values_compared": match.proved,
        "rules": [rule.table() | {"tensors": len(lines)} for rule, lines in match.counted_rules],
        "missing": list(match.missing),
        "unexpected": list(match.unexpected),
        "mismatched": [
            {
                "target": each.target,
                "source": each.source,
                "shape": each.shape,
                "found": each.found,
                "advice": each.advice,
            }
            for each in match.mismatched
        ],
        "open": [
            {"target": each.target, "reason": each.reason, "candidates": [_made(one) for one in each.candidates]}
            for each in match.ambiguous
        ],
    }


def line_fields(lines: Iterable[Made]) -> Iterator[dict[str, Any]]:
    """Each target tensor, what it is made of and how sure that is."""
    for line in lines:
        made = _made(line.recipe)
        yield {"target": line.target, **made, "confidence": line.confidence, "reason": line.reason}


def _made(recipe: Recipe) -> dict[str, Any]:
    return {"sources": recipe.sources, **({"how": recipe.said} if recipe.said else {})}
