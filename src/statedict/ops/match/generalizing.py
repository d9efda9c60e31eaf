"""From how each tensor is made to few rules that say so of all: numbers become groups, what follows a rename a star."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from statedict.ops.making import MakeRule
from statedict.ops.recipes import Recipe, Shape
from statedict.ops.rules import compile_rule

_DIGITS = re.compile(r"(?<!\d)(?:0|[1-9]\d{0,17})(?!\d)", re.ASCII)
"""A number in a name, as Python writes it: what stands for `{i}`."""
_GROUP = re.compile(r"\{[^{}]*\}")
_GROUPS = "ijklmnpqrstu"
_RESERVED = frozenset("={}*,")
_SIDES = ("sources", "targets")
Numbers = tuple[int, ...]


class _Example(NamedTuple):
    """One way in which tensors are made, as a rule that names them."""

    rule: MakeRule
    stacked: int = 0
    """How many are stacked, or lie in a stack."""

    @property
    def names(self) -> tuple[str, ...]:
        return self.rule.sources + self.rule.targets


def rules_of(recipes: Mapping[str, Recipe], names: Iterable[str], shapes: Callable[[str], Shape]) -> list[MakeRule]:
    """Rules that make those tensors, given by their new names, of a checkpoint that has tensors of these names.

    `shapes` tells theirs. What keeps its name needs none. Names with characters that mean something in a rule have
    none, either.
    """
    told = {
        target: recipe for target, recipe in recipes.items() if _RESERVED.isdisjoint("".join((target, *recipe.sources)))
    }
    examples = list(_examples(told))
    groups = list(_alike(examples))
    alike: dict[str, list[list[_Example]]] = {}
    for group in groups:
        alike.setdefault(template(group[0].rule.sources[0]), []).append(group)
    rules: list[MakeRule] = []
    for group in groups:
        rules += _numbered(group, alone=_is_alone(group, alike[template(group[0].rule.sources[0])]))
    every = set(names)
    rules = _widened(_starred(rules, every), every - {name for each in examples for name in each.rule.sources})
    ordered = sorted(every)
    return [exact for rule in rules for exact in _exact(rule, told, ordered, shapes)]


def _exact(
    rule: MakeRule, told: Mapping[str, Recipe], names: Sequence[str], shapes: Callable[[str], Shape]
) -> list[MakeRule]:
    """The rule, where it makes nothing else than is told; otherwise one for each that it should."""
    made = dict(rule.made(names, shapes))
    if all(told.get(target) == recipe for target, recipe in made.items()):
        return [rule]
    return [each.rule for each in _examples({target: told[target] for target in made if target in told})]


def _examples(recipes: Mapping[str, Recipe]) -> Iterator[_Example]:
    """What is made together: parts of one tensor, those of one stack, names of one tensor."""
    groups: dict[Recipe, list[tuple[str, Recipe]]] = {}
    for target, recipe in recipes.items():
        groups.setdefault(recipe._replace(part=None, member=None), []).append((target, recipe))
    for base, made in groups.items():
        by_index: dict[int | None, list[tuple[str, Recipe]]] = {}
        for target, recipe in made:
            by_index.setdefault(recipe.member, []).append((target, recipe))
        for index, held in by_index.items():
            if index is None or index == 0:
                yield from _of_one(base, held, len(by_index) if index == 0 else 0)


def _of_one(base: Recipe, made: Sequence[tuple[str, Recipe]], unstacked: int) -> Iterator[_Example]:
    """The example of what is made of the same tensors: each part once, and what is one again as its second name."""
    joined = base.sources[: base.joined]
    stacked = len(base.sources) // base.joined if base.stack else 0
    plain = MakeRule(
        joined, (), transpose=base.transpose, dim=base.dim, heads=base.heads, shape=base.shape,
        stack=base.stack, unstack=unstacked > 0, rotary=base.rotary, permute=base.permute,
    )  # fmt: skip
    parts = {recipe.part.at: (target, recipe.part) for target, recipe in made if recipe.part is not None}
    if parts:
        _, first = next(iter(parts.values()))
        targets = tuple(parts[at][0] for at in range(first.many) if at in parts)
        if len(targets) == first.many:
            yield _Example(replace(plain, targets=targets, sizes=first.sizes), unstacked)
        return
    targets = tuple(target for target, _ in made)
    yield _Example(replace(plain, targets=targets, tie=len(targets) > 1), stacked or unstacked)


def _alike(examples: Iterable[_Example]) -> Iterator[list[_Example]]:
    """The examples that differ in numbers alone."""
    groups: dict[object, list[_Example]] = {}
    for each in examples:
        key = (tuple(map(template, each.names)), replace(each.rule, sources=(), targets=()))
        groups.setdefault(key, []).append(each)
    yield from groups.values()


def _is_alone(group: Sequence[_Example], others: Iterable[Sequence[_Example]]) -> bool:
    """Whether a pattern with groups where these examples differ fits no source of the `others`."""
    rows = [_numbers(each.rule.sources[0]) for each in group]
    same = [at for at, value in enumerate(rows[0]) if all(row[at] == value for row in rows)]
    mine = tuple(rows[0][at] for at in same)
    theirs = (_numbers(each.rule.sources[0]) for other in others if other is not group for each in other)
    return all(tuple(row[at] for at in same) != mine for row in theirs)


def _numbered(group: Sequence[_Example], *, alone: bool) -> list[MakeRule]:
    """The rules of examples that differ in numbers alone: one with groups in their places, or more where need be.

    Where there are others that differ from these in numbers alone but are made otherwise, groups are of numbers.
    """
    names = group[0].names
    columns = [[_numbers(each.names[at]) for each in group] for at in range(len(names))]
    first = columns[0]
    varying = [at for at in range(len(first[0])) if len({row[at] for row in first}) > 1]
    if len(set(first)) < len(group) or max(varying, default=0) >= len(_GROUPS):
        return [each.rule for each in group]
    said = {at: _GROUPS[at] if alone else _range({row[at] for row in first}) for at in varying}
    texts: list[str] = [_template(names[0], said)]
    for name, rows in zip(names[1:], columns[1:], strict=True):
        slots: dict[int, str] = {}
        for at in range(len(rows[0])):
            values = [row[at] for row in rows]
            if len(set(values)) == 1:
                continue
            found = _sum(values, first, said)
            if found is None or not (alone or found in said.values()):  # no number on the left, nor one beside it
                return _split(group, rows, at, alone=alone)
            slots[at] = found
        texts.append(_template(name, slots))
    return [_stacking(replace(group[0].rule, **_sides(group[0].rule, texts)), group[0])]


def _range(values: set[int]) -> str:
    """Numbers as a pattern has them in braces."""
    low, high = min(values), max(values)
    return f"{low}-{high}" if len(values) == high - low + 1 else ",".join(map(str, sorted(values)))


def _sum(values: Sequence[int], first: Sequence[Numbers], said: Mapping[int, str]) -> str | None:
    """The group on the left that has these numbers, or others as far beside them; None where there is none."""
    for at, group in said.items():
        added = {value - row[at] for value, row in zip(values, first, strict=True)}
        if len(added) == 1:
            by = added.pop()
            return f"{group}{by:+d}" if by else group
    return None


def _split(group: Sequence[_Example], rows: Sequence[Numbers], at: int, *, alone: bool) -> list[MakeRule]:
    parts: dict[int, list[_Example]] = {}
    for each, row in zip(group, rows, strict=True):
        parts.setdefault(row[at], []).append(each)
    return [rule for part in parts.values() for rule in _numbered(part, alone=alone)]


def template(name: str) -> str:
    """The name without its numbers."""
    return _DIGITS.sub("#", name)


def _sides(rule: MakeRule, texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    cut = len(rule.sources)
    return {"sources": tuple(texts[:cut]), "targets": tuple(texts[cut:])}


def _stacking(rule: MakeRule, example: _Example) -> MakeRule:
    """The rule with a group for the number of what is stacked, or of what is taken from a stack."""
    if not example.stacked:
        return rule
    if rule.stack:
        at = _last_number(example.rule.sources[0])
        return replace(rule, sources=tuple(_with_part(text, at, "{e}") for text in rule.sources))
    at = _last_number(example.rule.targets[0])
    first = int(example.rule.targets[0].split(".")[at])
    group = f"{{e+{first}}}" if first else "{e}"
    return replace(rule, targets=tuple(_with_part(text, at, group) for text in rule.targets))


def _last_number(name: str) -> int:
    """Which part of a name counts what is stacked: the last that is a number."""
    return max(at for at, part in enumerate(name.split(".")) if part.isdecimal())


def _with_part(text: str, at: int, part: str) -> str:
    parts = text.split(".")
    parts[at] = part
    return ".".join(parts)


def _numbers(name: str) -> Numbers:
    return tuple(int(found) for found in _DIGITS.findall(name))


def _template(name: str, slots: Mapping[int, str]) -> str:
    """The name with groups in the place of some of its numbers, counted from 0."""
    places = iter(range(len(name)))

    def put(found: re.Match[str]) -> str:
        at = next(places)
        return f"{{{slots[at]}}}" if at in slots else found[0]

    return _DIGITS.sub(put, name)


def _widened(rules: Sequence[MakeRule], others: set[str]) -> list[MakeRule]:
    """Fewer rules that say the same: what follows a part that is renamed is left to a star.

    `others` are names that no rule is to fit.
    """
    kept: list[MakeRule] = []
    renames: dict[tuple[str, ...], MakeRule] = {}
    for rule in rules:
        if len(rule.sources) == len(rule.targets) == 1 and rule.is_rename:
            renames[tuple(rule.sources[0].split("."))] = rule
        else:
            kept.append(rule)
    pairs = {source: tuple(rule.targets[0].split(".")) for source, rule in renames.items()}
    fixed = [tuple(name.split(".")) for name in others]
    fixed += [tuple(name.split(".")) for rule in kept for name in rule.sources]
    done: set[tuple[str, ...]] = set()
    for source, target in pairs.items():
        if source in done:
            continue
        shared = _shared_end(source, target)
        widest = source, target
        for cut in range(shared, 0, -1):
            head, tail = source[: len(source) - cut], target[: len(target) - cut]
            if _holds(head, tail, cut, pairs, fixed):
                star = ("**",) if cut > 1 or _deeper(head, pairs) else ("*",)
                done |= {each for each in pairs if each[: len(head)] == head and len(each) > len(head)}
                widest = (*head, *star), (*tail, *star)
                break
        else:
            done.add(source)
        if widest[0] != widest[1]:
            kept.append(MakeRule((".".join(widest[0]),), (".".join(widest[1]),)))
    return kept


def _starred(rules: Sequence[MakeRule], names: set[str]) -> list[MakeRule]:
    """Rules that are one but for the last part of all names as one with a star, where it fits nothing else."""
    groups: dict[object, list[MakeRule]] = {}
    for rule in rules:
        ends = {name.rpartition(".")[2] for name in (*rule.sources, *rule.targets)}
        alike = not rule.is_rename and len(ends) == 1
        key = tuple(name.rpartition(".")[0] for name in (*rule.sources, *rule.targets)) if alike else object()
        groups.setdefault((key, replace(rule, sources=(), targets=())), []).append(rule)
    return [merged for group in groups.values() for merged in _merged(group, names)]


def _merged(group: Sequence[MakeRule], names: set[str]) -> Sequence[MakeRule]:
    if len(group) == 1:
        return group
    sides = {side: tuple(f"{name.rpartition('.')[0]}.*" for name in getattr(group[0], side)) for side in _SIDES}
    one = replace(group[0], **sides)
    fits = [_fitting(rule.sources[0]) for rule in group]
    whole = _fitting(one.sources[0])
    every = [name for name in names if whole(name) is not None]
    return [one] if all(any(fit(name) is not None for fit in fits) for name in every) else group


def _fitting(pattern: str) -> Callable[[str], str | None]:
    """What is not None for the names that a rule's pattern fits."""
    return compile_rule(f"{pattern}=x").rename


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    few = min(len(one), len(other))
    return next((at for at in range(few) if one[-1 - at] != other[-1 - at]), few)


