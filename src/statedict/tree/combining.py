"""What computes with whole modules: `a + 0.3 * (b - a)`, tensor by tensor, and PyTorch's casts of all of them."""
# pyright: reportPrivateUsage=false

from typing import TYPE_CHECKING, Any, Self, cast

from statedict.dtypes import DType
from statedict.dtypes import dtype as dtype_of
from statedict.errors import StatedictError
from statedict.expressions.arithmetic import Operation, combined
from statedict.expressions.nodes import recast
from statedict.expressions.rounding import Overflow
from statedict.index import Index, TensorInfo, shown

if TYPE_CHECKING:
    from statedict.tree.module import Module

_MOST_NAMED = 3


class ModuleOperators:
    """The operators of `Module`, which make a new tree, and its casts, which change this one as PyTorch's do.

    Two modules need the same names and shapes. Only tensors of floating point and complex numbers are computed with:
    of whole numbers and truth values (`num_batches_tracked`, masks), those of the left module are kept.
    """

    __slots__ = ()

    def __add__(self, other: Any) -> "Module":
        return self._combined("+", other)

    def __radd__(self, other: Any) -> "Module":
        return self._combined("+", other, reflected=True)

    def __sub__(self, other: Any) -> "Module":
        return self._combined("-", other)

    def __rsub__(self, other: Any) -> "Module":
        return self._combined("-", other, reflected=True)

    def __mul__(self, other: Any) -> "Module":
        return self._combined("*", other)

    def __rmul__(self, other: Any) -> "Module":
        return self._combined("*", other, reflected=True)

    def __truediv__(self, other: Any) -> "Module":
        return self._combined("/", other)

    def __neg__(self) -> "Module":
        return self._combined("*", -1)

    def _combined(self, symbol: Operation, other: Any, *, reflected: bool = False) -> "Module":
        from statedict.tree.build import build  # which makes modules, of which this is one part
        from statedict.tree.flat import flatten

        mine = flatten(cast("Module", self))
        if isinstance(other, ModuleOperators):
            return build(_both(symbol, mine, flatten(cast("Module", other))))
        if not isinstance(other, bool | int | float | complex):
            return NotImplemented
        return build(_with_number(symbol, mine, other, reflected=reflected))

    def to(self, dtype: DType | str, overflow: Overflow = "torch") -> Self:
        """This module, with its floating point tensors and those below cast when they are read, as `Tensor.to` does."""
        target = dtype if isinstance(dtype, DType) else dtype_of(str(dtype))
        if not (target.is_floating_point or target.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={target}"
            )
        module, seen = cast("Module", self), set[int]()
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.dtype.is_floating_point and id(tensor) not in seen:
                seen.add(id(tensor))
                tensor.info = recast(tensor.info, target, overflow)
        return self

    def half(self) -> Self:
        return self.to("float16")

    def bfloat16(self) -> Self:
        return self.to("bfloat16")

    def float(self) -> Self:
        return self.to("float32")

    def double(self) -> Self:
        return self.to("float64")


def _both(symbol: Operation, left: Index, right: Index) -> Index:
    """The left index with the tensors of both combined; what was tied in both stays tied."""
    _check_names(left, right)
    made: dict[tuple[int, int], TensorInfo] = {}
    tensors: dict[str, TensorInfo] = {}
    for name, info in left.tensors.items():
        other = right.tensors[name]
        key = id(info), id(other)
        if key not in made:
            made[key] = combined(symbol, info, other) if is_number(info) else info
        tensors[name] = made[key]
    return _with_tensors(left, tensors)


def _with_number(symbol: Operation, index: Index, number: Any, *, reflected: bool) -> Index:
    made: dict[int, TensorInfo] = {}
    for info in index.tensors.values():
        if id(info) not in made:
            sides = (number, info) if reflected else (info, number)
            made[id(info)] = combined(symbol, *sides) if is_number(info) else info
    return _with_tensors(index, {name: made[id(info)] for name, info in index.tensors.items()})


def is_number(info: TensorInfo) -> bool:
    """Whether a tensor holds floating point or complex numbers, which can be combined."""
    return info.dtype.is_floating_point or info.dtype.is_complex or bool(info.dtype.block_bytes)


def _with_tensors(index: Index, tensors: dict[str, TensorInfo]) -> Index:
    return Index(index.format, index.source, tensors, index.modules, index.metadata)


def _check_names(left: Index, right: Index) -> None:
    only_left = [name for name in left.tensors if name not in right.tensors]
    only_right = [name for name in right.tensors if name not in left.tensors]
    shapes = [
        f"`{name}` {info.shape} and {right.tensors[name].shape}"
        for name, info in left.tensors.items()
        if name in right.tensors and info.shape != right.tensors[name].shape
    ]
    if not (only_left or only_right or shapes):
        return
    said = [
        *([f"only the first has {_named(only_left)}"] if only_left else []),
        *([f"only the second has {_named(only_right)}"] if only_right else []),
        *([f"shapes differ: {', '.join(shapes[:_MOST_NAMED])}{', …' * (len(shapes) > _MOST_NAMED)}"] if shapes else []),
    ]
    raise StatedictError(f"the two modules cannot be combined: {'; '.join(said)}; rename, drop or slice those first")


def _named(names: list[str]) -> str:
    few = ", ".join(f"`{shown(name)}`" for name in names[:_MOST_NAMED])
    return few if len(names) <= _MOST_NAMED else f"{few} and {len(names) - _MOST_NAMED:,} more"
