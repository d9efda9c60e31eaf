"""How much speaks for two layers being the same: names, shapes, roles, order, and renames seen before."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from statedict.ops.match.units import Parts, Unit
from statedict.ops.match.words import Number, contradict, is_short_for, weight_of
from statedict.ops.recipes import Shape

EXACT = 3.0
_CONTRADICTED = -2.0
_LAST = 2.0
_MISCOUNTED = -1.0
_SHORTENED = 0.7
"""What it counts that a word is the begin of another, where the same word counts 1."""
_MATRIX = 2
_KERNEL = 3
_BRANCHES = frozenset({"downsample"})
Weight = Callable[[str], float]
"""How much a word tells."""


class Way(NamedTuple):
    """How one shape becomes another."""

    transpose: bool = False
    reshape: bool = False
    permute: Shape = ()
    """The order of a kernel's dimensions, of one that other libraries have otherwise."""

    @property
    def cost(self) -> float:
        return 0.3 * (self.transpose or bool(self.permute)) + 0.15 * self.reshape


AS_IT_IS = Way()


def way(source: Shape, target: Shape) -> Way | None:
    """How a tensor of one shape becomes one of another without losing or joining anything; None: not at all."""
    if source == target:
        return AS_IT_IS
    if len(source) >= _MATRIX and (*source[:-2], source[-1], source[-2]) == target:
        return Way(transpose=True)
    if len(squeezed(source)) > 1 and (orders := kernel_orders(source, target)):
        return Way(permute=orders[0])
    if squeezed(source) == squeezed(target):
        return Way(reshape=True)
    flat = min(len(source), len(target)) == _MATRIX < max(len(source), len(target))
    if flat and source[0] == target[0] and math.prod(source) == math.prod(target):
        return Way(reshape=True)
    return None


def kernel_orders(source: Shape, target: Shape) -> list[Shape]:
    """The orders in which a kernel's dimensions may be put to be as another library has it, the likeliest first.

    PyTorch has outputs, inputs and then places, Keras and Flax places first and outputs last, or, of kernels that go
    over each channel alone, inputs before their multiples; and places may be the other way round. Most kernels are as
    wide as high.
    """
    many = len(source)
    if many < _KERNEL or len(target) != many:
        return []
    first, last = tuple(range(many - 2)), tuple(range(2, many))
    orders: list[tuple[Shape, Shape]] = [
        ((many - 1, many - 2, *first), first), ((*last, 1, 0), last), ((many - 2, many - 1, *first), first),
        ((*last, 0, 1), last), (tuple(reversed(range(many))), ()),
    ]  # fmt: skip
    fitting = [each for each in orders if tuple(source[axis] for axis in each[0]) == target]
    fitting.sort(key=lambda each: _unlikeliness([source[axis] for axis in each[1]]))
    return [order for order, _ in fitting]


def _unlikeliness(places: Sequence[int]) -> tuple[bool, int]:
    """What is more for the sizes of a kernel that are less likely: not as wide as high, and large."""
    return len(set(places)) != 1, math.prod(places)


def squeezed(shape: Shape) -> Shape:
    """The shape without sizes of 1."""
    return tuple(size for size in shape if size != 1)


def ways(source: Unit, target: Unit) -> dict[str, Way] | None:
    """How each tensor that two layers have in common becomes the other's; None where one cannot, or there is none."""
    if ("running_mean" in source.shapes) != ("running_mean" in target.shapes):
        return None  # a batch norm is no other norm
    found: dict[str, Way] = {}
    for role, shape in target.shapes.items():
        if role in source.shapes:
            how = way(source.shapes[role], shape)
            if how is None:
                return None
            found[role] = how
    return found if target.main in found else None


