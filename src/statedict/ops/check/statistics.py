"""Numbers that cannot be: negative variances and counts of batch norms, negative second moments of optimizers."""

from collections.abc import Iterator, Sequence

from statedict.ops.check.figures import Figures
from statedict.ops.check.finding import Finding

_VARIANCES = ("running_var", "moving_variance", "moving_var")
_COUNTS = ("num_batches_tracked", "num_batches")
_MOMENTS = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "exp_avg_sq_row", "exp_avg_sq_col")
"""What Adam and its relatives, RMSprop, Adadelta and Adafactor call means of squares."""
_NEVER_NEGATIVE = {
    **dict.fromkeys(_VARIANCES, "a variance"),
    **dict.fromkeys(_COUNTS, "a count of batches"),
    **dict.fromkeys(_MOMENTS, "a mean of squares"),
}


def impossible(each: Figures) -> Iterator[Finding]:
    """What is negative and cannot be."""
    least, what = each.summary.min, _NEVER_NEGATIVE.get(each.local)
    if what is not None and least is not None and least < 0:
        yield Finding(
            "impossible",
            each.name,
            "error",
            f"it is {what}, which cannot be negative: the least is {least:g}",
            "its bytes are damaged, or belong to another tensor: fetch or save the checkpoint again",
            {"min": least},
        )


def untrained(tensors: Sequence[Figures]) -> Iterator[Finding]:
    """Batch norms whose mean is still 0 everywhere, and whose variance is still 1."""
    means = {each.name.rpartition(".")[0] for each in tensors if each.local == "running_mean" and _is_all(each, 0)}
    for each in tensors:
        module = each.name.rpartition(".")[0]
        if each.local == "running_var" and module in means and _is_all(each, 1):
            yield Finding(
                "untrained",
                module,
                "note",
                f"its mean and variance are the 0 and 1 that it began with, in all {each.summary.count:,} channels",
                "a batch norm that has seen no batch: call `train()` before training, or load what was trained",
                {"channels": each.summary.count},
            )


def _is_all(each: Figures, value: float) -> bool:
    return each.summary.count > 0 and each.summary.min == each.summary.max == value and not each.summary.nans
