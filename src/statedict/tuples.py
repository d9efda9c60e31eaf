"""Named tuples, made in half the time: it shows where there are 60,000."""

from typing import Any, Protocol, TypeVar, cast

T_co = TypeVar("T_co", bound=tuple[Any, ...], covariant=True)


class _New(Protocol):
    def __call__(self, kind: type[T_co], fields: tuple[Any, ...], /) -> T_co: ...


made = cast("_New", cast("Any", tuple).__new__)
"""`made(Extent, (source, 0, 4))` is `Extent(source, 0, 4)`, unchecked: all fields are to be given, in their order."""
