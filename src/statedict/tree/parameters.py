"""The containers of parameters that PyTorch indexes: `ParameterList` and `ParameterDict`."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, KeysView
from typing import Any, NoReturn, Self, SupportsIndex, cast, overload

from statedict.tree.containers import CONTAINERS, pairs_of, position
from statedict.tree.module import Module
from statedict.tree.tensor import Parameter, Tensor, is_tensor_like


def _as_parameter(value: Any) -> Any:
    return Parameter(value) if is_tensor_like(value) and not isinstance(value, Parameter) else value


class ParameterList(Module):
    """A list of parameters, and of whatever else is put there; tensors and arrays become parameters."""

    kind = "ParameterList"
    class_name = CONTAINERS + "ParameterList"

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        if values is not None:
            self.extend(values)

    def __len__(self) -> int:
        size = self.attributes.get("_size")
        return size if isinstance(size, int) else len(self._parameters)  # before PyTorch 1.12 there was no `_size`

    @overload
    def __getitem__(self, idx: slice) -> Self: ...
    @overload
    def __getitem__(self, idx: SupportsIndex) -> Any: ...
    def __getitem__(self, idx: SupportsIndex | slice) -> Any:
        if isinstance(idx, slice):
            return type(self)(self[at] for at in range(*idx.indices(len(self))))
        return getattr(self, str(position(idx, len(self))))

    def __setitem__(self, idx: SupportsIndex, param: Any) -> None:
        setattr(self, str(position(idx, len(self))), _as_parameter(param))

    def __iter__(self) -> Iterator[Any]:
        return (self[at] for at in range(len(self)))

    def __iadd__(self, parameters: Iterable[Any]) -> Self:
        return self.extend(parameters)

    def append(self, value: Any) -> Self:
        """This list, with a value added at its end."""
        self.attributes["_size"] = len(self) + 1
        self[-1] = value
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """This list, with values added at its end. Raises TypeError where they cannot be iterated over."""
        given = cast("object", values)
        if not isinstance(given, Iterable) or isinstance(given, Tensor):
            kind = type(cast("object", given)).__name__
            raise TypeError(f"ParameterList.extend should be called with an iterable, but got {kind}")
        for value in values:
            self.append(value)
        return self

    def forward(self, *input: Any) -> NoReturn:
        """Nothing but RuntimeError."""
        raise RuntimeError("ParameterList should not be called.")


class ParameterDict(Module):
    """A dict of parameters by name, and of whatever else is put there; tensors and arrays become parameters."""

    kind = "ParameterDict"
    class_name = CONTAINERS + "ParameterDict"

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        if parameters is not None:
            self.update(parameters)

    def _names(self) -> dict[str, None]:
        names = self.attributes.get("_keys")
        if not isinstance(names, dict):  # before PyTorch 1.12 there was no `_keys`
            names = self.attributes["_keys"] = dict[str, None].fromkeys(self._parameters)
        return cast("dict[str, None]", names)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, _checked(key))

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, _checked(key), _as_parameter(value))
        self._names()[key] = None

    def __delitem__(self, key: str) -> None:
        del self._names()[key]
        delattr(self, _checked(key))

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._names())

    def __contains__(self, key: object) -> bool:
        return key in self._names()

    def copy(self) -> "ParameterDict":
        """Another one with the same entries."""
        return ParameterDict(OrderedDict(self.items()))

    def setdefault(self, key: str, default: Any | None = None) -> Any:
        """The entry of that name, which is made from `default` if it was missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Take all entries out."""
        for key in list(self):
            del self[key]

    def pop(self, key: str) -> Any:
        """The entry of that name, taken out."""
        taken = self[key]
        del self[key]
        return taken

    def popitem(self) -> tuple[str, Any]:
        """Name and value of the last entry, taken out. Raises KeyError when there is none."""
        if not self._names():
            raise KeyError("popitem(): dictionary is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def get(self, key: str, default: Any | None = None) -> Any:
        """The entry of that name, or `default`."""
        return self[key] if key in self else default  # noqa: SIM401  which is this very method

    def fromkeys(self, keys: Iterable[str], default: Any | None = None) -> "ParameterDict":
        """Another one with `default` under each of the names."""
        return ParameterDict((key, default) for key in keys)

    def keys(self) -> KeysView[str]:
        return self._names().keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        return ((key, self[key]) for key in self)

    def values(self) -> Iterable[Any]:
        return (self[key] for key in self)

    def update(self, parameters: Any) -> None:
        """Add entries from a mapping, or from pairs. Raises TypeError, ValueError as PyTorch does."""
        for key, value in pairs_of("ParametersDict", "ParameterDict", parameters, ordered=False):
            self[key] = value

    def __or__(self, other: "ParameterDict") -> "ParameterDict":
        copied = self.copy()
        copied.update(other)
        return copied

    def __ror__(self, other: "ParameterDict") -> "ParameterDict":
        copied = other.copy()
        copied.update(self)
        return copied

    def __ior__(self, other: "ParameterDict") -> Self:
        self.update(other)
        return self

    def forward(self, *input: Any) -> NoReturn:
        """Nothing but RuntimeError."""
        raise RuntimeError("ParameterDict should not be called.")


def _checked(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(
            "Index given to ParameterDict cannot be used as a key as it is not a string "
            f"(type is '{type(key).__name__}'). Open an issue on github if you need non-string keys."
        )
    return key
