"""The containers of modules that PyTorch indexes: `Sequential`, `ModuleList` and `ModuleDict`."""

import operator
from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self, SupportsIndex, cast, overload

from statedict.tree.module import Module
from statedict.tree.printing import folded

CONTAINERS = "torch.nn.modules.container."


def position(index: SupportsIndex, size: int) -> int:
    """An index counted from the front. Raises IndexError in PyTorch's words."""
    at = operator.index(index)
    if not -size <= at < size:
        raise IndexError(f"index {at} is out of range")
    return at % size


class _Numbered(Module):
    """What `Sequential` and `ModuleList` share: child modules in a row."""

    _modules: dict[str, Module]  # pyright: ignore[reportIncompatibleVariableOverride]  none is None here

    @overload
    def __getitem__(self, idx: slice) -> Self: ...
    @overload
    def __getitem__(self, idx: SupportsIndex) -> Module: ...
    def __getitem__(self, idx: SupportsIndex | slice) -> Module:
        if isinstance(idx, slice):
            return self._like(list(self._modules.items())[idx])
        return list(self._modules.values())[position(idx, len(self))]

    def _like(self, items: list[tuple[str, Module]]) -> Self:
        """Another of the same class."""
        made = type(self)()
        made.kind, made.class_name = self.kind, self.class_name
        made._modules.update(items)
        return made

    def __setitem__(self, idx: SupportsIndex, module: Module) -> None:
        setattr(self, list(self._modules)[position(idx, len(self))], module)

    def __delitem__(self, idx: SupportsIndex | slice) -> None:
        names = list(self._modules)
        gone = names[idx] if isinstance(idx, slice) else [names[position(idx, len(self))]]
        left = [self._modules[name] for name in names if name not in gone]
        self._number(left)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def append(self, module: Module) -> Self:
        """This container, with a module added at its end."""
        self.add_module(str(len(self)), module)
        return self

    def _insert(self, index: int, module: Module) -> None:
        row = list(self._modules.values())
        row.insert(index, module)
        self._number(row)

    def _number(self, row: list[Module]) -> None:
        self._modules.clear()
        self._modules.update((str(at), module) for at, module in enumerate(row))

    def pop(self, key: SupportsIndex | slice) -> Module:
        """The module at a position, or a container of those in a slice, taken out."""
        taken = self[key]
        del self[key]
        return taken


class Sequential(_Numbered):
    """Modules in a row, each after the other: made from modules, or from an OrderedDict of them."""

    kind = "Sequential"
    class_name = CONTAINERS + "Sequential"

    def __init__(self, *args: Any) -> None:
        super().__init__()
        for name, module in _named(*args):
            self.add_module(name, module)

    def insert(self, index: int, module: Module) -> Self:
        """This container, with a module put before a position. Raises IndexError outside it."""
        if not isinstance(cast("object", module), Module):
            raise AssertionError(f"module should be of type: {Module}")
        if not -len(self) <= index <= len(self):
            raise IndexError(f"Index out of range: {index}")
        self._insert(index, module)
        return self

    def extend(self, sequential: Iterable[Module]) -> Self:
        """This container, with modules added at its end."""
        for module in sequential:
            self.append(module)
        return self

    def __add__(self, other: "Sequential") -> "Sequential":
        self._check_summand(other)
        return Sequential(*self, *other)

    def __iadd__(self, other: "Sequential") -> Self:
        self._check_summand(other)
        return self.extend(list(other))

    def _check_summand(self, other: Any) -> None:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")

    def __mul__(self, other: int) -> "Sequential":
        self._check_factor(other)
        return Sequential(*list(self) * other)

    def __rmul__(self, other: int) -> "Sequential":
        return self * other

    def __imul__(self, other: int) -> Self:
        self._check_factor(other)
        return self.extend(list(self) * (other - 1))

    def _check_factor(self, other: Any) -> None:
        if not isinstance(other, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(other)}")
        if other <= 0:
            raise ValueError(f"Non-positive multiplication factor {other} for {type(self)}")


def _named(*modules: Any) -> Iterable[tuple[str, Module]]:
    if len(modules) == 1 and isinstance(modules[0], OrderedDict):
        return cast("OrderedDict[str, Module]", modules[0]).items()
    return ((str(at), module) for at, module in enumerate(modules))


class ModuleList(_Numbered):
    """A list of modules."""

    kind = "ModuleList"
    class_name = CONTAINERS + "ModuleList"

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def _like(self, items: list[tuple[str, Module]]) -> Self:
        return super()._like([(str(at), module) for at, (_, module) in enumerate(items)])

    def insert(self, index: int, module: Module) -> None:
        """Put a module before a position."""
        self._insert(index, module)

    def extend(self, modules: Iterable[Module]) -> Self:
        """This list, with modules added at its end. Raises TypeError where they cannot be iterated over."""
        if not isinstance(cast("object", modules), Iterable):
            kind = type(cast("object", modules)).__name__
            raise TypeError(f"ModuleList.extend should be called with an iterable, but got {kind}")
        for at, module in enumerate(list(modules), len(self)):
            self.add_module(str(at), module)
        return self

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> "ModuleList":
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        return f"{self._get_name()}({folded([repr(module) for module in self])})"


class ModuleDict(Module):
    """A dict of modules by name, in the order in which they were added."""

    kind = "ModuleDict"
    class_name = CONTAINERS + "ModuleDict"
    _modules: dict[str, Module]  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """The module of that name, taken out."""
        taken = self[key]
        del self[key]
        return taken

    def keys(self) -> KeysView[str]:
        return self._modules.keys()

    def items(self) -> ItemsView[str, Module]:
        return self._modules.items()

    def values(self) -> ValuesView[Module]:
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Add modules from a mapping, or from pairs of name and module. Raises TypeError, ValueError."""
        for name, module in pairs_of("ModuleDict", "ModuleDict", modules, ordered=True):
            self[name] = module


def pairs_of(caller: str, name: str, given: Any, ordered: bool) -> Iterable[tuple[Any, Any]]:
    """The pairs of a mapping, or those given; of a plain mapping in the order of its keys unless `ordered`."""
    if not isinstance(given, Iterable):
        kind = type(cast("object", given)).__name__
        raise TypeError(f"{caller}.update should be called with an iterable of key/value pairs, but got {kind}")
    if isinstance(given, Mapping) or hasattr(cast("object", given), "items"):
        items: list[tuple[Any, Any]] = list(cast("Mapping[Any, Any]", given).items())
        return items if ordered or not isinstance(given, Mapping) or isinstance(given, OrderedDict) else sorted(items)
    pairs: list[tuple[Any, Any]] = []
    for at, pair in enumerate(cast("Iterable[Any]", given)):
        if not isinstance(pair, Iterable):
            raise TypeError(f"{name} update sequence element #{at} should be Iterable; is{type(pair).__name__}")
        values = tuple(cast("Iterable[Any]", pair))
        if len(values) != 2:
            raise ValueError(f"{name} update sequence element #{at} has length {len(values)}; 2 is required")
        pairs.append(values)
    return pairs
