"""Which tensors are pruned: weights that patterns fit, without those that are protected unless you say otherwise."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from statedict.errors import PatternError, StatedictError
from statedict.ops.families import Family, family
from statedict.ops.groups import named_once
from statedict.ops.patterns import matching, suggestion
from statedict.ops.prune.amounts import Amount, checked
from statedict.ops.prune.methods import Method, unfitness
from statedict.ops.select import NamedTensor, named_tensors

if TYPE_CHECKING:
    from statedict.tree.module import Module

Protected = Literal["norms", "biases", "embeddings", "first", "last"]
PROTECTED: tuple[Protected, ...] = get_args(Protected)
"""What is left alone by default. `first` and `last` are the weights at the two ends of the tree; where an embedding
takes the input, it is the first."""
_WORDS: Mapping[Family, Protected] = {"norm": "norms", "bias": "biases", "vector": "biases", "embedding": "embeddings"}


class Chosen(NamedTuple):
    """What is pruned, by how much, and why the rest is not."""

    shares: Sequence[tuple[Sequence[NamedTensor], Amount]]
    """Tensors with their amount, in the order of the tree; each tensor once."""
    left_out: Mapping[str, str]
    """The word for what protects it, or another reason, by name."""


def choose(
    entries: Iterable[NamedTensor],
    patterns: Sequence[str],
    amount: Amount | Mapping[str, Amount],
    protect: Iterable[Protected] = PROTECTED,
    modules: Callable[[], Iterable[str]] = tuple,
    classes: Callable[[NamedTensor], Sequence[str]] = lambda _entry: (),
) -> Chosen:
    """Which of `entries` are pruned: parameters of floating-point numbers that the patterns fit (all, if none).

    `amount` may be one for each of several patterns, of which the first that fits counts. `classes` are the names of
    those that a tensor's module inherits. Raises PatternError for a pattern that fits nothing, StatedictError for an
    amount that is none, an unknown word in `protect`, and where everything chosen is protected.
    """
    found = named_once(entry for entry in entries if entry.role == "parameter")
    names = [name for _, row in found for name in row]
    by_pattern: list[tuple[set[str], Amount]]
    known = frozenset(modules())
    if isinstance(amount, Mapping):
        by_pattern = [(matching(names, [each], lambda: known), checked(share)) for each, share in amount.items()]
    else:
        by_pattern = [(set(names), checked(amount))]
    wanted = matching(names, patterns, lambda: known) if patterns else set(names)
    guarded = _protection([entry for entry, _ in found], _words(protect), classes)
    shares: list[list[NamedTensor]] = [[] for _ in by_pattern]
    left_out: dict[str, str] = {}
    for entry, row in found:
        at = next((at for at, (fitting, _) in enumerate(by_pattern) if not fitting.isdisjoint(row)), None)
        if at is None or wanted.isdisjoint(row):
            continue
        if entry.name in guarded:
            left_out[entry.name] = guarded[entry.name]
        else:
            shares[at].append(entry)
    if not any(shares):
        raise StatedictError(_nothing(left_out))
    return Chosen([(taken, share) for taken, (_, share) in zip(shares, by_pattern, strict=True) if taken], left_out)


def chosen_by_masks(
    entries: Iterable[NamedTensor], patterns: Sequence[str], masks: "Module", modules: Callable[[], Iterable[str]]
) -> Chosen:
    """The tensors that masks have the names of. Raises StatedictError for a mask of no tensor, or of another shape."""
    by_name = {entry.name: entry for entry in entries}
    known = frozenset(modules())
    wanted = matching(list(by_name), patterns, lambda: known) if patterns else set(by_name)
    found: dict[int, NamedTensor] = {}
    for mask in named_tensors(masks):
        entry = by_name.get(mask.name)
        if entry is None:
            raise StatedictError(f"the mask `{mask.name}` fits no tensor of that name{suggestion(mask.name, by_name)}")
        if entry.tensor.shape != mask.tensor.shape:
            shapes = [list(each.tensor.shape or ()) for each in (mask, entry)]
            raise StatedictError(f"the mask `{mask.name}` has the shape {shapes[0]}, but the tensor {shapes[1]}")
        if entry.name in wanted:
            found.setdefault(id(entry.tensor), entry)
    if not found:
        raise PatternError("no mask is left for the names that were chosen; leave the patterns out")
    return Chosen([(list(found.values()), 0.0)], {})


def _words(protect: Iterable[Protected]) -> set[str]:
    words: set[str] = {protect} if isinstance(protect, str) else set(protect)
    if unknown := sorted(words - set(PROTECTED)):
        raise StatedictError(f"`{unknown[0]}` in `protect` is not known; expected some of {', '.join(PROTECTED)}")
    return words


def _protection(
    found: Iterable[NamedTensor], words: set[str], classes: Callable[[NamedTensor], Sequence[str]]
) -> dict[str, str]:
    """What protects each tensor that is, by name."""
    guarded: dict[str, str] = {}
    layers: list[tuple[NamedTensor, Family]] = []
    for entry in found:
        kind = family(entry, classes(entry))
        word = _WORDS.get(kind)
        if not entry.tensor.dtype.is_floating_point or entry.tensor.shape is None:
            guarded[entry.name] = f"{entry.tensor.dtype}, no plain floating-point numbers"
        elif word in words:
            guarded[entry.name] = word
        if kind in ("weight", "embedding"):
            layers.append((entry, kind))
    if layers:
        ends = {"first": layers[0], "last": layers[-1]}
        for word in ("first", "last"):
            entry, kind = ends[word]
            if word in words and kind == "weight":
                guarded.setdefault(entry.name, word)
    return guarded


def _nothing(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return "there is nothing to prune: no parameters of floating-point numbers"
    reasons = ", ".join(dict.fromkeys(left_out.values()))
    first = next(iter(left_out))
    return (
        f"nothing is left to prune: `{first}` and all others that were chosen are protected ({reasons}); "
        f"`protect=()` protects nothing"
    )


def fitting(chosen: Chosen, method: Method) -> Chosen:
    """The same without tensors whose shapes do not allow for the method, as where nobody has asked for them by name."""
    left_out = dict(chosen.left_out)
    shares: list[tuple[Sequence[NamedTensor], Amount]] = []
    for entries, amount in chosen.shares:
        unfit = {entry.name: reason for entry in entries if (reason := unfitness(entry, method))}
        left_out |= unfit
        if kept := [entry for entry in entries if entry.name not in unfit]:
            shares.append((kept, amount))
    if not shares:
        raise StatedictError(_nothing(left_out))
    return Chosen(shares, left_out)
