"""How one tensor is made of others: taken as it is, joined, cut, transposed, reshaped; nothing is read."""

from collections.abc import Mapping
from typing import NamedTuple

from statedict.errors import StatedictError
from statedict.expressions.arranging import concatenated, permuted, reshaped, stacked
from statedict.index import TensorInfo
from statedict.tree.indexing import view

Shape = tuple[int, ...]


class Part(NamedTuple):
    """A stretch of a tensor along a dimension: one of `many` even ones, or of `sizes`; this is number `at`."""

    at: int
    many: int
    sizes: Shape | None = None

    def bounds(self, size: int) -> tuple[int, int]:
        """Where it begins and ends in a dimension of that size. Raises ValueError where that is not to be cut so."""
        if self.sizes is None:
            if size % self.many:
                raise ValueError(f"a size of {size} cannot be cut into {self.many} even parts")
            return self.at * size // self.many, (self.at + 1) * size // self.many
        if sum(self.sizes) != size:
            raise ValueError(f"a size of {size} cannot be cut into {', '.join(map(str, self.sizes))}")
        begin = sum(self.sizes[: self.at])
        return begin, begin + self.sizes[self.at]


class Recipe(NamedTuple):
    """What a tensor is made of, and how: its fields are done in their order."""

    sources: tuple[str, ...]
    member: int | None = None
    """Which of those that are stacked along the first dimension is taken; None: the tensor is no stack, or all are."""
    transpose: bool = False
    """Whether the last two dimensions are swapped."""
    heads: int = 1
    """In how many groups along `dim` the parts lie, each having its share of all: more than 1 where interleaved."""
    part: Part | None = None
    dim: int = 0
    """Along which sources are joined, and a part is cut: that of one tensor of a stack."""
    stack: bool = False
    """Whether what is joined is then stacked along a new first dimension."""
    joined: int = 1
    """How many of the sources are joined to one."""
    shape: Shape | None = None
    """What it is reshaped to in the end."""
    rotary: int = 0
    """In how many heads rows that are turned in pairs of neighbours come to be in two halves; where it is negative, the
    other way round: as Meta's Llama has them, and as transformers has."""
    permute: Shape = ()
    """The order that its dimensions are put in, as PyTorch's `permute` takes it; empty: they stay."""

    @property
    def is_plain(self) -> bool:
        """Whether it is one tensor as it is."""
        return self == Recipe(self.sources) and len(self.sources) == 1

    @property
    def said(self) -> str:
        """How it is made, in words; empty where it is taken as it is."""
        words = [
            f"number {self.member} of the stack" if self.member is not None else "",
            "transposed" if self.transpose else "",
            f"dimensions in the order {list(self.permute)}" if self.permute else "",
            f"part {self.part.at + 1} of {self.part.many} along {self.dim}" if self.part else "",
            f"joined along {self.dim}" if self.joined > 1 else "",
            f"interleaved in {self.heads} heads" if self.heads > 1 else "",
            "stacked" if self.stack else "",
            f"reshaped to {list(self.shape)}" if self.shape is not None else "",
            f"rows of each of {self.rotary} heads from pairs to halves" if self.rotary > 0 else "",
            f"rows of each of {-self.rotary} heads from halves to pairs" if self.rotary < 0 else "",
        ]
        return ", ".join(word for word in words if word)


def made(recipe: Recipe, tensors: Mapping[str, TensorInfo], name: str) -> TensorInfo:
    """The tensor of that name that a recipe makes. Raises StatedictError, which names it, where it cannot be made."""
    try:
        infos = [_piece(tensors[source], recipe) for source in recipe.sources]
        if recipe.joined > 1:
            groups = (infos[at : at + recipe.joined] for at in range(0, len(infos), recipe.joined))
            infos = [_joined(group, recipe) for group in groups]
        info = stacked(infos, 0) if recipe.stack else infos[0]
        if recipe.shape is not None:
            info = reshaped(info, recipe.shape)
        if recipe.rotary:
            info = _turned(info, recipe.rotary)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise StatedictError(f"`{name}` cannot be made of `{recipe.sources[0]}`: {error}") from None
    return info._replace(name=name)


def _piece(info: TensorInfo, recipe: Recipe) -> TensorInfo:
    if recipe.member is not None:
        info = view(info, (recipe.member,))
    if recipe.transpose:
        order = list(range(len(info.shape or ())))
        order[-2:] = reversed(order[-2:])
        info = permuted(info, order)
    if recipe.permute:
        if sorted(recipe.permute) != list(range(len(info.shape or ()))):
            raise ValueError(
                f"its {len(info.shape or ())} dimensions cannot be put in the order {list(recipe.permute)}"
            )
        info = permuted(info, recipe.permute)
    return info if recipe.part is None else _cut(info, recipe.part, recipe)


def _turned(info: TensorInfo, heads: int) -> TensorInfo:
    """The rows of each head in the order that the other way of turning pairs of them needs."""
    shape = info.shape or ()
    if not shape or shape[0] % (2 * abs(heads)):
        raise ValueError(f"{list(shape)} has no {abs(heads)} heads of pairs of rows")
    half = shape[0] // abs(heads) // 2
    inner = (half, 2) if heads > 0 else (2, half)
    paired = reshaped(info, (abs(heads), *inner, *shape[1:]))
    return reshaped(permuted(paired, (0, 2, 1, *range(3, len(shape) + 2))), shape)


def _cut(info: TensorInfo, part: Part, recipe: Recipe) -> TensorInfo:
    dim, shape = _dim(recipe, info), info.shape or ()
    before = (slice(None),) * dim
    if recipe.heads == 1:
        return view(info, (*before, slice(*part.bounds(shape[dim]))))
    grouped = _grouped(info, dim, recipe.heads)
    cut = view(grouped, (*before, slice(None), slice(*part.bounds(shape[dim] // recipe.heads))))
    return reshaped(cut, (*shape[:dim], -1, *shape[dim + 1 :]))


def _joined(infos: list[TensorInfo], recipe: Recipe) -> TensorInfo:
    dim = _dim(recipe, infos[0])
    if recipe.heads == 1:
        return concatenated(infos, dim)
    joined = concatenated([_grouped(info, dim, recipe.heads) for info in infos], dim + 1)
    shape = infos[0].shape or ()
    return reshaped(joined, (*shape[:dim], -1, *shape[dim + 1 :]))


def _grouped(info: TensorInfo, dim: int, heads: int) -> TensorInfo:
    """The same with a dimension as two: the groups, and what is in each."""
    shape = info.shape or ()
    if shape[dim] % heads:
        raise ValueError(f"a size of {shape[dim]} cannot be that of {heads} heads")
    return reshaped(info, (*shape[:dim], heads, shape[dim] // heads, *shape[dim + 1 :]))


def _dim(recipe: Recipe, info: TensorInfo) -> int:
    ndim = len(info.shape or ())
    if not -ndim <= recipe.dim < ndim:
        raise ValueError(f"a tensor of {ndim} dimensions has no dimension {recipe.dim}")
    return recipe.dim % ndim
