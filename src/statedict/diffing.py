"""`diff`: what one checkpoint has otherwise than another, whatever form either comes in."""

from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from statedict import engine
from statedict.opening import Checkpoint, open
from statedict.ops.diff import diffing
from statedict.ops.diff.diffing import Asked
from statedict.ops.diff.result import Diff
from statedict.ops.diff.values import Tolerance
from statedict.tree.module import Module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


def diff(
    a: "Checkpoint | Module | nn.Module | Mapping[Any, Any]",
    b: "Checkpoint | Module | nn.Module | Mapping[Any, Any]",
    *patterns: str,
    names_only: bool = False,
    exact: bool = False,
    atol: float = 0.0,
    rtol: float = 0.0,
    kinds: bool = True,
    tensors_only: bool = False,
    executor: Executor | None = None,
    threads: int | None = None,
    progress: engine.Progress | None = None,
) -> Diff:
    """What `b` has otherwise than `a`: names, shapes, element types, ties, what modules say of themselves, and values.

    Either may be whatever `open` takes, or its result. Of names, those that fit one of `patterns`, if there are any.
    Names that only one side has are brought together where their tensors are the same, or where shape and the ends of
    the names agree. Values are the same if they are equal (NaN as NaN, 0 as -0); with `exact`, if their bits are; or if
    they are no farther apart than `atol` + `rtol` times b's. Both are read once, a few MiB at a time; of tensors that
    changed in part, what stayed the same is read again for its norm.

    With `kinds` it is said what kind of change the numbers prove: rounding, a scale, pruning, quantisation, flipped
    signs, NaN; of matrices a low rank and another order of rows, for which those are read again that look like it.
    `names_only` reads headers and no weights; `tensors_only` leaves out metadata, kinds and attributes of modules.

    Work is done by `threads`, or by an `executor`; the result is the same to the last bit. Raises PatternError for a
    pattern that fits nothing, ValueError for a tolerance below 0 or together with `exact`, and as `open` does.
    """
    if not (atol >= 0 and rtol >= 0):
        raise ValueError(f"a tolerance of {min(atol, rtol):g} is none: expected a number from 0 on")
    tolerance = Tolerance(atol, rtol)
    if exact and tolerance.is_given:
        raise ValueError("`exact` allows no tolerance: give one or the other")
    asked = Asked(names_only, exact, tolerance, kinds, tensors_only, executor, threads, progress)
    return diffing.diff(_opened(a), _opened(b), patterns, asked)


def _opened(checkpoint: Any) -> Module:
    return checkpoint if isinstance(checkpoint, Module) else open(checkpoint)
