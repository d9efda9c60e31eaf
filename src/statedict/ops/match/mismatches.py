"""Tensors that are the same by name but of other shapes, and what would make them fit."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from statedict.index import TensorInfo
from statedict.ops.match.findings import Outcome
from statedict.ops.match.units import Unit, count
from statedict.ops.recipes import Shape


class Mismatch(NamedTuple):
    """A tensor of the target whose source has another shape."""

    target: str
    source: str
    shape: Shape
    """The target's."""
    found: Shape
    """The source's."""
    advice: str
    """What would make it fit."""


def mismatches(
    outcome: Outcome, sources: Mapping[str, TensorInfo], targets: Mapping[str, TensorInfo]
) -> tuple[Mismatch, ...]:
    """Of what is left, those that are called the same but have other shapes."""
    ours, theirs = _named(outcome.sources), _named(outcome.targets)
    found: list[Mismatch] = []
    for key, unit in theirs.items():
        if (other := ours.get(key)) is None:
            continue
        for role, shape in unit.shapes.items():
            if role in other.shapes and other.shapes[role] != shape and len(shape) == len(other.shapes[role]):
                name, source = unit.locals[role], other.locals[role]
                found.append(
                    Mismatch(name, source, shape, other.shapes[role], _advice(unit, shape, other.shapes[role]))
                )
    return tuple(found)


def _named(units: Iterable[Unit]) -> dict[object, Unit]:
    """The layers by what their names say, but for those of which several say the same."""
    units = list(units)
    count(units)
    found: dict[object, list[Unit]] = {}
    for unit in units:
        said = frozenset(word for words in unit.words for word in words if not word.startswith("~"))
        own = tuple(word for word in unit.own)
        found.setdefault((said, own, tuple(number.value for number in unit.numbers.values())), []).append(unit)
    return {key: held[0] for key, held in found.items() if len(held) == 1}


def _advice(unit: Unit, wanted: Shape, given: Shape) -> str:
    """What would make a tensor fit, in a sentence."""
    other = [at for at, pair in enumerate(zip(wanted, given, strict=True)) if pair[0] != pair[1]]
    words = {word for said in unit.words for word in said}
    if other == [0] and words & {"position", "relative"}:
        return (
            f"the target has {wanted[0]:,} positions, the source {given[0]:,}: interpolate them, or build it for those"
        )
    if other == [0] and words & {"embed", "word", "head"}:
        more = given[0] - wanted[0]
        what = "classes" if "head" in words and "embed" not in words and given[0] < _FEW_CLASSES else "tokens"
        return (
            f"the source has {abs(more):,} {what} {'more' if more > 0 else 'fewer'}: build the target with {given[0]:,}"
            + (
                f", or cut it with `--slice '{unit.locals['weight']}=[0:{wanted[0]}]'`"
                if more > 0 and "weight" in unit.locals
                else ""
            )
        )
    sizes = ", ".join(f"{given[at]:,} against {wanted[at]:,}" for at in other)
    return f"the models differ in size: {sizes}; build the target as the source was"


_FEW_CLASSES = 2_000
