"""The layers of one module matched with those of another: lists with lists first, then what is in no list."""

from collections.abc import Iterable, Sequence

from statedict.ops.match.findings import SAME_NAME, Found, Outcome, Settings
from statedict.ops.match.flat import Flat
from statedict.ops.match.lists import Listed, Row, lists_of, rows_of
from statedict.ops.match.pairing import best_pairs
from statedict.ops.match.scoring import alike
from statedict.ops.match.units import Unit, count

_NEAR = 0.03
"""How much the sizes of two items may differ, as a share: by buffers that one side does not store."""
_NAMED = 0.3
_OTHER_LENGTH = -1.0
_SAME_LIST = 0.95
"""The confidence in one name within two lists that are found to be the same."""
_IN_A_ROW = 0.9
_MOST, _DEEPEST = 128, 16
"""How many lists of a scope are looked at, and in how many modules they may be: beyond what any model has."""
_TELLING_SIZES = 4
"""How many different sizes tell where in a longer list a shorter one lies, at least."""


def match_units(sources: Sequence[Unit], targets: Sequence[Unit], settings: Settings) -> Outcome:
    """The layers of one scope matched with those of another."""
    outcome = Outcome()
    sources, targets = list(sources), list(targets)
    count(sources)
    count(targets)
    ours, theirs = (_lists(units) for units in (sources, targets))
    for source, target in _paired_lists(ours, theirs, settings):
        pairs = _pairs(source, target)
        items = [source.items[one] for one, _ in pairs] + [target.items[other] for _, other in pairs]
        taken = {id(unit) for units in items for unit in units}
        if not taken <= {id(unit) for unit in (*sources, *targets)}:
            continue  # in a list that is matched already
        sources = [unit for unit in sources if id(unit) not in taken]
        targets = [unit for unit in targets if id(unit) not in taken]
        _match_items(source, target, settings, outcome)
    count(sources)
    count(targets)
    Flat(sources, targets, settings, outcome).solve()
    return outcome


def _lists(units: Sequence[Unit]) -> list[Listed]:
    """The lists of a scope, and the rows that lists in lists make; the outer ones, where a file has no end of them."""
    return [each for found in (lists_of(units), rows_of(units)) for each in found[:_MOST] if len(each.path) < _DEEPEST]


def _paired_lists(
    sources: Sequence[Listed], targets: Sequence[Listed], settings: Settings
) -> list[tuple[Listed, Listed]]:
    """Lists that are the same: as many items, each as large. Outer ones first."""
    found: list[tuple[Listed, Listed]] = []
    left, right = list(sources), list(targets)
    known = _scores(sources, targets)
    while True:
        places = _places(left), _places(right)
        scores: dict[tuple[int, int], float] = {}
        for one, source in enumerate(left):
            for other, target in enumerate(right):
                score = known.get((id(source), id(target)))
                if score is not None:
                    order = settings.ordered and places[0][one] == places[1][other]
                    scores[one, other] = score + 0.3 * order
        pairs = best_pairs(scores)
        if not pairs:
            return sorted(found, key=lambda pair: len(pair[1].path))
        best = pairs[0]
        found.append((left.pop(best.source), right.pop(best.target)))


def _scores(sources: Sequence[Listed], targets: Sequence[Listed]) -> dict[tuple[int, int], float]:
    """How much two lists are alike, by their ids; nothing of those whose items are of other sizes."""
    scores: dict[tuple[int, int], float] = {}
    for source in sources:
        for target in targets:
            size = _same_size(source, target)
            if size is not None:
                names = 1.5 if source.path == target.path else alike(source.words, target.words)
                scores[id(source), id(target)] = size + names
    return scores


def _places(lists: Sequence[Listed]) -> list[tuple[int, int]]:
    """Which each is among those with as many items, and among how many."""
    groups: dict[int, list[int]] = {}
    for at, each in enumerate(lists):
        groups.setdefault(len(each.items), []).append(at)
    found: dict[int, tuple[int, int]] = {}
    for group in groups.values():
        for rank, at in enumerate(sorted(group, key=lambda at: lists[at].place)):
            found[at] = rank, len(group)
    return [found[at] for at in range(len(lists))]


