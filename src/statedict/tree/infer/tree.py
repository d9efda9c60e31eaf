"""The inference over a whole tree: what can be told of each module alone, then what its neighbours tell."""
# pyright: reportPrivateUsage=false

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from statedict import collector
from statedict.index import EMPTY
from statedict.tree.deferred import is_unbuilt
from statedict.tree.infer import sequences, tell
from statedict.tree.infer.kinds import UNSURE, alone, among, as_around
from statedict.tree.infer.places import (
    CONV1,
    CONV2,
    CONV3,
    GROUP_NORMS,
    LAYER_NORMS,
    MATRICES,
    RMS_COMPANIONS,
    RMS_NORMS,
    TRANSPOSED,
    Place,
    Shape,
)
from statedict.tree.infer.quantization import Quantization, quantization_of

if TYPE_CHECKING:
    from statedict.tree.module import Module

_BITS = {
    "Linear": MATRICES,
    "?Linear": MATRICES,
    "Conv1D": TRANSPOSED,
    "LayerNorm": LAYER_NORMS,
    "GroupNorm": GROUP_NORMS,
    "RMSNorm": RMS_NORMS,
    **{f"Conv{number}d": bit for number, bit in ((1, CONV1), (2, CONV2), (3, CONV3))},
    **{f"ConvTranspose{number}d": bit for number, bit in ((1, CONV1), (2, CONV2), (3, CONV3))},
}
_COMPANIONS = frozenset(
    {
        *("gate_proj", "up_proj", "gate_up_proj", "gate_up", "w1", "w3", "fc1_g", "ffn_gate", "ffn_up"),
        *("wi", "wi_0", "wi_1", "A_log"),
    }
)
"""Names that models with RMSNorm have: of the matrices of a gated perceptron, of T5's perceptron, of state spaces."""


_Held = tuple[dict[str, Shape], Quantization | None]
_Known = dict[tuple[object, ...], _Held]
_NOTHING: _Held = ({}, None)


def infer(root: "Module") -> None:
    """Give the modules of the tree whose kind no file tells the one that can be told from what they hold.

    Parts of an optimizer's state, and what was a plain container, stay nameless.
    """
    with collector.paused():
        places = _places(root)
        known: dict[object, str | None] = {}
        for place in places:
            if place.shapes:
                place.kind = place.quantization.kind if place.quantization else _alone(place, known)
        unsure = _learned(places)
        for rule in (among, among, as_around):
            _decide(unsure, rule)
            unsure = _learned(unsure)
        for place in places:
            if place.kind is None and place.below:
                place.kind = sequences.kind(place)
            tell(place.module, place.kind, place.quantization)


def _alone(place: Place, known: dict[object, str | None]) -> str | None:
    """What can be told of a module alone: the same for all of one name and one set of shapes."""
    if "weight" not in place.shapes:
        return alone(place)
    key = (place.title, place.module.version, *place.shapes.items())
    try:
        return known[key]
    except KeyError:
        found = known[key] = alone(place)
        return found


def _decide(unsure: list[Place], rule: Callable[[Place], str | None]) -> None:
    """Ask the rule of all before any of them changes: they look at each other."""
    for place, kind in [(place, rule(place)) for place in unsure]:
        place.kind = kind


def _learned(places: list[Place]) -> list[Place]:
    """Those that are still not sure, once everyone above a module has seen what it is."""
    unsure: list[Place] = []
    for place in places:
        kind = place.kind
        if kind is not None:
            place.own = _BITS.get(kind, 0)
            if kind[0] == UNSURE:
                unsure.append(place)
        found = place.own
        if place.name in _COMPANIONS or not _COMPANIONS.isdisjoint(place.shapes):
            found |= RMS_COMPANIONS
        above: Place | None = place
        while above is not None and found & ~above.evidence:
            above.evidence |= found
            above = above.above
    return unsure


def _places(root: "Module") -> list[Place]:
    """The modules of the tree, parents first, each once; those whose kind the file tells without their tensors."""
    places: list[Place] = []
    known: _Known = {}
    met: set[int] = set()
    stack: list[tuple[str, Module, Place | None]] = [("", root, None)]
    while stack:
        name, module, above = stack.pop()
        if id(module) in met:
            continue
        met.add(id(module))
        held = _held(module, known) if "_inference" in module.__dict__ else _NOTHING
        place = Place(name, module, above, *held)
        places.append(place)
        if above is not None:
            above.below.append(place)
        if "_modules" in module.__dict__ and not _is_optimizer(module):
            children = reversed(module._modules.items())
            stack.extend((name, child, place) for name, child in children if not (child is None or is_unbuilt(child)))
    return places


def _is_optimizer(module: "Module") -> bool:
    children = module._modules
    return "state" in children and ("param_groups" in children or "param_groups" in module.attributes)


def _held(module: "Module", known: _Known) -> _Held:
    """The shapes of the tensors of a module, and how its weight is quantised: once for all that hold the same."""
    key: list[Any] = []
    for table in (module._parameters, module.__dict__.get("_buffers", EMPTY)):
        for name, held in table.items():
            if held is not None:
                info = held.info
                key += (name, info.dtype, info.shape, info.encoding)
    if not key:
        return _NOTHING
    same = tuple(key)
    if (found := known.get(same)) is None:
        found = {name: shape or () for name, shape in zip(key[::4], key[2::4], strict=True)}, quantization_of(module)
        if "_modules" not in module.__dict__:  # where a weight may be in parts
            known[same] = found
    return found
