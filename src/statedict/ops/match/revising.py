"""Rules that a person changed: what they make of a source, and what of the target is then missing. Nothing is read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from statedict import collector
from statedict.errors import PatternError, StatedictError
from statedict.index import TensorInfo
from statedict.ops.making import MakeRule
from statedict.ops.match.rules_file import rules_text
from statedict.ops.patterns import suggestion
from statedict.ops.recipes import Recipe, Shape, made
from statedict.tree.flat import flatten
from statedict.tree.module import Module


class Revised(NamedTuple):
    """One rule, and what it makes."""

    rule: MakeRule
    tensors: int
    error: str = ""
    """Why it makes none; empty where it does."""


class Misfit(NamedTuple):
    """A tensor that is made, but not in the shape that the target has."""

    target: str
    source: str
    shape: Shape
    """The target's."""
    found: Shape
    """That which is made."""


@dataclass(frozen=True)
class Revision:
    """What rules make of a source, measured against a target."""

    rules: tuple[Revised, ...]
    made: int
    """Tensors of the target that are there then, in its shape."""
    kept: int
    """Those of them that keep their names."""
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    """What keeps its name, which the target has not."""
    stray: tuple[str, ...]
    """What rules make under names that the target has not."""
    mismatched: tuple[Misfit, ...]

    def toml(self) -> str:
        """The rules as a file, which `statedict edit --rules` follows."""
        rules = [(each.rule, f"{each.tensors:,}" + (f": {each.error}" if each.error else "")) for each in self.rules]
        notes: list[tuple[str, Sequence[str]]] = [("The target has these, the source not", self.missing)]
        notes.append(("Of other shapes", [each.target for each in self.mismatched]))
        notes.append(("Made, but the target has no such name", self.stray))
        return rules_text(notes, self.unexpected, "make", rules)


@collector.paused()
def revised(rules: Iterable[MakeRule], source: Module, target: Module) -> Revision:
    """What rules make of `source`, one after the other as `make` follows them, and what of `target` it is."""
    ours, theirs = flatten(source, state=True).tensors, flatten(target, state=True).tensors
    taken: set[str] = set()
    found: dict[str, tuple[str, TensorInfo]] = {}
    told: list[Revised] = []
    for rule in rules:
        free = [name for name in ours if name not in taken]
        try:
            new = _made(rule, free, ours)
        except StatedictError as error:
            told.append(Revised(rule, 0, str(error)))
            continue
        told.append(Revised(rule, len(new)) if new else Revised(rule, 0, _none(rule, free)))
        found |= {name: (recipe.sources[0], info) for name, (recipe, info) in new.items()}
        taken |= {name for recipe, _ in new.values() for name in recipe.sources}
    kept = {name: (name, info) for name, info in ours.items() if name not in taken and name not in found}
    return _measured(tuple(told), found, kept, theirs)


def _made(
    rule: MakeRule, free: Sequence[str], tensors: Mapping[str, TensorInfo]
) -> dict[str, tuple[Recipe, TensorInfo]]:
    recipes = dict(rule.made(free, lambda name: tensors[name].shape or ()))
    return {name: (recipe, made(recipe, tensors, name)) for name, recipe in recipes.items()}


def _none(rule: MakeRule, free: Sequence[str]) -> str:
    return str(PatternError(f"`{rule.sources[0]}` matches no name{suggestion(rule.sources[0], list(free))}"))


def _measured(
    rules: tuple[Revised, ...],
    found: Mapping[str, tuple[str, TensorInfo]],
    kept: Mapping[str, tuple[str, TensorInfo]],
    target: Mapping[str, TensorInfo],
) -> Revision:
    every = {**kept, **found}
    fitting = [name for name, info in target.items() if name in every and every[name][1].shape == info.shape]
    misfits = [
        Misfit(name, every[name][0], info.shape or (), every[name][1].shape or ())
        for name, info in target.items()
        if name in every and every[name][1].shape != info.shape
    ]
    return Revision(
        rules,
        len(fitting),
        sum(name in kept for name in fitting),
        tuple(name for name in target if name not in every),
        tuple(name for name in kept if name not in target),
        tuple(name for name in found if name not in target),
        tuple(misfits),
    )
