"""What one tensor's figures say of it: NaN, infinities, nothing but one number, denormals, what a cast would lose."""

import re
from collections.abc import Iterator

from statedict.ops.check.figures import Figures
from statedict.ops.check.finding import Finding, Severity

_FEWEST = 8
"""Elements of a tensor whose sameness says something."""
_MANY_DENORMALS = 0.01
_MOSTLY_DENORMALS = 0.5
_BEGINS_SO = re.compile(
    r"lora_B|lora_embedding_B|zero_convs?|token|position|pos_emb|time_emb|quer(y|ies)$|latents|A_log"
)
"""In names of parameters that begin as zeros, or as one number, or stay so by intention."""
_DIVERGED = "go back to a checkpoint from before training diverged, and lower the learning rate or the loss scale"


def nan(each: Figures) -> Iterator[Finding]:
    """Elements that are no numbers."""
    if each.summary.nans:
        yield _counted(each, "nan", "error", each.summary.nans, "are NaN", _DIVERGED)


def infinite(each: Figures) -> Iterator[Finding]:
    """Infinite elements. Masks have -inf on purpose, and so do other buffers."""
    found = each.summary
    on_purpose = each.is_mask or (each.entry.role == "buffer" and not found.positive_infinities)
    if found.infinities and not on_purpose:
        advice = f"the numbers did not fit into {each.info.dtype.short}: save them anew from f32 or bf16"
        yield _counted(each, "infinite", "error", found.infinities, "are infinite", advice)


def zeros(each: Figures) -> Iterator[Finding]:
    """Weights, and scales of norms, of nothing but zeros. Some norms scale by 1 more than is written."""
    found = each.summary
    is_norm = each.entry.role == "parameter" and each.local == "weight" and "Norm" in (each.entry.owner.kind or "")
    if not (each.is_weight or is_norm) or not found.count or found.zeros < found.count:
        return
    expected = is_norm or begins_so(each)
    yield Finding(
        "zeros",
        each.name,
        "note" if expected else "warning",
        f"it holds nothing but zeros ({found.count:,})",
        "it is as it may begin: see that it has been trained"
        if expected
        else "it was never trained or never saved: compare with the checkpoint that it comes from",
        {"numel": found.count},
    )


def constant(each: Figures) -> Iterator[Finding]:
    """Weights in which every element is the same number other than zero."""
    found = each.summary
    same = found.min is not None and found.min == found.max and found.min != 0
    if each.is_weight and same and found.finite == found.count >= _FEWEST and 1 not in (each.info.shape or ())[:2]:
        yield Finding(
            "constant",
            each.name,
            "note" if begins_so(each) else "warning",
            f"it holds the same number {found.count:,} times: {found.min:g}",
            "its outputs cannot differ: initialise it with random numbers, or load what was trained",
            {"numel": found.count, "value": found.min},
        )


def begins_so(each: Figures) -> bool:
    """Whether models have parameters of that name that begin as zeros, or with equal rows."""
    return _BEGINS_SO.search(each.name) is not None


def denormals(each: Figures) -> Iterator[Finding]:
    """Many numbers so small that their type holds them with fewer digits, and some processors slowly."""
    found, kind = each.summary, each.info.dtype
    if each.entry.role == "optimizer" or kind.bits < 16 or found.count < _FEWEST:
        return
    share = found.denormals / found.count
    if share >= _MANY_DENORMALS:
        mostly = share >= _MOSTLY_DENORMALS and kind.name != "float16"
        yield Finding(
            "denormals",
            each.name,
            "warning" if mostly else "note",
            f"{share:.1%} of it are denormal numbers ({found.denormals:,} of {found.count:,})",
            "were its bytes ever numbers of this type?" if mostly else "set them to zero, or keep them in a wider type",
            {"denormals": found.denormals, "numel": found.count},
        )


def overflow(each: Figures) -> Iterator[Finding]:
    """What a cast, which was asked about, would lose."""
    found, total = each.lost, each.summary.count
    if found is None:
        return
    if found.overflowed:
        advice = "cast to a type that reaches farther, as bf16 does; or keep this tensor as it is"
        what = "would overflow in the cast"
        yield _counted(each, "overflow", "warning", found.overflowed, what, advice, largest=each.summary.largest)
    if found.vanished >= _MANY_DENORMALS * max(total, 1):
        advice = "keep this tensor as it is, or cast to bf16"
        yield _counted(each, "overflow", "note", found.vanished, "would be zero after the cast", advice)


def _counted(
    each: Figures, check: str, severity: Severity, count: int, what: str, advice: str, **evidence: float
) -> Finding:
    """A finding about so many of a tensor's elements."""
    total = each.summary.count
    said = f"{count:,} of {total:,} elements {what}" if total > 1 else f"its only element {what.replace('are', 'is')}"
    return Finding(check, each.name, severity, said, advice, {"count": count, "numel": total, **evidence})