class Context:
    """What a scope tells of its names: how often words are in it, and which parts were renamed how."""

    def __init__(self, sources: Sequence[Unit], targets: Sequence[Unit]) -> None:
        self._often = Counter(word for unit in (*sources, *targets) for said in unit.words for word in set(said))
        self._all = max(1, len(sources) + len(targets))
        ours, theirs = _around(sources), _around(targets)
        both = {each for held in ours.values() for each in held} & {each for held in theirs.values() for each in held}
        self._around = {at: held & both for at, held in (ours | theirs).items()}
        """Of each layer what the modules hold that it is in, of those that both sides have."""
        self.renamed: Counter[tuple[Parts, Parts]] = Counter()
        """How often parts of a source's name became those of its target's."""

    def weight(self, word: str) -> float:
        """How much a word tells here: less, the more layers have it."""
        share = self._often[word] / self._all
        return weight_of(word) * (1.2 - min(share, 1.0))

    def learn(self, source: Unit, target: Unit) -> None:
        """Note what of a name was renamed to what."""
        begin, end = shared_ends(source.parts, target.parts)
        key = (source.parts[begin : len(source.parts) - end], target.parts[begin : len(target.parts) - end])
        self.renamed[key] += 1
        if len(source.parts) == len(target.parts):
            for one, other in zip(source.parts, target.parts, strict=True):
                self.renamed[(one,), (other,)] += 1
        if len(source.parts) > 1 and len(target.parts) > 1:
            self.renamed[source.parts[:-1], target.parts[:-1]] += 1

    def names(self, source: Unit, target: Unit) -> float:
        """From 0 to 1 how much the names say the same, less than 0 where they contradict."""
        if source.parts == target.parts:
            return 1.0
        return alike(source.words, target.words, self.weight) + self._numbers(source, target)

    def _numbers(self, source: Unit, target: Unit) -> float:
        ours, theirs = list(source.numbers.values()), list(target.numbers.values())
        if not ours or not theirs:
            return 0.0
        if _miscounted(source, target):
            return _MISCOUNTED
        said = [one.is_as(other) for one, other in _counterparts(ours, theirs)]
        return 0.4 * (2 * sum(said) - len(said)) / len(said) if said else 0.0

    def places(self, source: Unit, target: Unit) -> float:
        """From 0 to 1 how many of the modules that two layers are in hold layers of the same shapes."""
        ours, theirs = (self._around.get(id(unit), _NOWHERE) for unit in (source, target))
        both = ours | theirs
        return len(ours & theirs) / len(both) if both else 0.0

    def was_renamed(self, source: Unit, target: Unit) -> float:
        """From 0 to 1 how much of what is different in the names was so before."""
        begin, end = shared_ends(source.parts, target.parts)
        key = (source.parts[begin : len(source.parts) - end], target.parts[begin : len(target.parts) - end])
        if self.renamed[key] > 0:
            return 1.0
        if len(source.parts) == len(target.parts):
            changed = [(one, other) for one, other in zip(source.parts, target.parts, strict=True) if one != other]
            known = sum(self.renamed[(one,), (other,)] > 0 for one, other in changed)
            return known / len(changed) if changed else 1.0
        return 0.5 if self.renamed[source.parts[:-1], target.parts[:-1]] > 0 else 0.0


_NOWHERE: frozenset[object] = frozenset()


def _around(units: Sequence[Unit]) -> dict[int, frozenset[object]]:
    """Of each layer, by `id`, what the modules hold that it is in, but for one that holds all."""
    inside: dict[Parts, list[Unit]] = {}
    for unit in units:
        for depth in range(1, len(unit.parts)):
            inside.setdefault(unit.parts[:depth], []).append(unit)
    held = {
        path: tuple(sorted(tuple(sorted(unit.shapes.items())) for unit in group))
        for path, group in inside.items()
        if 1 < len(group) < len(units)
    }
    return {
        id(unit): frozenset(held[path] for depth in range(1, len(unit.parts)) if (path := unit.parts[:depth]) in held)
        for unit in units
    }


def _counterparts(ours: Sequence[Number], theirs: Sequence[Number]) -> Iterator[tuple[Number, Number]]:
    """Numbers of two names that count the same, from the end on, in their order."""
    at = len(theirs)
    for one in reversed(ours):
        found = next((place for place in reversed(range(at)) if one.is_comparable(theirs[place])), None)
        if found is not None:
            at = found
            yield one, theirs[at]


def _miscounted(source: Unit, target: Unit) -> bool:
    """Whether both are called the same but for the number at the end: `norm1` is not `norm3`."""
    last = len(source.parts) - 1
    if len(target.parts) - 1 != last or not (last in source.numbers and last in target.numbers):
        return False
    return source.words == target.words and not source.numbers[last].is_as(target.numbers[last])


def shared_ends(one: Parts, other: Parts) -> tuple[int, int]:
    """How many parts two names have in common at the beginning, and then at the end."""
    few = min(len(one), len(other))
    begin = next((at for at in range(few) if one[at] != other[at]), few)
    end = next((at for at in range(few - begin) if one[-1 - at] != other[-1 - at]), few - begin)
    return begin, end


