"""What a page shows of two checkpoints: the diff folded to what changed, the match and rules that a person changed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from statedict.engine import Progress
from statedict.errors import PatternError
from statedict.narrow import is_dict, is_list
from statedict.ops.diff.result import Diff, merged
from statedict.ops.making import MakeRule, rule_of
from statedict.ops.match.revising import Revision, revised
from statedict.views.diff import about, label_of
from statedict.views.diff_tree import Shown, tree_of
from statedict.views.documents import plain
from statedict.views.match import line_fields, match_fields
from statedict.web.side import Side, short

if TYPE_CHECKING:
    from statedict.ops.match.matching import Match

_MOST_NAMES = 2_000
"""Names that one line of a diff sends."""
_MOST_LINES = 20_000


class Pair:
    """Two checkpoints beside each other."""

    def __init__(self, first: Side, second: Side) -> None:
        self.first = first
        self.second = second
        self._match: Match | None = None

    def diff(self, progress: Progress) -> dict[str, Any]:
        """What the second has otherwise: lines folded to what changed, and how much each tensor of the first did."""
        from statedict.diffing import diff

        return diff_fields(diff(self.first.model, self.second.model, progress=progress), self.first, self.second)

    def match(self, progress: Progress) -> dict[str, Any]:
        """How the first becomes the second."""
        from statedict.matching import match

        found = self._match = match(self.first.model, self.second.model, progress=progress)
        lines = [line for line in line_fields(found.lines) if list(line["sources"]) != [line["target"]]]
        return plain({**match_fields(found), "lines": lines[:_MOST_LINES], "made": len(found.lines)})

    def revised(self, rows: Any) -> dict[str, Any]:
        """What the rules of a page make: of each how many tensors, or why none; and what is left. Reads nothing."""
        rules = [_rule(row) for row in rows] if is_list(rows) else []
        known = [rule for rule in rules if isinstance(rule, MakeRule)]
        return revision_fields(rules, revised(known, self.first.model, self.second.model))


def _rule(row: Any) -> MakeRule | str:
    """The rule that a row of the page says, or what is wrong with it."""
    try:
        return rule_of({key: value for key, value in row.items() if key != "tensors"} if is_dict(row) else row)
    except PatternError as error:
        return str(error)


def revision_fields(rules: Iterable[MakeRule | str], found: Revision) -> dict[str, Any]:
    """What rules make as JSON has it; those that are none are told in their places."""
    known = iter(found.rules)
    told = [(0, rule) if isinstance(rule, str) else next(known)[1:] for rule in rules]
    return plain({
        "rules": [{"tensors": count, **({"error": error} if error else {})} for count, error in told],
        "made": found.made,
        "kept": found.kept,
        "missing": found.missing,
        "unexpected": found.unexpected,
        "stray": found.stray,
        "mismatched": [each._asdict() for each in found.mismatched],
        "toml": found.toml(),
    })  # fmt: skip


def diff_fields(found: Diff, first: Side, second: Side) -> dict[str, Any]:
    """A diff as a page shows it. `change` is the relative L2 of each tensor of the first, by its number."""
    numbers = [{entry.name: at for at, entry in side.page.tensors()} for side in (first, second)]
    changes: list[list[Any]] = []
    for row in found.rows:
        if row.name in numbers[0] and row.before is not None:
            gone = row.after is None
            moved = None if row.values is None else (row.values.relative if row.values.changed else 0.0)
            changes.append([numbers[0][row.name], "removed" if gone else row.status, None if gone else short(moved)])
    added = [numbers[1][row.name] for row in found.rows if row.before is None and row.name in numbers[1]]
    lines = [_line(each, numbers) for each in tree_of(found)]
    described = [
        {"name": each.name, "before": plain(each.before), "after": plain(each.after)} for each in found.described
    ]
    return plain({**found.head(), "lines": lines, "described": described[:500], "changes": changes, "added": added})


def _line(shown: Shown, numbers: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    values = merged(shown.rows)
    first = shown.rows[0]
    fields: dict[str, Any] = {
        "label": label_of(shown),
        "indent": len(shown.label) - len(shown.label.lstrip(" ")),
        "sign": shown.sign,
        "tensor": shown.is_tensor,
        "same": all(row.is_same for row in shown.rows),
        "tensors": len(shown.rows),
        "about": about(shown, wide=True),
        "at": [[numbers[0].get(row.name), numbers[1].get(row.new_name)] for row in shown.rows[:_MOST_NAMES]],
    }
    if shown.is_tensor:
        sides = [side for side in (first.before, first.after) if side is not None]
        fields["dtype"] = " → ".join(dict.fromkeys(side.dtype.short for side in sides))
        fields["shape"] = " → ".join(dict.fromkeys(str(list(side.shape or ())) for side in sides))
    if values.changed:
        fields |= {"changed": values.share, "max": values.max, "relative": values.relative, "cosine": values.cosine}
        fields["evidence"] = [{"kind": kind.name, "text": kind.text} for kind in first.kinds] if shown.is_tensor else []
    return fields
