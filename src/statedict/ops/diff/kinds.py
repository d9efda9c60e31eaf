"""What kind of change lies between two tensors, said where the numbers prove it and not otherwise."""

from statedict.difference import Difference
from statedict.index import TensorInfo
from statedict.ops.diff.evidence import Evidence, Scale
from statedict.ops.diff.result import Kind

_ALMOST = 0.05
"""What a scale may leave over, as part of the difference that it explains."""
_LEAST = 32
"""Elements that a kind is told of, at least."""
_LEAST_SHARE = 0.01
"""The share of elements that turn to zero where that is called pruning."""


def kinds(before: TensorInfo, after: TensorInfo, difference: Difference, evidence: Evidence | None) -> tuple[Kind, ...]:
    """What one reading proves."""
    found = list(_damage(difference))
    if not difference.changed:
        return tuple(found)
    evidence = evidence or Evidence()
    for each in (
        _rounded(before, after, evidence),
        _masked(difference, evidence),
        _scaled(difference, evidence),
        _few_values(after, evidence),
    ):
        if each is not None:
            return (each, *found)
    return tuple(found)


def _damage(difference: Difference) -> "list[Kind]":
    """Numbers that became none."""
    nans, infinities = difference.nans, difference.infinities
    if not nans and not infinities:
        return []
    named = [f"{count:,} {name}" for count, name in ((nans, "NaN"), (infinities, "infinite")) if count]
    rest = difference.changed - nans - infinities
    others = f"{rest:,} others changed" if rest else "the rest equal"
    text = f"damaged: {' and '.join(named)} that were numbers, {others}"
    return [Kind("damaged", text, {"nans": nans, "infinities": infinities, "others": rest})]


def _rounded(before: TensorInfo, after: TensorInfo, evidence: Evidence) -> Kind | None:
    """The widest of the types that it was rounded to: what is rounded to bfloat16 fits it, whatever came before."""
    if not evidence.rounded or after.numel < 2:
        return None
    name = max(evidence.rounded, key=("float8_e5m2", "float8_e4m3fn", "bfloat16", "float16", "float32").index)
    how = "" if after.dtype.name == name else f", kept as {after.dtype.short}"
    return Kind("rounded", f"each {before.dtype.short} rounded to {_short(name)}{how}", {"dtype": name})


def _short(name: str) -> str:
    from statedict.dtypes import DTYPES

    return DTYPES[name].short


def _masked(difference: Difference, evidence: Evidence) -> Kind | None:
    """Elements that became zero or changed their sign, and nothing else."""
    count = difference.count
    if evidence.flipped and evidence.flipped == difference.changed and count >= _LEAST:
        if evidence.scale is not None and evidence.scale.high < 0:
            return Kind("signs flipped", "every sign flipped: b = -a", {"flipped": evidence.flipped})
        text = f"{evidence.flipped:,} signs flipped, the rest equal"
        return Kind("signs flipped", text, {"flipped": evidence.flipped})
    if evidence.zeroed and evidence.zeroed == difference.changed and count >= _LEAST:
        sparsity = evidence.zeros / count
        if evidence.zeroed < _LEAST_SHARE * count:
            return None
        text = f"pruned: {evidence.zeroed / count:.1%} set to zero, the rest equal; {sparsity:.1%} zeros now"
        return Kind("pruned", text, {"zeroed": evidence.zeroed, "sparsity": sparsity})
    return None


def _scaled(difference: Difference, evidence: Evidence) -> Kind | None:
    """A factor that explains every element to the last bit, or nearly all of the difference."""
    scale, most_changed = evidence.scale, difference.changed >= difference.count / 2
    if scale is not None and scale.is_proved and scale.low * scale.high > 0 and most_changed:
        return _exactly(scale)
    if not difference.before or difference.count < _LEAST or difference.finite + difference.same < difference.count:
        return None
    factor = difference.product / difference.before
    left = max(0.0, difference.after - difference.product * factor)
    if factor <= 0 or not left < _ALMOST**2 * difference.squares or not most_changed:
        return None
    residual = (left / difference.after) ** 0.5 if difference.after else 0.0
    text = f"scaled by {factor:.6g}, but for a residual of {residual:.2g} of its norm"
    return Kind("scaled", text, {"factor": factor, "residual": residual})


def _exactly(scale: Scale) -> Kind:
    factor = scale.factor
    return Kind(
        "scaled", f"scaled by {factor:g}, each element exact to its last bit", {"factor": factor, "residual": 0.0}
    )


def _few_values(after: TensorInfo, evidence: Evidence) -> Kind | None:
    """Values of which there are few: in all, or in each group."""
    if evidence.levels is not None and after.numel >= 4 * len(evidence.levels) and after.numel >= _LEAST:
        count = len(evidence.levels)
        return Kind("quantised", f"quantised: {count} different values in all", {"levels": count})
    columns = after.shape[-1] if after.shape else 0
    if sizes := [size for size in evidence.groups if columns % size == 0]:
        size = max(sizes)
        text = f"quantised: at most 16 different values in each {size} elements"
        return Kind("quantised", text, {"levels": 16, "group": size})
    return None
