"""Facts of whole tensors that an expression needs before its first element: found when they are first asked for."""

import io
import pickle
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from statedict.expressions.nodes import Node

T = TypeVar("T")
_MOST_HELD = 8
_held: "deque[weakref.ref[Held[Any]]]" = deque()
_holding = threading.Lock()


class Once(Generic[T]):
    """A small fact that a function finds, by one thread while the others wait, and that is then known. It pickles."""

    __slots__ = ("__weakref__", "_arguments", "_find", "_found", "_lock")

    def __init__(self, find: Callable[..., T], *arguments: Any) -> None:
        self._find = find
        self._arguments = arguments
        self._found: tuple[T] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> T:
        with self._lock:
            found = self._found
            if found is None:
                found = self._found = (self._find(*self._arguments),)
        return found[0]

    def forget(self) -> None:
        """Let the fact be found anew when it is asked for again."""
        self._found = None

    def __reduce__(self) -> tuple[Any, ...]:
        """What is known goes along: another process need not find it again."""
        found = self._found
        return (type(self), (self._find, *self._arguments)) if found is None else (_known, found)


def _known(found: T) -> Once[T]:
    """A fact that need not be found anew."""
    return Once(_itself, found)


def _itself(found: T) -> T:
    return found


class Finding(pickle.Pickler):
    """Finds every fact in what is dumped, so that whoever gets it pickled need not."""

    def __init__(self) -> None:
        super().__init__(_Nowhere())

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Once):
            obj()
        return NotImplemented


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return len(data)


class Held(Once[T]):
    """A fact that takes some memory, such as a small matrix: only the few that were asked for last are kept."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._find, *self._arguments)

    def __call__(self) -> T:
        found = super().__call__()
        with _holding:
            _held.append(weakref.ref(self))
            recent = list(dict.fromkeys(reversed(_held)))
            for reference in recent[_MOST_HELD:]:
                if (old := reference()) is not None:
                    old.forget()
            _held.clear()
            _held.extend(reversed(recent[:_MOST_HELD]))
        return found


def matrix(node: "Node", columns: int) -> "NDArray[Any]":
    """All elements of a node in working precision, in rows of so many."""
    return node.working(0, node.numel).reshape(-1, columns)