def _deeper(head: Sequence[str], pairs: Iterable[tuple[str, ...]]) -> bool:
    return any(len(each) > len(head) + 1 for each in pairs if each[: len(head)] == tuple(head))


def _holds(
    head: tuple[str, ...], tail: tuple[str, ...], cut: int,
    pairs: Mapping[tuple[str, ...], tuple[str, ...]], fixed: Iterable[tuple[str, ...]],
) -> bool:  # fmt: skip
    """Whether all names that begin so are to be renamed so."""
    if not head and not tail:
        return all(source == target for source, target in pairs.items()) and not fixed
    for source, target in pairs.items():
        if _may_begin(source, head) and (source[: len(head)] != head or (*tail, *source[len(head) :]) != target):
            return False
    return not any(_may_begin(each, head) for each in fixed)


def _may_begin(name: Sequence[str], head: Sequence[str]) -> bool:
    """Whether a name, or one that a pattern fits, may begin so."""
    if len(name) <= len(head):
        return False
    return all(map(_may_be, name, head))


def _may_be(one: str, other: str) -> bool:
    """Whether two parts of patterns may fit one part of a name."""
    ours, theirs = _among(one), _among(other)
    if ours is not None and theirs is not None:
        return not ours.isdisjoint(theirs)
    if one == other or _GROUP.fullmatch(one) or _GROUP.fullmatch(other):
        return True
    return _GROUP.sub("0", one) == _GROUP.sub("0", other) or _fits(one, other) or _fits(other, one)


def _fits(pattern: str, part: str) -> bool:
    """Whether a part of a pattern, in which groups stand for numbers, fits one."""
    texts = map(re.escape, _GROUP.split(pattern))
    return "{" in pattern and re.fullmatch(r"\d+".join(texts), _GROUP.sub("0", part)) is not None


def _among(part: str) -> set[int] | None:
    """The numbers that a part of a pattern stands for, where it says which: `{0-2}`, `{0,5}`, `7`; else None."""
    text = part[1:-1] if _GROUP.fullmatch(part) else part
    if not re.fullmatch(r"\d+(-\d+)?(,\d+)*", text) or (text == part and not part.isdecimal()):
        return None
    low, dash, high = text.partition("-")
    return set(range(int(low), int(high) + 1)) if dash else {int(each) for each in text.split(",")}
