"""Where a module stands in its tree: its name, what is above it and beside it, and what kinds of layers are near."""
# pyright: reportPrivateUsage=false

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statedict.tree.infer.quantization import Quantization
    from statedict.tree.module import Module

Shape = tuple[int, ...]

MATRICES, TRANSPOSED, CONV1, CONV2, CONV3, LAYER_NORMS, GROUP_NORMS, RMS_NORMS, RMS_COMPANIONS = (
    1 << bit for bit in range(9)
)
"""What there is in a module or below it, as bits: linear layers, those whose weight is transposed, convolutions by
their dimensions, norms, and what models with RMSNorm have, and others seldom."""
CONVOLUTIONS = CONV1 | CONV2 | CONV3

_HIGHEST = 6
"""How many modules up neighbours are looked for."""


class Place:
    """One module, seen by the rules."""

    __slots__ = ("above", "below", "evidence", "kind", "module", "name", "own", "quantization", "shapes")

    def __init__(
        self,
        name: str,
        module: "Module",
        above: "Place | None",
        shapes: dict[str, Shape],
        quantization: "Quantization | None",
    ) -> None:
        self.name = name
        self.module = module
        self.above = above
        self.shapes = shapes
        """Its own tensors, by local name. Shared by all that hold the same."""
        self.below: list[Place] = []
        self.own = 0
        """What it is itself, as a bit."""
        self.evidence = 0
        """What there is in it, itself included."""
        self.kind: str | None = None
        self.quantization = quantization

    def shape(self, name: str) -> Shape:
        """The shape of one of its own tensors; () where it has none of that name."""
        return self.shapes.get(name, ())

    @property
    def title(self) -> str:
        """Its local name in small letters; for a number, the name of the list that it is in."""
        place: Place | None = self
        while place is not None and place.name.isdecimal():
            place = place.above
        return place.name.lower() if place is not None else ""

    @property
    def siblings(self) -> "list[Place]":
        """What its parent holds, itself included."""
        return self.above.below if self.above is not None else [self]

    def ancestors(self) -> "Iterator[Place]":
        """What it is in, the nearest first, as far up as neighbours tell anything."""
        place, left = self.above, _HIGHEST
        while place is not None and left:
            yield place
            place, left = place.above, left - 1


def nearest(place: Place, wanted: int, *, whole: bool = True) -> int:
    """The wanted bits of evidence in the smallest surroundings that have any of them.

    Unless `whole`, the root does not count, if there is anything between: models are made of unlike parts.
    """
    for each in place.ancestors():
        if not whole and each.above is None and each is not place.above:
            return 0
        if found := each.evidence & wanted:
            return found
    return 0