def alike(one: Sequence[Sequence[str]], other: Sequence[Sequence[str]], weight: Weight = weight_of) -> float:
    """From 0 to 1 how many of the words of two names are the same, by their weight; below 0 where they contradict."""
    first, second = _weighed(one, weight), _weighed(other, weight)
    total = sum(first.values()) + sum(second.values())
    if not total:
        return 0.0
    common = sum(min(value, second[word]) for word, value in first.items() if word in second)
    same = 2 * (common + _SHORTENED * _shortened(first, second)) / total
    return same + (_CONTRADICTED if contradict(first, second) else 0.0)


def _shortened(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """What those words weigh that one name has in full, and the other shortened."""
    ours, theirs = first.keys() - second.keys(), second.keys() - first.keys()
    return sum(min(first[one], second[other]) for one in ours for other in theirs if is_short_for(one, other))


def _weighed(said: Sequence[Sequence[str]], weight: Weight) -> dict[str, float]:
    found: dict[str, float] = {}
    last = len(said) - 1
    for at, words in enumerate(said):
        for word in words:
            value = weight(word) * (_LAST if at == last else 1.0)
            found[word] = max(found.get(word, 0.0), value)
    return found


def clear_score(context: Context, source: Unit, target: Unit, how: dict[str, Way]) -> float:
    """How much speaks for two layers being the same, apart from their places."""
    if source.parts == target.parts and len(how) == len(source.shapes) == len(target.shapes):
        return EXACT + 1.5 * all(each == AS_IT_IS for each in how.values())
    score = 1.5 * context.names(source, target) + 0.8 * context.was_renamed(source, target)
    score += 0.8 * context.places(source, target)
    return score - max(each.cost for each in how.values()) - 0.3 * len(set(source.shapes) ^ set(target.shapes))


class Rank(NamedTuple):
    """Which one is among those of its shape and kind, and among how many."""

    at: int
    of: int
    told: bool = False
    """Whether names tell, and not the order of the checkpoint alone."""
    beside: int = 0
    """How many of these are in a branch beside the others, by their names."""

    def is_as(self, other: "Rank") -> bool:
        return (self.at, self.of, self.beside) == (other.at, other.of, other.beside)


def ranks(units: Iterable[Unit]) -> dict[int, Rank]:
    """The rank of each, by `id`: in the order that the names of norms tell, or in that of the checkpoint."""
    groups: dict[object, list[Unit]] = {}
    for unit in units:
        key = (tuple(sorted(squeezed(unit.shape))), unit.stacked > 0, "running_mean" in unit.shapes)
        groups.setdefault(key, []).append(unit)
    return {at: rank for group in groups.values() for at, rank in _ranked(group)}


def is_beside(unit: Unit) -> bool:
    """Whether its name says that it is in a branch beside the others, which some define before them and some behind."""
    return any(word in _BRANCHES for said in unit.words for word in said)


def _ranked(group: list[Unit]) -> Iterator[tuple[int, Rank]]:
    said = {id(unit): ordinal(unit) for unit in group}
    told = None not in said.values() and len(set(said.values())) == len(group)
    ordered = sorted(group, key=lambda unit: (said[id(unit)] or 0.0 if told else 0.0, unit.place))
    beside = sum(map(is_beside, group))
    yield from ((id(unit), Rank(at, len(group), told, beside)) for at, unit in enumerate(ordered))


_ORDINALS = (
    ({"pre", "attn"}, 1.0), ({"cross"}, 3.0), ({"pre", "mlp"}, 4.0), ({"mlp"}, 5.0), ({"final"}, 6.0),
    ({"attn"}, 2.0), ({"out"}, 5.0), ({"post"}, 2.0),
)  # fmt: skip


def ordinal(unit: Unit) -> float | None:
    """Which norm of its block the name of one says that it is; None: it does not, or is none."""
    words = {word for said in unit.words for word in said}
    if "norm" not in words or len(unit.shape) != 1:
        return None
    last = len(unit.parts) - 1
    if last in unit.numbers and "norm" in unit.own:
        return float(unit.numbers[last].value)
    alone = {word for word in words if not word.startswith("~")} == {"norm"}
    return next((at for said, at in _ORDINALS if said <= words), _LAST_NORM if alone else None)


_LAST_NORM = 7.0
