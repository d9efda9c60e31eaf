"""Parameters in groups, as optimizers take them: each in exactly one, by the first rule that fits."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from statedict.errors import PatternError, StatedictError
from statedict.ops.depth import Depth
from statedict.ops.patterns import matching
from statedict.ops.select import NamedTensor

REST = "the rest"
"""What the group of those that no rule took is called."""


@dataclass(frozen=True, slots=True)
class LayerDecay:
    """A number that shrinks from the last layer to the first: `1e-3 * layer_decay(0.75)` as a learning rate."""

    factor: float
    base: float = 1.0
    blocks: str | None = None

    def __mul__(self, number: float) -> "LayerDecay":
        return LayerDecay(self.factor, self.base * number, self.blocks)

    __rmul__ = __mul__

    def at(self, depth: Depth) -> float:
        """The number of a parameter at that depth."""
        return self.base * self.factor**depth.below_top


def layer_decay(factor: float, blocks: str | None = None) -> LayerDecay:
    """A number for each layer, to multiply a learning rate with: `lr=1e-3 * sd.layer_decay(0.75)`.

    1 behind the last of the model's repeated blocks, `factor` in it, and so on down to what lies before the first; see
    `ops.depth.depths` for what counts as a block, or say it by the pattern `blocks`. Raises StatedictError unless the
    factor is above 0 and at most 1. As in ELECTRA (Clark et al. 2020) and BEiT (Bao et al. 2021).
    """
    if not 0 < factor <= 1:
        raise StatedictError(f"`layer_decay({factor!r})`: expected a factor above 0 and at most 1, such as 0.75")
    return LayerDecay(factor, blocks=blocks)


class Named(NamedTuple):
    """One parameter: every name it has, the first of which counts."""

    entry: NamedTensor
    names: Sequence[str]

    @property
    def name(self) -> str:
        return self.entry.name


def named_once(entries: Iterable[NamedTensor]) -> list[Named]:
    """Each tensor under all its names, in the order of the first ones."""
    found: dict[int, tuple[NamedTensor, list[str]]] = {}
    for entry in entries:
        found.setdefault(id(entry.tensor), (entry, []))[1].append(entry.name)
    return [Named(*each) for each in found.values()]


class Rule(NamedTuple):
    """What a rule takes, and with which options."""

    label: str
    options: Mapping[str, Any]
    patterns: Collection[str] | None = None
    """Patterns that one of a parameter's names must fit."""
    takes: Callable[[Named], bool] | None = None
    """Or a condition."""
    may_be_idle: bool = False
    """Whether it is no mistake when it takes nothing."""


@dataclass(frozen=True, slots=True)
class Group:
    """What one group holds."""

    rule: str
    """The rule that took it: a pattern, the name of a function, or "the rest"."""
    options: Mapping[str, Any]
    parameters: tuple[Named, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The first name of each parameter, in the order of the tree."""
        return tuple(each.name for each in self.parameters)

    @property
    def numel(self) -> int:
        """Elements of all."""
        return count(self.parameters)

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        return sum(each.entry.tensor.nbytes for each in self.parameters if each.entry.tensor.shape is not None)


def count(parameters: Iterable[Named]) -> int:
    """Elements of all that know their shape."""
    return sum(each.entry.tensor.numel() for each in parameters if each.entry.tensor.shape is not None)


def grouped(
    parameters: Sequence[Named],
    rules: Sequence[Rule],
    defaults: Mapping[str, Any],
    depths: Callable[[str | None], Mapping[str, Depth]],
    modules: Callable[[], Collection[str]] = frozenset,
    frozen: Collection[str] = (),
) -> list[Group]:
    """Those of `parameters` that are not `frozen`, in groups: one for each rule, and one for the rest.

    Where an option is a `LayerDecay`, there is one for each depth. Raises PatternError for a rule that fits nothing, or
    nothing that an earlier one has left.
    """
    left = list(parameters)
    groups: list[Group] = []
    for at, rule in enumerate(rules):
        fitting = _fitting(rule, parameters, modules)
        taken = [each for each in left if each.name in fitting]
        if not taken and fitting:
            raise PatternError(_shadowed(rule, rules[:at], fitting, parameters, modules))
        left = [each for each in left if each.name not in fitting]
        trained = [each for each in taken if each.name not in frozen]
        groups += _split(rule.label, trained, {**defaults, **rule.options}, depths)
    return groups + _split(REST, [each for each in left if each.name not in frozen], dict(defaults), depths)


def _fitting(rule: Rule, parameters: Sequence[Named], modules: Callable[[], Collection[str]]) -> set[str]:
    """The first names of the parameters that a rule fits."""
    if rule.patterns is None:
        found = {each.name for each in parameters if rule.takes is not None and rule.takes(each)}
    else:
        names = [name for each in parameters for name in each.names]
        fits = matching(names, rule.patterns, modules)
        found = {each.name for each in parameters if not fits.isdisjoint(each.names)}
    if not found and not rule.may_be_idle:
        raise PatternError(f"the rule `{rule.label}` takes none of the {len(parameters):,} parameters")
    return found


def _shadowed(
    rule: Rule,
    earlier: Sequence[Rule],
    fitting: set[str],
    parameters: Sequence[Named],
    modules: Callable[[], Collection[str]],
) -> str:
    before = [other.label for other in earlier if not fitting.isdisjoint(_fitting(other, parameters, modules))]
    return (
        f"the rule `{rule.label}` takes nothing: {', '.join(f'`{label}`' for label in before)}, which "
        f"{'stands' if len(before) == 1 else 'stand'} before it, took all that it fits (`{min(fitting)}`); put it first"
    )


def _split(
    label: str,
    parameters: Iterable[Named],
    options: Mapping[str, Any],
    depths: Callable[[str | None], Mapping[str, Depth]],
) -> list[Group]:
    """One group, or one for each depth where an option depends on it."""
    decays = {name: value for name, value in options.items() if isinstance(value, LayerDecay)}
    held: dict[tuple[float, ...], list[Named]] = {}
    for each in parameters:
        key = tuple(value.at(depths(value.blocks)[each.name]) for value in decays.values())
        held.setdefault(key, []).append(each)
    return [
        Group(label, {**options, **dict(zip(decays, key, strict=True))}, tuple(named)) for key, named in held.items()
    ]
