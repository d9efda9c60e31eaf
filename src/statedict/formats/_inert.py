"""What stands for the things a pickle names and makes: classes that only record what is done to them, safe dicts."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import Any, TypeGuard

from statedict.errors import FormatError, LimitError
from statedict.narrow import is_dict, is_tuple
from statedict.opaque import Opaque

_LONGEST_KEY = 1_000


class Stub(Opaque):
    """The base of what `find_class` returns: a class that can be called and filled, and only records what it gets."""

    __slots__ = ()
    full_name = ""
    make: Callable[..., Any] | None = None
    """What makes its instances, if that is known."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = object.__new__(cls)
        Opaque.__init__(made, cls.full_name, args, kwargs)
        return made

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing: `__new__` has done it, as it must for a pickle that never calls `__init__`."""

    def __setstate__(self, *state: Any) -> None:
        if state:  # else it is the class that was given a state, which is of no effect
            self.state = state[0]

    def append(self, item: Any) -> None:
        if not isinstance(self.items, list):
            self.items = []
        self.items.append(item)

    add = append

    def extend(self, items: list[Any]) -> None:
        for item in items:
            self.append(item)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(self.items, dict):
            self.items = {}
        self.items[looked_up(key)] = value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the called result would be: `functools.partial(C.__new__, C, x)()`, as pickle writes it, is a `C(x)`."""
        if self.name == "functools.partial" and is_tuple(self.state) and len(self.state) == 4:
            _, bound, named, _ = self.state
            if is_tuple(bound) and bound and is_class(bound[0]) and is_dict(named):
                return bound[0](*bound[1:], *args, **named, **kwargs)
        return described(f"{self.name}()", (self, *args), kwargs)


def described(full_name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Stub:
    """The description of a call, ready to be given a state and items."""
    made = object.__new__(Stub)
    Opaque.__init__(made, full_name, args, kwargs)
    return made


def is_class(value: object) -> TypeGuard[type[Stub]]:
    """Whether `value` stands for a class or function that a pickle names."""
    return isinstance(value, type) and issubclass(value, Stub)


def looked_up(key: Any) -> Any:
    """`key`, proved to be looked up in no time. Raises LimitError for tuples that hold tuples without end."""
    if is_tuple(key):
        room = _LONGEST_KEY
        tuples = [key]
        while tuples:
            parts = tuples.pop()
            room -= 1 + len(parts)
            if room < 0:
                raise LimitError(f"{_budget.get().where}: a key in its pickle is too long a tuple to be looked up")
            tuples += filter(is_tuple, parts)
    return key


_set_item = dict[Any, Any].__setitem__


class SafeDict(dict[Any, Any]):
    """A dict in a pickle."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        _set_item(self, key if type(key) is str else looked_up(key), value)


class PickledDict(SafeDict):
    """A dict subclass that a pickle named (`OrderedDict`, `defaultdict`, `Counter`), with the attributes it got."""

    __slots__ = ("attributes",)

    def __setstate__(self, *state: Any) -> None:
        if state and is_dict(state[0]):  # else it is the class that was given a state
            self.attributes = state[0]


def constructor(full_name: str, make: Callable[..., Any]) -> type:
    """A class of that name whose instantiation is `make(*arguments)`: what a pickle may call."""

    def new(_cls: type, *args: Any, **kwargs: Any) -> Any:
        try:
            return make(*args, **kwargs) if kwargs else make(*args)
        except FormatError:
            raise
        except (TypeError, ValueError, AttributeError, KeyError, IndexError):
            return described(full_name, args, kwargs)  # not what this function takes: say what was asked

    return type("Stub", (Stub,), {"__slots__": (), "__new__": new, "full_name": full_name, "make": make})


class _Budget:
    """How many values and bytes a pickle may still copy by what it calls: four times what it is long, else a bomb."""

    __slots__ = ("left", "where")

    def __init__(self, where: str, size: int) -> None:
        self.where = where
        self.left = 4 * size


_budget = ContextVar[_Budget]("_budget")


def budget(where: str, size: int) -> Token[_Budget]:
    """Begin to count for a pickle of `size` bytes; give what this returns to `budget_ends`."""
    return _budget.set(_Budget(where, size))


def budget_ends(begun: Token[_Budget]) -> None:
    """Go on counting for the pickle in which this one stood, if any."""
    _budget.reset(begun)


def spend(size: int) -> None:
    """Count what a function in `known` copies of its arguments. Raises LimitError when the pickle overdoes it.

    A pickle can refer to one long value over and over, at three bytes each time.
    """
    budget = _budget.get()
    budget.left -= size
    if budget.left < 0:
        raise LimitError(f"{budget.where}: its pickle copies its values over and over; it is a bomb")
