"""The lists and dicts of a nested checkpoint, and the numbered names of a bare state dict, as modules to index."""

from collections.abc import Iterator
from typing import Any, SupportsIndex

from statedict.narrow import is_number
from statedict.tree.containers import position
from statedict.tree.finding import closest
from statedict.tree.module import Module
from statedict.tree.printing import folded, kind


class _Plain(Module):
    """What was no module. Its entries are child modules, tensors and attributes alike."""

    def _get_name(self) -> str:
        return kind(self) or "Module"

    def _entry(self, name: str) -> Any:
        """The entry of that name: a module before a tensor, a tensor before an attribute. Raises KeyError."""
        for table in (self._modules, self._parameters, self._buffers, self.attributes):
            if name in table:
                return table[name]
        raise KeyError(name)

    def _entry_names(self) -> list[str]:
        return [*dict.fromkeys((*self._parameters, *self._buffers, *self._modules, *self.attributes))]


class DictModule(_Plain):
    """A dict of a checkpoint: `checkpoint["optimizer"]["lr"]`, and `checkpoint["optimizer.lr"]` for short."""

    def __getitem__(self, key: str | int) -> Any:
        name = str(key)
        try:
            return self._entry(name)
        except KeyError:
            found = self._below(name)
            if found is None:
                raise KeyError(f"{name}{closest(self, name, name, self)}") from None
            return found

    def _below(self, name: str) -> Any:
        """What a dotted name leads to, if anything."""
        owner, dot, local = name.rpartition(".")
        if not dot:
            return None
        try:
            return self.get_submodule(owner).__getattr__(local)
        except AttributeError:
            return None

    def get(self, key: str | int, default: Any = None) -> Any:
        """The entry of that name, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | int) and (str(key) in self._entry_names() or self._below(str(key)) is not None)

    def __len__(self) -> int:
        return len(self._entry_names())

    def __bool__(self) -> bool:
        return True  # the root of a state dict is one, and a module is always true

    def __iter__(self) -> Iterator[str]:
        return iter(self._entry_names())

    def keys(self) -> list[str]:
        """The names of its entries: tensors, then modules, then attributes."""
        return self._entry_names()

    def values(self) -> list[Any]:
        """Its entries, in the order of `keys`."""
        return [self._entry(name) for name in self._entry_names()]

    def items(self) -> list[tuple[str, Any]]:
        """Names and entries, in the order of `keys`."""
        return [(name, self._entry(name)) for name in self._entry_names()]


class ListModule(_Plain):
    """A list of a checkpoint, or modules whose names are numbers.

    Indexed by those numbers, as the live list is: of modules 0, 1, 4 and 5, `[4]` is the one named "4", and `[2]` an
    error, for its module holds nothing. Slices and negative indices count what is here.
    """

    def _row(self) -> list[str]:
        return sorted((name for name in self._entry_names() if is_number(name)), key=int)

    def __getitem__(self, idx: SupportsIndex | slice) -> Any:
        row = self._row()
        if isinstance(idx, slice):
            return [self._entry(name) for name in row[idx]]
        at = idx.__index__()
        if at >= 0 and str(at) not in row and at < int(row[-1] if row else 0):
            raise IndexError(f"module {at} holds nothing here; there are {', '.join(row)}")
        return self._entry(str(at) if at >= 0 and str(at) in row else row[position(at, len(row))])

    def __len__(self) -> int:
        return len(self._row())

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return (self._entry(name) for name in self._row())

    def __contains__(self, entry: object) -> bool:
        return any(each is entry for each in self)

    def __repr__(self) -> str:
        row = self._row()
        if self.class_name is not None or row != list(self._modules) or row != [str(at) for at in range(len(row))]:
            return super().__repr__()
        return f"{self._get_name()}({folded([repr(module) for module in self])})"
