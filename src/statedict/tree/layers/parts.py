"""The little language in which the tables say how a layer prints: a tuple of parts, joined by commas.

A part is a function from a `Layer` to its text, or to None where there is nothing to print: where the attribute has its
default, or is one that the PyTorch that wrote the file did not have yet. A plain string "eps" is the part `eps=…`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, cast

from statedict.tree.layers.values import text, written

EMPTY: Mapping[str, object] = MappingProxyType({})


class _Missing:
    """The type of `MISSING`, so that a check by `is` narrows."""


MISSING = _Missing()


class Layer(NamedTuple):
    """What is known of one module: the full name of its class, its attributes and its registered tensors."""

    class_name: str | None = None
    attributes: Mapping[str, object] = EMPTY
    tensors: Mapping[str, object] = EMPTY
    """Registered parameters and buffers by local name, each with `.shape` and `.dtype`, or None."""
    children: "Mapping[str, Layer]" = MappingProxyType({})

    def get(self, path: str) -> object:
        """The attribute, tensor or, as in "linear.bias", child's value of that name; MISSING where there is none."""
        for values in (self.attributes, self.tensors):
            if path in values:
                return values[path]
        child, dot, rest = path.partition(".")
        return self.children[child].get(rest) if dot and child in self.children else MISSING

    def shape(self, path: str) -> tuple[int, ...] | None:
        """The shape of the tensor of that name, or None where there is none."""
        shape = getattr(self.get(path), "shape", None)
        return tuple(cast("tuple[int, ...]", shape)) if isinstance(shape, tuple) else None


Part: TypeAlias = Callable[[Layer], str | None]
Parts: TypeAlias = tuple[str | Part, ...]


def render(parts: Parts, layer: Layer) -> str:
    """The parts that have something to say, joined by commas."""
    said = [(named(part) if isinstance(part, str) else part)(layer) for part in parts]
    return ", ".join(each for each in said if each)


def named(path: str, label: str = "", write: Callable[[object], str] = text) -> Part:
    """`path=value`; under another label if one is given. Nothing for a tensor, whose values would have to be read."""

    def part(layer: Layer) -> str | None:
        value = layer.get(path)
        return None if value is MISSING or hasattr(value, "shape") else f"{label or path}={write(value)}"

    return part


def quoted(path: str) -> Part:
    """`path='value'`: strings in quotes."""
    return named(path, write=written)


def bare(path: str) -> Part:
    """The value alone."""

    def part(layer: Layer) -> str | None:
        value = layer.get(path)
        return None if value is MISSING else text(value)

    return part


def unless(path: str, default: object, write: Callable[[object], str] = text) -> Part:
    """`path=value`, unless it is the default. None, True and False are only themselves; numbers and strings compare."""
    return _unless(path, lambda value: _is(value, default), write)


def unless_all(path: str, default: int) -> Part:
    """`path=value`, unless it is a tuple of nothing but the default."""

    def silent(value: object) -> bool:
        return isinstance(value, tuple) and all(_is(each, default) for each in cast("tuple[object, ...]", value))

    return _unless(path, silent, text)


def _unless(path: str, silent: Callable[[object], bool], write: Callable[[object], str]) -> Part:
    said = named(path, write=write)

    def part(layer: Layer) -> str | None:
        value = layer.get(path)
        return None if value is MISSING or silent(value) else said(layer)

    return part


def _is(value: object, default: object) -> bool:
    if default is None or isinstance(default, bool):
        return value is default
    return isinstance(value, int | float | str) and value == default  # other values might not compare to a truth


def flag(path: str) -> Part:
    """`path=True`, if it is true."""

    def part(layer: Layer) -> str | None:
        value = layer.get(path)
        return f"{path}=True" if isinstance(value, int | float | str) and value else None

    return part


def has(path: str, label: str = "") -> Part:
    """`path=True` or `path=False`: whether there is such a tensor; nothing where it is not known of any."""

    def part(layer: Layer) -> str | None:
        value = _registered(layer, path)
        return None if value is MISSING else f"{label or path}={value is not None}"

    return part


def unless_has(path: str) -> Part:
    """`path=False` where there is no such tensor."""
    return lambda layer: f"{path}=False" if _registered(layer, path) is None else None


def _registered(layer: Layer, path: str) -> object:
    """The tensor of that name: None also where others are told and it is not, as TorchScript and exports leave it.

    A parametrised one is in a child.
    """
    value = layer.get(path)
    return None if value is MISSING and layer.tensors and "parametrizations" not in layer.children else value


def shape_of(path: str) -> Part:
    """The shape of a tensor, alone."""

    def part(layer: Layer) -> str | None:
        shape = layer.shape(path)
        return None if shape is None else text(shape)

    return part


def length_of(path: str) -> Part:
    """The first size of a tensor, alone."""

    def part(layer: Layer) -> str | None:
        shape = layer.shape(path)
        return text(shape[0]) if shape else None

    return part
