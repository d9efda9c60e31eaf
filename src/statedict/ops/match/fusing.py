"""Layers that one side has as one and the other as several: query, key and value; gate and up; a list of experts."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from statedict.ops.match.lists import Listed
from statedict.ops.match.units import Parts, Unit
from statedict.ops.recipes import Part, Recipe, Shape

_SETS = (("q", "k", "v"), ("k", "v"), ("gate", "up"), ("up", "gate"))
_TOLD = frozenset({"q", "k", "v", "o", "gate", "up", "down"})
_MATRIX = 2


class Joint(NamedTuple):
    """How pieces are joined to one."""

    dim: int
    """Counted in one of a stack, where they are stacked."""
    transpose: bool
    sizes: Shape | None
    """Those of the pieces, where they differ."""


class Composite(Unit):
    """Several layers of one module, as the one that they would be together."""

    def __init__(self, pieces: Sequence[Unit], said: tuple[str, ...]) -> None:
        super().__init__((*pieces[0].parts[:-1], "_".join(said)), min(piece.place for piece in pieces))
        self.pieces = list(pieces)
        self.said = said
        self.stacked = pieces[0].stacked
        for role, shape in pieces[0].shapes.items():
            if all(role in piece.shapes for piece in pieces):
                self.shapes[role] = shape
                self.locals[role] = pieces[0].locals[role]

    def _words(self) -> tuple[tuple[str, ...], ...]:
        return (*self.pieces[0].words[:-1], self.said)


def composites(units: Sequence[Unit], others: Iterable[Unit]) -> list[Composite]:
    """What layers of `units` would be together, where one of `others` says that it is those in one."""
    wanted = {said for unit in others if (said := said_set(unit)) is not None}
    groups: dict[Parts, list[Unit]] = {}
    for unit in units:
        groups.setdefault(unit.parts[:-1], []).append(unit)
    found: list[Composite] = []
    for said in sorted(wanted, key=len, reverse=True):
        for group in groups.values():
            pieces = [_plainest([unit for unit in group if _is_only(unit, word)]) for word in said]
            known = [piece for piece in pieces if piece is not None]
            if len(known) == len(said) and len({piece.stacked for piece in known}) == 1:
                found.append(Composite(known, said))
    return found


def _plainest(units: Sequence[Unit]) -> Unit | None:
    """The one that says least besides: `k_proj` rather than `relative_k_proj`; None where that is not one."""
    told = [sum(not word.startswith("~") for word in unit.own) for unit in units]
    return units[told.index(min(told))] if told and told.count(min(told)) == 1 else None


def _is_only(unit: Unit, word: str) -> bool:
    return "norm" not in unit.own and [each for each in unit.own if each in _TOLD] == [word]


def said_set(unit: Unit) -> tuple[str, ...] | None:
    """Which layers one says that it is in one, in its order; None: it is one alone."""
    if isinstance(unit, Composite):
        return None
    return next((each for each in _SETS if tuple(word for word in unit.own if word in each) == each), None)


def is_of_unknown_order(unit: Unit) -> bool:
    """Whether a fused layer's name is used both for parts that follow one another and for such that alternate."""
    return unit.parts[-1:] == ("query_key_value",)


def joint(pieces: Sequence[Shape], whole: Shape, *, stacked: bool) -> Joint | None:
    """How tensors of those shapes are joined to one of this; None where they cannot be."""
    if stacked:
        if any(piece[:1] != whole[:1] for piece in pieces):
            return None
        pieces, whole = [piece[1:] for piece in pieces], whole[1:]
    for transpose in (False, True):
        turned = [_turned(piece) if transpose else piece for piece in pieces]
        if (transpose and len(whole) < _MATRIX) or any(len(piece) != len(whole) for piece in turned):
            continue
        for dim in range(len(whole)):
            sizes = tuple(piece[dim] for piece in turned)
            rest = {piece[:dim] + piece[dim + 1 :] for piece in turned}
            if sum(sizes) == whole[dim] and rest == {whole[:dim] + whole[dim + 1 :]}:
                return Joint(dim, transpose, sizes if len(set(sizes)) > 1 else None)
    return None


def _turned(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2]) if len(shape) >= _MATRIX else shape


def stacks(lists: Iterable[Listed], others: Iterable[Unit]) -> list[Unit]:
    """For lists of alike modules, what each of their layers is when it is stacked; where `others` have such."""
    leading = {shape[0] for unit in others for shape in unit.shapes.values() if shape}
    found: list[Unit] = []
    for each in lists:
        many = len(each.numbers)
        if (
            each.stem
            or many < _MATRIX
            or many not in leading
            or len({each.signature(number) for number in each.numbers}) > 1
        ):
            continue
        depth = len(each.path) + 1
        for at, first in enumerate(each.items[each.numbers[0]]):
            made = Unit((*each.path, *first.parts[depth:]), first.place)
            made.members = [each.items[number][at] for number in each.numbers]
            made.stacked = many
            made.locals = dict(first.locals)
            made.shapes = {role: (many, *shape) for role, shape in first.shapes.items()}
            found.append(made)
    return found


def joints(composite: Composite, whole: Unit) -> dict[str, Joint]:
    """How each tensor of a fused layer is joined; empty where its main one cannot be."""
    stacked = composite.stacked > 0
    found = {
        role: how
        for role, shape in whole.shapes.items()
        if all(role in piece.shapes for piece in composite.pieces)
        and (how := joint([piece.shapes[role] for piece in composite.pieces], shape, stacked=stacked)) is not None
    }
    return found if whole.main in found else {}


def whole_of(composite: Composite, whole: Unit, role: str, how: Joint) -> list[tuple[str, Recipe]]:
    """How a tensor of a fused layer is made of its pieces."""
    pieces = composite.pieces
    rows = zip(*(piece.members for piece in pieces), strict=True) if composite.stacked else [pieces]
    names = tuple(piece.locals[role] for row in rows for piece in row)
    recipe = Recipe(
        names, transpose=how.transpose, dim=how.dim, joined=len(pieces), stack=composite.stacked > 0
    )  # fmt: skip
    return [(whole.locals[role], recipe)]


def pieces_of(composite: Composite, whole: Unit, role: str, how: Joint) -> list[tuple[str, Recipe]]:
    """How each piece is cut out of a tensor of a fused layer."""
    found: list[tuple[str, Recipe]] = []
    dim = 1 - how.dim if how.transpose else how.dim  # what is transposed is so before it is cut
    for at, piece in enumerate(composite.pieces):
        part = Part(at, len(composite.pieces), how.sizes)
        recipe = Recipe((whole.locals[role],), transpose=how.transpose, part=part, dim=dim)
        for index, each in enumerate(piece.members or [piece]):
            found.append((each.locals[role], recipe._replace(member=index) if piece.stacked else recipe))
    return found
