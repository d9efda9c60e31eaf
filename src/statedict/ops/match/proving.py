"""Matches proved by values: what names say is compared, and what they do not is found by content."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from statedict.engine import Progress
from statedict.errors import StatedictError
from statedict.expressions.nodes import recast
from statedict.index import TensorInfo
from statedict.ops.match.contents import Content, Contents, contents, equal, has_values
from statedict.ops.match.findings import Found
from statedict.ops.match.fusing import joint
from statedict.ops.match.generalizing import template
from statedict.ops.match.scoring import kernel_orders, way
from statedict.ops.match.words import meaning
from statedict.ops.recipes import Part, Recipe, Shape, made
from statedict.tree.indexing import view

_SMALL = 1 << 14
_PROBES = 64
_SHARED = 0.1
_FEW_ROWS = 4
_PIECES = (2, 3)
EQUAL = "equal values"


@dataclass
class Proof:
    """What values said."""

    found: list[Found]
    told: bool
    """Whether both sides have values in common, without which they prove nothing."""


def prove(
    found: Iterable[Found],
    sources: Mapping[str, TensorInfo],
    targets: Mapping[str, TensorInfo],
    progress: Progress | None = None,
) -> Proof:
    """What was found, each compared; what is not equal, and what is missing or open, looked for by content."""
    given = {each.target: each for each in found}
    ours = {name: info for name, info in sources.items() if has_values(info)}
    theirs = {name: info for name, info in targets.items() if has_values(info)}
    search = _Search(ours, theirs)
    if not search.shares_values(given.values()):
        return Proof(list(given.values()), told=False)
    decided = [each for each in given.values() if not each.open and each.target in theirs and _known(each.recipe, ours)]
    pairs = [(made(each.recipe, ours, each.target), theirs[each.target]) for each in decided]
    proved = {
        each.target: each._replace(confidence=1.0, reason=_with_proof(each.reason))
        for each, same in zip(decided, equal(pairs, progress), strict=True)
        if same
    }
    used = {name for each in proved.values() for name in each.recipe.sources}
    left = [name for name in theirs if name not in proved]
    for target, recipe in search.recipes(left, [name for name in ours if name not in used], given):
        proved[target] = Found(target, recipe, 1.0, EQUAL)
    others = (_unproved(each) for name, each in given.items() if name not in proved)
    return Proof([*proved.values(), *others], told=True)


def _known(recipe: Recipe, ours: Mapping[str, TensorInfo]) -> bool:
    return all(name in ours for name in recipe.sources)


def _with_proof(reason: str) -> str:
    return f"{reason}, {EQUAL}"


def _unproved(each: Found) -> Found:
    return each if each.open else each._replace(reason=f"{each.reason}; values differ")


class _Search:
    """Tensors of two checkpoints, found by what they contain."""

    def __init__(self, ours: Mapping[str, TensorInfo], theirs: Mapping[str, TensorInfo]) -> None:
        self._ours, self._theirs = ours, theirs
        self._of_ours, self._of_theirs = Contents(ours), Contents(theirs)

    def shares_values(self, found: Iterable[Found]) -> bool:
        """Whether some of the small tensors of one side are in the other, constant ones not counted."""
        recipes = {each.target: each.open or (each.recipe,) for each in found}
        told = hits = 0
        for name in sorted(self._theirs, key=lambda name: self._theirs[name].numel):
            info = self._theirs[name]
            if told >= _PROBES or (told and info.numel > _SMALL):
                break
            if self._of_theirs.of([name], info.dtype)[name].is_constant:
                continue
            told += 1
            hits += (
                any(self._holds(recipe, name) for recipe in recipes.get(name, ()))
                or self._is_of_whole(name, recipes)
                or bool(self._alike(name, self._ours))
            )
        return told > 0 and hits / told >= _SHARED

    def _is_of_whole(self, name: str, recipes: Mapping[str, tuple[Recipe, ...]]) -> bool:
        """Whether a target is a part, and all parts together have the content of what they are cut out of."""
        if name not in recipes or (recipe := recipes[name][0]).part is None or not _known(recipe, self._ours):
            return False
        dtype = self._theirs[name].dtype
        beside = [each for each, (first, *_) in recipes.items() if first.sources == recipe.sources]
        if not all(each in self._theirs and self._theirs[each].dtype == dtype for each in beside):
            return False
        whole = self._of_ours.of(recipe.sources, dtype)
        return _total(self._of_theirs.of(beside, dtype).values()) == _total(whole.values())

    def recipes(
        self, targets: Sequence[str], sources: Sequence[str], given: Mapping[str, Found]
    ) -> Iterator[tuple[str, Recipe]]:
        """How those targets are made of those sources, where contents say so."""
        left = list(targets)
        for name in targets:
            candidates = self._variants(given[name], name) if name in given else ()
            recipe = self._first(candidates, name) or self._first(self._single(name, sources), name)
            if recipe is not None:
                left.remove(name)
                yield name, recipe
        for name in list(left):
            recipe = self._first(self._composed(name, sources), name)
            if recipe is not None:
                left.remove(name)
                yield name, recipe
        yield from self._cut(left, sources)

    def _variants(self, found: Found, name: str) -> Iterator[Recipe]:
        """The ways in which a tensor may be made, or those in which rotary embeddings may have it otherwise."""
        if found.open:
            yield from found.open
        elif _known(found.recipe, self._ours):
            shape = self._theirs[name].shape
            if shape and self._holds(found.recipe, name):
                yield from (found.recipe._replace(rotary=turn) for turn in _turns(shape[0]))

    def _holds(self, recipe: Recipe, name: str) -> bool:
        """Whether what a recipe makes has the content of a target, in whatever order."""
        target = self._theirs[name]
        if not _known(recipe, self._ours) or not _castable(self._ours[recipe.sources[0]], target):
            return False
        info = recast(made(recipe, self._ours, name), target.dtype)
        return contents([info])[0] == self._of_theirs.of([name], target.dtype)[name]

    def _alike(self, name: str, sources: Iterable[str]) -> list[str]:
        """The sources that have the content of a target, of as many elements."""
        info = self._theirs[name]
        wanted = self._of_theirs.of([name], info.dtype)[name]
        same = [
            source
            for source in sources
            if self._ours[source].numel == info.numel and _castable(self._ours[source], info)
        ]
        return [source for source, content in self._of_ours.of(same, info.dtype).items() if content == wanted]

    def _single(self, name: str, sources: Iterable[str]) -> Iterator[Recipe]:
        shape = self._theirs[name].shape or ()
        for source in sorted(self._alike(name, sources), key=lambda each: -_shared_words(each, name)):
            given = self._ours[source].shape or ()
            how = way(given, shape)
            if how is not None:
                reshaped = shape if how.reshape else None
                yield Recipe((source,), transpose=how.transpose, shape=reshaped, permute=how.permute)
            if len(shape) > 1 and given == shape and shape[-1] == shape[-2]:
                yield Recipe((source,), transpose=True)
            yield from (Recipe((source,), permute=order) for order in kernel_orders(given, shape))
            if how is None:
                yield Recipe((source,), shape=shape)
            elif given == shape and shape:
                yield from (Recipe((source,), rotary=turn) for turn in _turns(shape[0]))

    def _composed(self, name: str, sources: Sequence[str]) -> Iterator[Recipe]:
        """Recipes of a target of several sources, whose contents come to its own."""
        info = self._theirs[name]
        shape = info.shape or ()
        wanted = self._of_theirs.of([name], info.dtype)[name]
        for group in _groups(sources, self._ours):
            if sum(self._ours[each].numel for each in group) != info.numel or not _castable(self._ours[group[0]], info):
                continue
            if _total(self._of_ours.of(group, info.dtype).values()) == wanted:
                yield from _joined([(each, self._ours[each].shape or ()) for each in group], shape)

    def _cut(self, targets: Sequence[str], sources: Sequence[str]) -> Iterator[tuple[str, Recipe]]:
        """Recipes of several targets that are all of one source."""
        done: set[str] = set()
        for group in _groups(targets, self._theirs):
            info = self._theirs[group[0]]
            numel = sum(self._theirs[each].numel for each in group)
            wanted = _total(self._of_theirs.of(group, info.dtype).values())
            for source in sources:
                whole = self._ours[source]
                if whole.numel != numel or done & set(group) or not _castable(whole, info):
                    continue
                if self._of_ours.of([source], info.dtype)[source] != wanted:
                    continue
                for recipes in _cuts(
                    [(each, self._theirs[each].shape or ()) for each in group], source, whole.shape or ()
                ):
                    if all(self._makes(recipe, name) for name, recipe in recipes.items()):
                        done |= set(group)
                        yield from recipes.items()
                        break

    def _first(self, recipes: Iterable[Recipe], name: str) -> Recipe | None:
        return next((recipe for recipe in recipes if self._makes(recipe, name)), None)

    def _makes(self, recipe: Recipe, name: str) -> bool:
        """Whether a recipe makes a target: its first rows are compared first."""
        if not _known(recipe, self._ours):
            return False
        target = self._theirs[name]
        try:
            info = made(recipe, self._ours, name)
            if info.shape != target.shape or not _castable(info, target):
                return False
            if target.numel > _SMALL and len(target.shape or ()) > 1:
                first = slice(0, _FEW_ROWS)
                if not equal([(view(info, (first,)), view(target, (first,)))])[0]:
                    return False
        except StatedictError:
            return False
        return equal([(info, target)])[0]


def _castable(info: TensorInfo, target: TensorInfo) -> bool:
    """Whether the one may be the other: numbers of one kind."""
    return info.dtype.is_floating_point == target.dtype.is_floating_point or info.dtype == target.dtype


def _total(found: Iterable[Content]) -> Content:
    total = Content(0, 0, 0)
    for each in found:
        total += each
    return total


def _shared_words(one: str, other: str) -> int:
    first, second = ({word for part in name.split(".") for word in meaning(part)} for name in (one, other))
    return len(first & second) + (one == other)


def _groups(names: Sequence[str], infos: Mapping[str, TensorInfo]) -> Iterator[list[str]]:
    """Tensors that may be one elsewhere: two or three of one module, or all that differ in numbers alone."""
    beside: dict[object, list[str]] = {}
    numbered: dict[str, list[str]] = {}
    for name in names:
        *path, local = name.split(".")
        beside.setdefault((tuple(path[:-1]), local), []).append(name)
        numbered.setdefault(template(name), []).append(name)
    for held in beside.values():
        for count in _PIECES:
            yield from (held[at : at + count] for at in range(len(held) - count + 1))
    for held in numbered.values():
        yield from _stacks(held)


def _stacks(names: Sequence[str]) -> Iterator[list[str]]:
    """Of names that differ in numbers alone those that differ in their last number."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        parts = name.split(".")
        at = max((at for at, part in enumerate(parts) if part.isdecimal()), default=None)
        if at is not None:
            found.setdefault((*parts[:at], "#", *parts[at + 1 :]), []).append(name)
    yield from (held for held in found.values() if len(held) > 1)