def _same_size(source: Listed, target: Listed) -> float | None:
    """1 where all items are of one size, less where nearly; None where they are not."""
    if len(source.items) != len(target.items) or isinstance(source, Row) or isinstance(target, Row):
        if _run(source, target) is not None:
            return _IN_A_ROW
        return _OTHER_LENGTH if _same_begin(source, target) else None
    if source.numels == target.numels:
        return 1.0
    pairs = zip(source.numels, target.numels, strict=True)
    return 0.5 if all(abs(one - other) <= _NEAR * max(one, other) for one, other in pairs) else None


def _run(source: Listed, target: Listed) -> int | None:
    """From which item of the longer on the items of the shorter have the sizes of its own; None: nowhere, or often.

    One has a row of modules where the other has it in stages, or has what comes before and after in the same list.
    """
    if isinstance(source, Row) == isinstance(target, Row):
        return None
    few, many = sorted((source.numels, target.numels), key=len)
    if len(set(few)) < _TELLING_SIZES:
        return None
    found = [at for at in range(len(many) - len(few) + 1) if many[at : at + len(few)] == few]
    return found[0] if len(found) == 1 else None


def _same_begin(source: Listed, target: Listed) -> bool:
    """Whether lists of other lengths, of several modules each, have items of one size under the same numbers."""
    if isinstance(source, Row) or isinstance(target, Row):
        return False
    ours, theirs = (dict(zip(each.numbers, each.numels, strict=True)) for each in (source, target))
    both = ours.keys() & theirs.keys()
    alike_names = alike(source.words, target.words) > _NAMED or source.path == target.path
    large = min(len(units) for each in (source, target) for units in each.items.values()) > 1
    return large and alike_names and bool(both) and all(ours[number] == theirs[number] for number in both)


def _pairs(source: Listed, target: Listed) -> list[tuple[int, int]]:
    """Which items are the same: in their order, or by number where one side has more."""
    if (first := _run(source, target)) is not None:
        fewer = min(len(source.items), len(target.items))
        cuts = (each.numbers[first:][:fewer] if len(each.items) > fewer else each.numbers for each in (source, target))
        return list(zip(*cuts, strict=True))
    if len(source.items) == len(target.items):
        return list(zip(source.numbers, target.numbers, strict=True))
    return [(number, number) for number in source.numbers if number in target.items]


def _match_items(source: Listed, target: Listed, settings: Settings, outcome: Outcome) -> None:
    """Match item with item, in their order; those that are alike once for all of them."""
    known: dict[tuple[object, object], Outcome] = {}
    depth = source.depth, target.depth
    for one, other in _pairs(source, target):
        key = source.signature(one), target.signature(other)
        ours, theirs = source.items[one], target.items[other]
        if key not in known:
            inner = match_units([u.below(depth[0]) for u in ours], [u.below(depth[1]) for u in theirs], settings)
            known[key] = inner
        inner = known[key]
        head, tail = source.head(one), target.head(other)
        outcome.found += [_moved(each, head, tail) for each in inner.found]
        outcome.sources += _same(inner.sources, ours, depth[0])
        outcome.targets += _same(inner.targets, theirs, depth[1])


def _moved(found: Found, head: str, tail: str) -> Found:
    recipe, *others = (
        each._replace(sources=tuple(_within(head, name) for name in each.sources))
        for each in (found.recipe, *found.open)
    )
    found = found._replace(target=_within(tail, found.target), recipe=recipe, open=tuple(others))
    if head == tail or found.reason != SAME_NAME:
        return found
    return found._replace(confidence=min(found.confidence, _SAME_LIST), reason=f"{SAME_NAME} in its list")


def _within(head: str, name: str) -> str:
    """The whole name of what is in an item; of the item itself, where the list is one of tensors."""
    return head + name if name else head.removesuffix(".")


def _same(left: Iterable[Unit], units: Iterable[Unit], depth: int) -> list[Unit]:
    """Those of `units` that stand in another item for what is left there."""
    keys = {(unit.parts, tuple(unit.locals)) for unit in left}
    return [unit for unit in units if (unit.parts[depth:], tuple(unit.locals)) in keys]
