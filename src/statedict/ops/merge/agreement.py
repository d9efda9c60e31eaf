"""Whether models can be merged: that all have the same names with the same shapes."""

from collections.abc import Sequence

from statedict.errors import StatedictError
from statedict.index import Index, shown

_MOST_NAMED = 3


def check_agreement(indexes: Sequence[Index], *, based: bool, doing: str = "merged") -> None:
    """Raise StatedictError, which lists names, where indexes differ in names or shapes; the first may be a base."""
    first, *others = indexes
    called = "the base" if based else "model 1"
    for number, other in enumerate(others, 1 if based else 2):
        said = _differences(first, other, called, f"model {number}")
        if said:
            raise StatedictError(f"the models cannot be {doing}: {'; '.join(said)}; rename, drop or slice those first")


def _differences(left: Index, right: Index, first: str, second: str) -> list[str]:
    only_left = [name for name in left.tensors if name not in right.tensors]
    only_right = [name for name in right.tensors if name not in left.tensors]
    shapes = [
        f"`{shown(name)}` {info.shape} and {right.tensors[name].shape}"
        for name, info in left.tensors.items()
        if name in right.tensors and info.shape != right.tensors[name].shape
    ]
    return [
        *([f"only {first} has {named(only_left)}"] if only_left else []),
        *([f"only {second} has {named(only_right)}"] if only_right else []),
        *([f"shapes of {first} and {second} differ: {_few(shapes)}"] if shapes else []),
    ]


def named(names: Sequence[str]) -> str:
    """Some names as an error's text has them."""
    return _few([f"`{shown(name)}`" for name in names])


def _few(texts: Sequence[str]) -> str:
    few = ", ".join(texts[:_MOST_NAMED])
    return few if len(texts) <= _MOST_NAMED else f"{few} and {len(texts) - _MOST_NAMED:,} more"
