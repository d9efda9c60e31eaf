"""How much is pruned: shares and counts, exactly, and the cubic schedule of gradual pruning."""

from statedict.errors import StatedictError

Amount = float | int
"""A share from 0 to 1, or a whole number: so many."""


def checked(amount: Amount) -> Amount:
    """The amount itself. Raises StatedictError where it is neither a share nor a count."""
    if isinstance(amount, float) and 0.0 <= amount <= 1.0:
        return amount
    if isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0:
        return amount
    raise StatedictError(
        f"`amount` is {amount!r}; expected a share from 0.0 to 1.0, or a whole number of values to prune"
    )


def counted(amount: Amount, total: int) -> int:
    """How many of `total` an amount is: a share is rounded, half to even, as `torch.nn.utils.prune` rounds it.

    Raises StatedictError for a whole number above `total`.
    """
    checked(amount)
    if isinstance(amount, int):
        if amount > total:
            raise StatedictError(f"`amount` is {amount:,}, but there are {total:,} to prune; 1.0 is all of them")
        return amount
    return round(amount * total)


def cubic(step: int, steps: int, initial: float, final: float) -> float:
    """The share that is pruned after `step` of `steps`: fast at first, slow at the end.

    Zhu and Gupta 2017, "To prune, or not to prune", equation 1: s = f + (i - f) (1 - t / n)^3.
    """
    left = 1.0 - min(max(step, 0), steps) / steps
    return final + (initial - final) * left**3
