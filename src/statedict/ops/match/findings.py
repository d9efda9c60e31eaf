"""What is known before tensors are matched, and what is found about them."""

from dataclasses import dataclass, field
from typing import NamedTuple

from statedict.ops.match.units import Unit
from statedict.ops.recipes import Recipe

SAME_NAME = "the same name"
"""The reason for what has one name in its scope on both sides."""
_HEAD_SIZES = (128, 64)


class Found(NamedTuple):
    """How one target tensor is made; names are those in the scope."""

    target: str
    recipe: Recipe
    confidence: float
    reason: str
    open: tuple[Recipe, ...] = ()
    """The ways in which it may be made, the likeliest first, where nothing tells which."""


@dataclass
class Outcome:
    """What was found in a scope, and the layers that are left."""

    found: list[Found] = field(default_factory=list[Found])
    sources: list[Unit] = field(default_factory=list[Unit])
    targets: list[Unit] = field(default_factory=list[Unit])


@dataclass(frozen=True)
class Settings:
    """What is known of both sides as a whole."""

    ordered: bool = True
    """Whether both come in the order in which they were defined."""
    heads: tuple[int, ...] = ()
    """How many heads attention has, as a configuration says."""
    kv_heads: tuple[int, ...] = ()
    """The same of keys and values, where it is said apart."""
    rotary: bool = False
    """Whether a configuration says that positions are told by rotary embeddings."""

    def heads_of(self, width: int, *, of_keys: bool = False) -> list[int]:
        """How many heads a matrix of so many rows may have: as is said, or as is usual."""
        said = (self.kv_heads or self.heads) if of_keys else self.heads
        usual = [width // size for size in _HEAD_SIZES if width % size == 0]
        return [heads for heads in dict.fromkeys(said or usual) if heads < width and width % heads == 0]
