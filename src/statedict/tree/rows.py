"""The tensors of an index in the order of its tree, without the tree: all that a flat table of them needs.

`build` says what belongs where; this says the same of the many checkpoints that share no module under two names, at a
fifth of the cost.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from statedict import collector, tuples
from statedict.columns import Columns
from statedict.index import Index, ModuleInfo, TensorInfo
from statedict.narrow import is_number
from statedict.tree.roles import Role, is_parameter


class Listed(Protocol):
    """One name of one tensor, from wherever it comes."""

    @property
    def name(self) -> str: ...
    @property
    def info(self) -> TensorInfo: ...
    @property
    def role(self) -> Role: ...


class Row(NamedTuple):
    """One name of one tensor of an index."""

    name: str
    info: TensorInfo
    role: Role


def aliases(entries: Sequence[Listed]) -> dict[str, str]:
    """The later names of tied tensors, each with the first one among `entries`."""
    if len({id(entry.info) for entry in entries}) == len(entries):
        return {}
    first: dict[int, str] = {}
    return {entry.name: at for entry in entries if (at := first.setdefault(id(entry.info), entry.name)) != entry.name}


def plain_columns(index: Index) -> Columns | None:
    """All that the tree of an index is made of, where that is plain tensors, none of which shares anything.

    None where there are modules of which the file tells, or may be an optimizer's state.
    """
    columns, root = index.tensors, index.modules.get("")
    if not isinstance(columns, Columns) or index.ordered or len(index.modules) > (root is not None):
        return None
    if root and (root.parameters or root.buffers or root.modules or "param_groups" in root.attributes):
        return None
    return columns if columns.apart() and not any("param_groups" in name for name in columns.names) else None


def rows(index: Index) -> list[Row] | None:
    """Every name of every tensor, as `named_tensors(build(index))` has them; None where that takes the tree itself.

    It does where modules have several names or say what they registered, where a class is known though the order is
    not, and where there may be an optimizer's state.
    """
    described = index.modules.values()
    if len(set(map(id, described))) < len(index.modules) or any(_is_special(info, index) for info in described):
        return None
    with collector.paused():
        return (_as_they_come(index) if index.ordered else None) or _put_in_order(index)


def _is_special(info: ModuleInfo, index: Index) -> bool:
    registered = info.parameters or info.buffers or info.modules
    return bool(registered or (not index.ordered and (info.container or info.class_name)))


def _as_they_come(index: Index) -> list[Row] | None:
    """The rows in the file's order, if that is the tree's, as in state dicts; None if it is not, or might not be."""
    found: list[Row] = []
    heads: list[str] = []
    """What stands before the names of each run of tensors of one module: "features.0."."""
    head, has_buffers, made = "", False, tuples.made
    for name, info in index.tensors.items():
        cut = name.rfind(".") + 1
        if name[:cut] != head:
            head, has_buffers = name[:cut], False
            heads.append(head)
        local = name[cut:]
        if local == "weight" or is_parameter(local, info, (), (), has_buffers=has_buffers):  # most are called so
            if has_buffers:
                return None
            found.append(made(Row, (name, info, "parameter")))
        else:
            has_buffers = True
            found.append(made(Row, (name, info, "buffer")))
    if not any(index.modules):
        return found if _is_a_walk(heads) else None
    listed = [path + "." for path in index.modules if path]
    following = iter(listed)
    return found if _is_a_walk(listed) and all(head in following for head in heads) else None


def _is_a_walk(heads: list[str]) -> bool:
    """Whether modules come in this order as a tree is walked, parents first, and none may be an optimizer's state."""
    met = {""}
    before = ""
    for head in heads:
        if head in met:
            return False
        above = head
        while above not in met:
            met.add(above)
            if above.endswith("state."):
                return False
            above = above[: above.rfind(".", 0, -1) + 1]
        if not before.startswith(above):
            return False
        before = head
    return True


class _Place:
    """A module: what stands before the names in it, its tensors, the modules in it."""

    __slots__ = ("below", "buffers", "head", "parameters")

    def __init__(self, head: str) -> None:
        self.head = head
        self.parameters: list[Row] = []
        self.buffers: list[Row] | None = None
        self.below: list[_Place] | None = None


class _Places:
    """The modules met so far, by their heads."""

    def __init__(self) -> None:
        self._places = {"": _Place("")}
        self.states: list[str] = []
        """The heads of those that are called `state`."""

    def at(self, head: str) -> _Place:
        """The place of that head, entered with all above it if it is not there yet."""
        place = self._places.get(head)
        if place is None:
            cut = head.rfind(".", 0, -1) + 1
            above = self._places.get(head[:cut]) or self.at(head[:cut])
            place = self._places[head] = _Place(head)
            if above.below is None:
                above.below = [place]
            else:
                above.below.append(place)
            if head.endswith("state.") and head[cut:] == "state.":
                self.states.append(head)
        return place

    def fill(self, tensors: Mapping[str, TensorInfo], *, ordered: bool) -> None:
        """Put every tensor where its name says."""
        place, made = self.at(""), tuples.made
        for name, info in tensors.items():
            cut = name.rfind(".") + 1
            head, local = name[:cut], name[cut:]
            if head != place.head:
                place = self.at(head)
            has_buffers = ordered and place.buffers is not None
            if local == "weight" or is_parameter(local, info, (), (), has_buffers=has_buffers):  # most are called so
                place.parameters.append(made(Row, (name, info, "parameter")))
            elif place.buffers is None:
                place.buffers = [made(Row, (name, info, "buffer"))]
            else:
                place.buffers.append(made(Row, (name, info, "buffer")))

    def has_groups(self, head: str) -> bool:
        """Whether there are an optimizer's `param_groups` among the modules of that head."""
        return head + "param_groups." in self._places


def _put_in_order(index: Index) -> list[Row] | None:
    """The rows in the tree's order; None where an optimizer's state may be among them."""
    places = _Places()
    for path in index.modules:
        places.at(path + "." if path else "")
    places.fill(index.tensors, ordered=index.ordered)
    for state in places.states:
        head = state.removesuffix("state.")
        info = index.modules.get(head[:-1])
        if places.has_groups(head) or (info and "param_groups" in info.attributes):
            return None
    return _walked(places.at(""), ordered=index.ordered)


def _walked(root: _Place, *, ordered: bool) -> list[Row]:
    """What each place holds, a module's own before its children's. What are all numbers goes by number, if need be."""
    found: list[Row] = []
    places = [root]
    while places:
        place = places.pop()
        found += place.parameters
        if place.buffers:
            found += place.buffers
        if below := place.below:
            if not (ordered or place.parameters or place.buffers):
                below = _by_number(below, len(place.head))
            places += reversed(below)
    return found


def _by_number(places: list[_Place], cut: int) -> list[_Place]:
    for place in places:
        if not is_number(place.head[cut:-1]):
            return places
    return sorted(places, key=lambda place: int(place.head[cut:-1]))
