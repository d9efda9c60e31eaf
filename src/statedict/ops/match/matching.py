"""`match`: which tensors of a checkpoint are which of another model's, how each is made, and why that is believed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from statedict import collector
from statedict.displaying import Displayed
from statedict.engine import Progress
from statedict.errors import StatedictError
from statedict.index import EMPTY, Index, TensorInfo
from statedict.narrow import is_dict
from statedict.opaque import Opaque
from statedict.ops.cache import HEADS, KV_HEADS
from statedict.ops.making import MakeRule
from statedict.ops.match.findings import Found, Settings
from statedict.ops.match.generalizing import rules_of
from statedict.ops.match.mismatches import Mismatch, mismatches
from statedict.ops.match.proving import Proof, prove
from statedict.ops.match.scopes import match_units
from statedict.ops.match.turning import turned
from statedict.ops.match.units import is_alphabetical, units_of
from statedict.ops.recipes import Recipe, Shape, made
from statedict.tree.build import build
from statedict.tree.flat import flatten
from statedict.tree.module import Module


class Line(NamedTuple):
    """How one tensor of the target is made."""

    target: str
    recipe: Recipe
    confidence: float
    """From 0 to 1: 1 where names are the same or values are equal."""
    reason: str
    """What it is believed for, in a few words."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The tensors that it is made of."""
        return self.recipe.sources


class Open(NamedTuple):
    """A tensor of the target for which nothing tells which of several it is."""

    target: str
    candidates: tuple[Recipe, ...]
    """The likeliest first."""
    reason: str


@dataclass(frozen=True)
class Match(Displayed):
    """How a source becomes a target, as far as can be told."""

    lines: tuple[Line, ...]
    """One for each tensor of the target that has a source, in the order of the target."""
    missing: tuple[str, ...]
    """Tensors of the target that nothing in the source is."""
    unexpected: tuple[str, ...]
    """Tensors of the source that nothing in the target is made of."""
    mismatched: tuple[Mismatch, ...] = ()
    ambiguous: tuple[Open, ...] = ()
    proved: bool = False
    """Whether both had values in common, which were compared."""
    _target: Index = field(kw_only=True, repr=False)
    _sources: Mapping[str, TensorInfo] = field(kw_only=True, repr=False)

    @property
    def complete(self) -> bool:
        """Whether every tensor of the target has its source."""
        return not (self.missing or self.mismatched or self.ambiguous)

    @property
    def rules(self) -> tuple[MakeRule, ...]:
        """The same as few rules, which `statedict edit --rules` follows: what keeps its name needs none."""
        return tuple(rule for rule, _ in self.counted_rules)

    @property
    def unused(self) -> tuple[str, ...]:
        """Tensors of the source that no line takes: the unexpected, and what may be one of several or fits not."""
        used = {name for line in self.lines for name in line.sources}
        return tuple(name for name in self._sources if name not in used)

    @cached_property
    def counted_rules(self) -> list[tuple[MakeRule, list[Line]]]:
        """Each rule with the lines that it stands for, in the order of the target."""
        order = {line.target: at for at, line in enumerate(self.lines)}
        unused = set(self.unused)
        left = [name for name in self._sources if name not in unused]
        found: list[tuple[MakeRule, list[Line]]] = []
        for rule in rules_of({line.target: line.recipe for line in self.lines}, left, self._shape):
            new = dict(rule.made(left, self._shape))
            taken = {name for recipe in new.values() for name in recipe.sources}
            left = [name for name in left if name not in taken]
            found.append((rule, [self.lines[order[name]] for name in new]))
        return sorted(found, key=lambda each: min((order[line.target] for line in each[1]), default=0))

    def _shape(self, source: str) -> Shape:
        return self._sources[source].shape or ()

    def apply(self, source: Module) -> Module:
        """The tree of the target with the tensors of `source`, a checkpoint with the names of the matched one.

        Its tensors have the source's element types, and are computed when they are read. What is missing is left out.
        Raises StatedictError where `source` has not what a tensor is to be made of.
        """
        tensors = flatten(source).tensors
        found: dict[str, TensorInfo] = {}
        tied: dict[object, TensorInfo] = {}
        for line in self.lines:
            for name in line.sources:
                if name not in tensors:
                    raise StatedictError(f"tensor `{name}`, of which `{line.target}` is made, is not there")
            key = (id(self._target.tensors[line.target]), line.recipe)
            if key not in tied:
                tied[key] = made(line.recipe, tensors, line.target)
            found[line.target] = tied[key]
        index = self._target
        return build(Index(index.format, index.source, found, index.modules))


@collector.paused()
def match(source: Module, target: Module, *, values: bool = True, progress: Progress | None = None) -> Match:
    """Which tensors of `source` those of `target` are: see `statedict.matching.match`."""
    ours, theirs = flatten(source, state=True), flatten(target, state=True)
    first, second = units_of(ours.tensors), units_of(theirs.tensors)
    ordered = not (is_alphabetical(ours.tensors) or is_alphabetical(theirs.tensors))
    outcome = match_units(first, second, _settings(ordered, source, target))
    named = list(turned(outcome.found, ours.tensors, theirs.tensors))
    proof = prove(named, ours.tensors, theirs.tensors, progress) if values else Proof(named, told=False)
    found = {each.target: each for each in proof.found}
    _tie(found, theirs)
    lines, ambiguous = list[Line](), list[Open]()
    for name in theirs.tensors:
        if (each := found.get(name)) is None:
            continue
        if each.open:
            ambiguous.append(Open(name, each.open, each.reason))
        else:
            lines.append(Line(name, each.recipe, each.confidence, each.reason))
    mismatched = mismatches(outcome, ours.tensors, theirs.tensors)
    used = {name for line in lines for name in line.sources} | {each.source for each in mismatched}
    used |= {name for each in ambiguous for recipe in each.candidates for name in recipe.sources}
    other = {each.target for each in mismatched}
    return Match(
        tuple(lines),
        tuple(name for name in theirs.tensors if name not in found and name not in other),
        tuple(name for name in ours.tensors if name not in used),
        mismatched,
        tuple(ambiguous),
        proof.told,
        _target=theirs,
        _sources=ours.tensors,
    )


def _settings(ordered: bool, *models: Module) -> Settings:
    """What the configurations of models say of their attention."""
    configs = [_config(model) for model in models]
    heads, kv_heads = (tuple(dict.fromkeys(_numbers(configs, keys))) for keys in (HEADS, KV_HEADS))
    rotary = any(key.startswith("rope") for config in configs for key in config if isinstance(key, str))
    return Settings(ordered, heads, kv_heads, rotary)


def _config(model: Module) -> Mapping[Any, Any]:
    """The configuration of a Hugging Face folder or live model; empty where there is none."""
    config = model.attributes.get("config")
    return config.attributes if isinstance(config, Opaque) else config if is_dict(config) else EMPTY


def _numbers(configs: Iterable[Mapping[Any, Any]], keys: Iterable[str]) -> Iterator[int]:
    found = (config.get(key) for config in configs for key in keys)
    return (each for each in found if isinstance(each, int) and each > 0)


def _tie(found: dict[str, Found], target: Index) -> None:
    """Give tensors without a source that of another name of theirs."""
    names: dict[int, list[str]] = {}
    for name, info in target.tensors.items():
        names.setdefault(id(info), []).append(name)
    for tied in names.values():
        known = next((found[name] for name in tied if name in found), None)
        for name in tied:
            if known is not None and name not in found:
                found[name] = known._replace(target=name, reason=f"tied to `{known.target}`")
