"""`check`: what may be wrong with a checkpoint, part by part."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from statedict.dtypes import DType, dtype
from statedict.ops.check.finding import Report
from statedict.ops.check.numbers import CHECKS, check_numbers
from statedict.ops.patterns import suggestion
from statedict.ops.select import selected
from statedict.tree.module import Module

if TYPE_CHECKING:
    from statedict.opening import Checkpoint


def check(
    x: "Module | Checkpoint",
    /,
    *patterns: str,
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    if_cast: DType | str | None = None,
    **how: Any,
) -> Report:
    """What may be wrong with the numbers of a model, or of the checkpoint at a path; the worst first.

    Each finding says where, what, how bad ("note", "warning", "error") and what to do. Every tensor is read once, by
    `threads` or on an `executor`; `progress` is told, as in `stats`. `patterns` choose tensors. `only` and `skip` are
    names of checks: docs/commands/check.md has the table. `if_cast` asks what another element type would lose.

    Raises ValueError for a name that is no check, for `overflow` without `if_cast`, and for a type that is not floating
    point; PatternError as `select` does, and what opening and reading raise.
    """
    checks = _chosen(tuple(only), tuple(skip), if_cast)
    target = dtype(if_cast) if isinstance(if_cast, str) else if_cast
    if target is not None and (not target.is_floating_point or target.bits < 8):
        raise ValueError(f"`{target}` is no floating-point type of at least 8 bits; expected one such as `f16`")
    if isinstance(x, Module):
        model = x
    else:
        from statedict.opening import open

        model = open(x)
    return check_numbers(model, selected(model, patterns), checks, target, **how)


def _chosen(only: tuple[str, ...], skip: tuple[str, ...], if_cast: object) -> tuple[str, ...]:
    for name in (*only, *skip):
        if name not in CHECKS:
            raise ValueError(f"`{name}` is no check{suggestion(name, CHECKS)}; there are {', '.join(CHECKS)}")
    if "overflow" in only and if_cast is None:
        raise ValueError("`overflow` asks what a cast would lose: name the type with `if_cast` (`--if-cast f16`)")
    left_out = skip if if_cast is not None else (*skip, "overflow")
    return tuple(name for name in CHECKS if (not only or name in only) and name not in left_out)