def _joined(pieces: Sequence[tuple[str, Shape]], whole: Shape) -> Iterator[Recipe]:
    """Every way in which tensors may be joined or stacked to one of that shape."""
    shapes = {shape for _, shape in pieces}
    names = tuple(name for name, _ in pieces)
    if len(shapes) == 1:
        for transpose in (False, True):
            shape = next(iter(shapes))
            turned = (*shape[:-2], shape[-1], shape[-2]) if transpose and len(shape) > 1 else shape
            if (len(names), *turned) == whole:
                yield Recipe(names, transpose=transpose and len(shape) > 1, stack=True)
    if len(pieces) in _PIECES:
        for order in permutations(pieces):
            how = joint([shape for _, shape in order], whole, stacked=False)
            if how is not None:
                base = Recipe(tuple(name for name, _ in order), transpose=how.transpose, dim=how.dim, joined=len(order))
                yield base
                if how.sizes is None:
                    yield from (base._replace(heads=heads) for heads in _heads(whole[how.dim] // len(order)))


def _cuts(pieces: Sequence[tuple[str, Shape]], source: str, whole: Shape) -> Iterator[dict[str, Recipe]]:
    """Every way in which one tensor may be cut into those."""
    shapes = {shape for _, shape in pieces}
    if len(shapes) == 1 and (len(pieces), *next(iter(shapes))) == whole:
        yield {name: Recipe((source,), member=at) for at, (name, _) in enumerate(pieces)}
    if len(pieces) not in _PIECES:
        return
    for order in permutations(pieces):
        how = joint([shape for _, shape in order], whole, stacked=False)
        if how is None:
            continue
        dim = 1 - how.dim if how.transpose else how.dim
        base = Recipe((source,), transpose=how.transpose, dim=dim)
        parts = {name: base._replace(part=Part(at, len(order), how.sizes)) for at, (name, _) in enumerate(order)}
        yield parts
        yield from _rotary(parts, dict(order))
        if how.sizes is None:
            for heads in _heads(whole[how.dim] // len(order)):
                yield {name: recipe._replace(heads=heads) for name, recipe in parts.items()}


def _turns(rows: int) -> Iterator[int]:
    """The ways in which rows may be put from pairs into halves, head by head, and back."""
    for heads in (1, *_heads(rows)):
        if rows % (2 * heads) == 0:
            yield from (heads, -heads)


def _rotary(parts: Mapping[str, Recipe], shapes: Mapping[str, Shape]) -> Iterator[dict[str, Recipe]]:
    """The same parts, of which all but the last are turned by rotary embeddings: query and key, not the value."""
    *turned, _ = shapes
    for turn in _turns(shapes[turned[0]][0]):
        if all(shapes[name][0] % (2 * turn) == 0 for name in turned):
            yield {name: recipe._replace(rotary=turn) if name in turned else recipe for name, recipe in parts.items()}


def _heads(size: int) -> list[int]:
    """In how many heads of more than one element each a size may be."""
    return [heads for heads in range(2, size // 2 + 1) if size % heads == 0]
