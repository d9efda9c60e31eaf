"""What is matched: the tensors of one layer together, since a weight and its bias go the same way."""

import math
from collections.abc import Container, Iterable, Mapping
from functools import cached_property

from statedict.index import TensorInfo
from statedict.narrow import is_number
from statedict.ops.match.words import Number, meaning, number_in, role_of
from statedict.ops.recipes import Shape

Parts = tuple[str, ...]
_MASK = 4
_BESIDE = frozenset({"w1", "w12", "w3"})
_COUNTING = frozenset({"int64", "int32", "int16"})
_KERNELS = ("weight", "kernel")
_LETTERS = tuple("abcdefgh")
_FEWEST_LETTERS = 3


class Unit:
    """A layer without children: the tensors that only their roles tell apart."""

    def __init__(self, parts: Parts, place: int) -> None:
        self.parts = parts
        """Its name, and what is before the role in those of its tensors: `self_attn`, `in_proj`."""
        self.place = place
        """How many there are before it, in the order of the checkpoint."""
        self.locals: dict[str, str] = {}
        """The name of each tensor of it, relative to the scope, by role."""
        self.shapes: dict[str, Shape] = {}
        self.indices: frozenset[str] = frozenset()
        """The roles of those that hold whole numbers of many bits, which count something and are not trained."""
        self.stacked = 0
        """How many of a list it stands for, which are stacked along a new first dimension; 0: it is one itself."""
        self.members: list[Unit] = []
        """Those, in their order."""
        self.read_as = ""
        """What its last part means here, where that depends on what is beside it."""
        self.numbers: dict[int, Number] = {}
        """What the numbers at the ends of parts count, by the place of the part."""

    def __repr__(self) -> str:
        return f"Unit({'.'.join(self.parts)}, {self.shapes})"

    @property
    def numel(self) -> int:
        """Elements in all, but for those of indices, which many files leave out."""
        return sum(math.prod(shape) for role, shape in self.shapes.items() if role not in self.indices)

    @cached_property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """What each part says; at the end what the names of its tensors do."""
        return self._words()

    def _words(self) -> tuple[tuple[str, ...], ...]:
        said = [meaning(part) for part in self.parts]
        if self.read_as:
            said[-1] = meaning(self.read_as)
        local = next(iter(self.locals.values())).rpartition(".")[2]
        stem, _ = role_of(local)
        if not stem and local not in ("weight", "bias"):
            said.append(meaning(local))
        return tuple(said)

    @cached_property
    def own(self) -> tuple[str, ...]:
        """The words of its last part that says something, which weigh most."""
        for said in reversed(self.words):
            if any(not word.startswith("~") for word in said):
                return said
        return ()

    @cached_property
    def main(self) -> str:
        """The role of its main tensor."""
        return "weight" if "weight" in self.shapes else next(iter(self.shapes))

    @property
    def shape(self) -> Shape:
        return self.shapes[self.main]

    def without(self, roles: Container[str]) -> "Unit":
        """The same without its tensors of these roles."""
        made = Unit(self.parts, self.place)
        made.locals = {role: name for role, name in self.locals.items() if role not in roles}
        made.shapes = {role: shape for role, shape in self.shapes.items() if role not in roles}
        made.indices, made.read_as, made.numbers = self.indices, self.read_as, self.numbers
        made.stacked, made.members = self.stacked, [member.without(roles) for member in self.members]
        return made

    def below(self, depth: int) -> "Unit":
        """The same as it is named within a module that is `depth` parts deep."""
        made = Unit(self.parts[depth:], self.place)
        made.locals = {role: ".".join(name.split(".")[depth:]) for role, name in self.locals.items()}
        made.shapes, made.indices, made.read_as = self.shapes, self.indices, self.read_as
        return made


def units_of(tensors: Mapping[str, TensorInfo]) -> list[Unit]:
    """The layers of a checkpoint in its order.

    Causal masks, which no one trains, are left out, and names that end in nothing, which PyTorch allows no parameter.
    """
    found: dict[tuple[Parts, str], Unit] = {}
    for name, info in tensors.items():
        *path, local = name.split(".")
        if not local or info.shape is None or (is_mask(info.shape) and local not in _KERNELS):
            continue
        stem, role = role_of(local)
        parts = (*path, stem) if stem else tuple(path)
        unit = found.get((parts, ""))
        if unit is not None and role in unit.shapes:  # two names of one role: each is for itself
            parts = (*path, local)
            unit = found.get((parts, local))
        if unit is None:
            unit = found[parts, local if (parts, "") in found else ""] = Unit(parts, len(found))
        unit.locals[role] = name
        unit.shapes[role] = info.shape
        if info.dtype.name in _COUNTING:
            unit.indices |= {role}
    units = list(found.values())
    _read_beside(units)
    return units


def _read_beside(units: Iterable[Unit]) -> None:
    """Note what means another thing beside others: `w3` is down after `w12`, up after `w1`."""
    beside: dict[Parts, dict[str, Unit]] = {}
    for unit in units:
        if unit.parts and unit.parts[-1] in _BESIDE:
            beside.setdefault(unit.parts[:-1], {})[unit.parts[-1]] = unit
    for held in beside.values():
        if "w12" in held and "w3" in held:
            held["w3"].read_as = "down"
        elif "w1" in held and "w3" not in held:
            held["w1"].read_as = "up"


def is_mask(shape: Shape) -> bool:
    """Whether it is that of a causal mask that is kept as a buffer."""
    return len(shape) == _MASK and shape[:2] == (1, 1) and shape[2] == shape[3] and shape[2] > 1


def is_alphabetical(names: Iterable[str]) -> bool:
    """Whether names stand in a tree as if they were sorted: as safetensors has them, which says nothing of places."""
    before: list[str] = []
    for name in names:
        parts = name.split(".")
        at = next((at for at, pair in enumerate(zip(before, parts, strict=False)) if pair[0] != pair[1]), None)
        if at is not None and (at == len(before) - 1) == (at == len(parts) - 1):
            one, other = before[at], parts[at]
            if one > other and not (is_number(one) and is_number(other)):
                return False
        before = parts
    return True


def count(units: Iterable[Unit]) -> None:
    """Note what the numbers in the names of these, which are in one scope, count; `a`, `b` and `c` count as numbers."""
    units = list(units)
    seen: dict[tuple[Parts, str], set[int]] = {}
    letters: dict[Parts, set[str]] = {}
    for unit in units:
        for at, part in enumerate(unit.parts):
            if (found := number_in(part)) is not None:
                seen.setdefault((unit.parts[:at], found[0]), set()).add(found[1])
            elif part in _LETTERS:
                letters.setdefault(unit.parts[:at], set()).add(part)
    ranks = {key: {value: rank for rank, value in enumerate(sorted(values))} for key, values in seen.items()}
    for unit in units:
        unit.numbers = {}
        for at, part in enumerate(unit.parts):
            if (found := number_in(part)) is not None:
                rank = ranks[unit.parts[:at], found[0]]
                unit.numbers[at] = Number(found[1], rank[found[1]], len(rank), found[0])
            elif part in _LETTERS and _is_counting(beside := letters[unit.parts[:at]]):
                unit.numbers[at] = Number(1 + _LETTERS.index(part), _LETTERS.index(part), len(beside), "letter")


def _is_counting(letters: set[str]) -> bool:
    """Whether letters are the first ones of the alphabet, and enough of them."""
    return len(letters) >= _FEWEST_LETTERS and letters == set(_LETTERS[: len(letters)])
