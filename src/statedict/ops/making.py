"""`make`: a tree whose tensors are made of others by rules: renamed, joined, cut, stacked, transposed, reshaped."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from statedict import collector
from statedict.errors import PatternError, StatedictError
from statedict.index import TensorInfo
from statedict.narrow import is_dict, is_list, is_tuple
from statedict.ops.apart import Part as Named
from statedict.ops.apart import apart, together
from statedict.ops.patterns import suggestion
from statedict.ops.recipes import Part, Recipe, made
from statedict.ops.rename import check_names, moves
from statedict.ops.rules import compile_rule
from statedict.tree.module import Module

_GROUP = re.compile(r"\{([A-Za-z_]\w*)(?:[+-]\d+)?\}")


@dataclass(frozen=True)
class MakeRule:
    """What becomes of the tensors that a pattern fits; `ops.rules` says how patterns and new names are written."""

    sources: tuple[str, ...]
    """Patterns of names; of the later ones, what the first has found stands in their groups and stars."""
    targets: tuple[str, ...]
    """The new names. Of several, each is a part of the tensor, in this order, or another name of it if `tie`."""
    transpose: bool = False
    """Swap the last two dimensions, before anything is joined or cut."""
    dim: int = 0
    """Along which tensors are joined or cut."""
    sizes: tuple[int, ...] | None = None
    """Of the parts, where they are not even."""
    heads: int = 1
    """In how many groups the parts alternate along `dim`: in each is its share of the first, the second, ..."""
    stack: bool = False
    """Stack those whose new name is one: `experts.{e}.w=experts.w`."""
    unstack: bool = False
    """Cut along the first dimension: `experts.w=experts.{e}.w`."""
    tie: bool = False
    shape: tuple[int, ...] | None = None
    """Reshape to this, in the end."""
    rotary: int = 0
    """Put the rows of so many heads from pairs of neighbours into halves, for rotary embeddings; less than 0: back."""
    permute: tuple[int, ...] = ()
    """Put the dimensions in this order, before anything is joined or cut."""

    def __str__(self) -> str:
        how = [
            *(name for name in ("transpose", "stack", "unstack", "tie") if getattr(self, name)),
            *([f"dim={self.dim}"] if self.dim else []),
            *([f"sizes={list(self.sizes)}"] if self.sizes else []),
            *([f"heads={self.heads}"] if self.heads > 1 else []),
            *([f"shape={list(self.shape)}"] if self.shape is not None else []),
            *([f"rotary={self.rotary}"] if self.rotary else []),
            *([f"permute={list(self.permute)}"] if self.permute else []),
        ]
        text = f"{' + '.join(self.sources)} = {' + '.join(self.targets)}"
        return f"{text} ({', '.join(how)})" if how else text

    @property
    def is_rename(self) -> bool:
        return self == MakeRule(self.sources, self.targets) and len(self.sources) == len(self.targets) == 1

    def table(self) -> dict[str, Any]:
        """The rule as a file of rules has it."""
        alone = {"sources": self.sources, "targets": self.targets}
        sides = {_KEYS[name]: side[0] if len(side) == 1 else list(side) for name, side in alone.items()}
        plain = MakeRule(self.sources, self.targets)
        others = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in alone}
        return sides | {
            name: list(value) if is_tuple(value) else value
            for name, value in others.items()
            if value != getattr(plain, name)
        }

    def made(self, names: Sequence[str], shapes: Callable[[str], tuple[int, ...]]) -> Iterator[tuple[str, Recipe]]:
        """What it makes of tensors of those names, whose shapes `shapes` tells: the new names, and how."""
        if self.unstack:
            yield from self._unstacked(names, shapes)
            return
        first = self.sources[0]
        others = [compile_rule(f"{first}={other}").rename for other in self.sources[1:]]
        targets = [compile_rule(f"{first}={target}").rename for target in self.targets]
        rows: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        known = set(names)
        for name in names:
            found = [target(name) for target in targets]
            row = (name, *(other(name) or "" for other in others))
            if all(found) and all(each in known for each in row):
                rows.setdefault(tuple(each or "" for each in found), []).append(row)
        for new, held in rows.items():
            if len(held) > 1 and not self.stack:
                several = " and ".join(f"`{row[0]}`" for row in held[:2])
                raise StatedictError(f"`{self}`: {several} would both be `{new[0]}`; `stack = true` stacks them")
            yield from self._recipes(new, sorted(held, key=_by_number))

    def _recipes(self, targets: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[tuple[str, Recipe]]:
        names = tuple(name for row in rows for name in row)
        recipe = Recipe(
            names, transpose=self.transpose, heads=self.heads, dim=self.dim, stack=self.stack,
            joined=len(self.sources), shape=self.shape, rotary=self.rotary, permute=self.permute,
        )  # fmt: skip
        for at, target in enumerate(targets):
            cut = len(targets) > 1 and not self.tie
            yield target, recipe._replace(part=Part(at, len(targets), self.sizes)) if cut else recipe

    def _unstacked(
        self, names: Sequence[str], shapes: Callable[[str], tuple[int, ...]]
    ) -> Iterator[tuple[str, Recipe]]:
        first = self.sources[0]
        known = {found[1] for found in _GROUP.finditer(first)}
        fits = compile_rule(f"{first}=x").rename
        for name in (name for name in names if fits(name) is not None):
            for index in range((shapes(name) or (0,))[0]):
                new = [_numbered(target, known, index) for target in self.targets]
                targets = [compile_rule(f"{first}={each}").rename(name) or "" for each in new]
                for target, recipe in self._recipes(tuple(targets), [(name,)]):
                    yield target, recipe._replace(member=index)


_KEYS = {"sources": "from", "targets": "to"}


def rule_of(row: Any) -> MakeRule:
    """The rule that a table of a file of rules, or the text of a renaming, says. Raises PatternError."""
    if isinstance(row, str):
        pattern, _, new = row.partition("=")
        row = {"from": pattern, "to": new}
    known = {_KEYS.get(each.name, each.name): each.name for each in fields(MakeRule)}
    if not is_dict(row) or not {"from", "to"} <= row.keys() or not row.keys() <= known.keys():
        raise PatternError(f"`make` holds `{row}`; expected tables of `from`, `to` and some of {', '.join(known)}")
    given: dict[str, Any] = {known[key]: tuple(value) if is_list(value) else value for key, value in row.items()}
    given |= {side: (given[side],) for side in _KEYS if isinstance(given[side], str)}
    for name, value in given.items():
        if not _is_of(name, value):
            raise PatternError(f"`make` holds `{row}`, whose `{_KEYS.get(name, name)}` cannot be `{value}`")
    return _checked(MakeRule(**given))


def _checked(rule: MakeRule) -> MakeRule:
    """The rule, whose patterns can be read. Raises PatternError."""
    first = rule.sources[0]
    if len(rule.sources) > 1 and len(rule.targets) > 1:
        raise PatternError(f"`{rule}` makes several of several; write one rule that joins, and one that cuts")
    known = set(_GROUP.findall(first))
    for target in (*rule.sources[1:], *rule.targets):
        compile_rule(f"{first}={_numbered(target, known, 0) if rule.unstack else target}")
    return rule


def _is_of(name: str, value: Any) -> bool:
    """Whether a field of a rule may have that value."""
    if name in _KEYS:
        return is_tuple(value) and bool(value) and all(isinstance(each, str) for each in value)
    if name in ("sizes", "shape", "permute"):
        return is_tuple(value) and all(type(each) is int for each in value)
    if name in ("dim", "heads", "rotary"):
        return type(value) is int and (name != "heads" or value > 0)
    return isinstance(value, bool)


def _numbered(target: str, known: set[str], index: int) -> str:
    """A new name with the number of one of a stack in the place of the group that its pattern has not."""
    return _GROUP.sub(
        lambda found: found[0] if found[1] in known else str(index + int(found[0].strip("{}")[len(found[1]) :] or 0)),
        target,
    )


def _by_number(row: tuple[str, ...]) -> list[int | str]:
    """Numbers in names by what they count."""
    return [int(part) if part.isdecimal() and part.isascii() else part for part in re.split(r"(\d+)", row[0])]


@collector.paused()
def make(model: Module, rules: Iterable[MakeRule]) -> Module:
    """A tree whose tensors are made as the rules say, all at once: each rule sees the names of `model`.

    Of several rules that fit a name the first counts. What no rule fits keeps its name. Modules go where most of their
    tensors go. Nothing is read. Raises PatternError for a rule that fits no tensor, StatedictError where one cannot be
    made, or where two would have one name.
    """
    parts = apart(model)
    recipes = recipes_of(rules, {part.name: part.info for part in parts.tensors})
    held = {part.name: part for part in parts.tensors}
    taken = {name for recipe in recipes.values() for name in recipe.sources}
    known: dict[object, TensorInfo] = {}
    tensors: list[Named] = []
    for name, recipe in recipes.items():
        first = held[recipe.sources[0]]
        key = (recipe._replace(sources=()), *(id(held[source].info) for source in recipe.sources))
        if key not in known:
            known[key] = made(recipe, {source: held[source].info for source in recipe.sources}, name)
        tensors.append(first._replace(name=name, info=known[key], was=recipe.sources[0]))
    order = {part.name: at for at, part in enumerate(parts.tensors)}
    tensors += [part._replace(was=part.name) for part in parts.tensors if part.name not in taken]
    tensors.sort(key=lambda part: order[part.was or part.name])
    check_names(tensors)
    moved, split = moves(parts, tensors, [])
    return together(parts, tensors, moved, others=split)


def recipes_of(rules: Iterable[MakeRule], tensors: Mapping[str, TensorInfo]) -> dict[str, Recipe]:
    """How each tensor that a rule makes is made, by its new name. Raises PatternError for a rule that fits nothing."""
    found: dict[str, Recipe] = {}
    taken: set[str] = set()
    for rule in rules:
        free = [name for name in tensors if name not in taken]
        new = dict(rule.made(free, lambda name: tensors[name].shape or ()))
        if not new:
            pattern = rule.sources[0]
            raise PatternError(f"`{pattern}` matches no name{suggestion(pattern, list(tensors))}")
        found |= new
        taken |= {name for recipe in new.values() for name in recipe.sources}
    return found
