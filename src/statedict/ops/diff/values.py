"""How far the values of paired tensors lie apart: each read once, both together, a stretch at a time."""

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from statedict import engine
from statedict.difference import NONE, Difference
from statedict.dtypes import DTYPES
from statedict.errors import MissingExtraError
from statedict.expressions.nodes import run
from statedict.index import PLAIN, TensorInfo
from statedict.moments import Summary
from statedict.ops.diff.looking import ANY, Look, Looking, Tolerance
from statedict.ops.diff.pairs import place
from statedict.summarizing import SUMMARIZE
from statedict.tree.layouts import quantized_codes

if TYPE_CHECKING:
    from statedict.ops.diff.evidence import Evidence


class Compared(NamedTuple):
    """What the values of two tensors told."""

    difference: Difference | None = None
    """None where nothing was read."""
    evidence: "Evidence | None" = None
    same_place: bool = False
    """Whether both are the same bytes of the same file."""
    note: str = ""


class Sides(NamedTuple):
    """Two tensors that can be read element by element, as many of one as of the other."""

    first: TensorInfo
    second: TensorInfo
    note: str = ""
    encoded: tuple[TensorInfo, TensorInfo] | None = None
    """The tensors of blocks whose bytes these are, which are decoded only where they differ."""


def compared(
    pairs: Sequence[tuple[TensorInfo, TensorInfo]],
    tolerance: Tolerance,
    *,
    kinds: bool,
    executor: Executor | None,
    threads: int | None,
    progress: engine.Progress | None,
) -> list[Compared]:
    """What the values of each pair tell, or why they tell nothing."""
    found: list[Compared | None] = [_without_reading(*pair) for pair in pairs]
    sides: dict[int, Sides] = {}
    for at, pair in enumerate(pairs):
        if found[at] is None:
            try:
                sides[at] = readable(*pair)
            except (TypeError, ValueError, MissingExtraError) as error:
                found[at] = Compared(note=str(error))
    running = partial(engine.run, executor=executor, threads=threads)
    _read(sides, found, tolerance, kinds=kinds, run=partial(running, progress=progress))
    _decode(sides, found, tolerance, run=running)
    _with_norms(sides, found, running)
    return [Compared() if each is None else each for each in found]


def _without_reading(first: TensorInfo, second: TensorInfo) -> Compared | None:
    """What is known before anything is read: of one place of one file, and of tensors without elements."""
    if (where := place(first)) is not None and where == place(second):
        return Compared(same_place=True)
    if not first.numel and not second.numel and first.shape is not None and second.shape is not None:
        return Compared(NONE)
    return None


def readable(first: TensorInfo, second: TensorInfo) -> Sides:
    """Both as rows of as many elements. Raises TypeError or ValueError that says why there is no such thing."""
    if first.dtype.block_bytes and first.dtype is second.dtype and first.shape == second.shape and first.extent:
        return Sides(_raw(first), _raw(second), encoded=(first, second))
    if first.dtype.quantized and first.dtype is second.dtype and not first.dtype.block_bytes:
        _require_same_quantizer(first, second)
        first, second = quantized_codes(first), quantized_codes(second)
    if first.stride is not None and first.stride == second.stride and first.shape == second.shape:
        first, second = engine.in_any_order(first), engine.in_any_order(second)
    old, new = engine.row(first), engine.row(second)
    if old.numel == new.numel:
        return Sides(old, new, "" if first.shape == second.shape else "compared element by element, in order")
    if first.shape and second.shape and first.shape[1:] == second.shape[1:]:
        rows = min(first.shape[0], second.shape[0])
        numel = rows * (old.numel // first.shape[0] if first.shape[0] else 0)
        which = f"the first {rows:,} rows were compared" if first.shape[1:] else f"the first {rows:,} were compared"
        return Sides(run(old, 0, numel), run(new, 0, numel), which)
    raise ValueError("the shapes have nothing in common")


def _raw(info: TensorInfo) -> TensorInfo:
    """The bytes of a tensor of blocks."""
    return info._replace(dtype=DTYPES["uint8"], shape=(info.dtype.nbytes(info.numel),), stride=None, encoding=PLAIN)


def _require_same_quantizer(first: TensorInfo, second: TensorInfo) -> None:
    old, new = first.encoding.attributes, second.encoding.attributes
    for key in dict.fromkeys([*old, *new]):
        if not isinstance(old.get(key), TensorInfo) and old.get(key) != new.get(key):
            raise ValueError(f"`{key}` of the quantiser was {old.get(key)} and is {new.get(key)}")


def _read(
    sides: dict[int, Sides], found: list[Compared | None], tolerance: Tolerance, *, kinds: bool, run: Any
) -> None:
    """Read all, and write down what each tells."""
    jobs: list[engine.Job[Look]] = []
    for each in sides.values():
        encoded = each.encoded is not None
        kernel = Looking(ANY if encoded else tolerance, kinds=kinds and not encoded)
        jobs.append(engine.Job(each.first, kernel, Look.merge, None, each.second))
    for at, look in zip(sides, run(jobs), strict=True):
        found[at] = _compared(look, sides[at])


def _compared(look: Look | None, sides: Sides) -> Compared:
    if look is None:
        return Compared(NONE, note=sides.note)
    if sides.encoded is not None and look.difference.same_bits:
        numel = sides.encoded[0].numel
        return Compared(Difference(count=numel, same=numel))
    return Compared(look.difference, look.evidence, note=sides.note)


def _decode(sides: dict[int, Sides], found: list[Compared | None], tolerance: Tolerance, *, run: Any) -> None:
    """The values of blocks of which the bytes differ."""
    jobs: dict[int, engine.Job[Look]] = {}
    for at, each in sides.items():
        known = found[at]
        if each.encoded is None or known is None or known.difference is None or known.difference.same_bits:
            continue
        try:
            first, second = (engine.row(info) for info in each.encoded)
            if first.extent is not None and first.numel:
                first.extent.source.read_at(first.extent.offset, 4)  # which fails for blocks that no library decodes
            jobs[at] = engine.Job(first, Looking(tolerance, kinds=False), Look.merge, None, second)
        except (TypeError, MissingExtraError) as error:
            found[at] = Compared(None, note=f"the blocks differ; {error}")
    for at, look in zip(jobs, run(list(jobs.values())), strict=True):
        found[at] = Compared(look.difference, look.evidence)


def _with_norms(sides: dict[int, Sides], found: list[Compared | None], run: Any) -> None:
    """Add the squares of what stayed the same in tensors that changed in part: these are read once more."""
    jobs: dict[int, engine.Job[Any]] = {}
    for at, each in sides.items():
        known = found[at]
        if known is not None and known.difference is not None:
            difference = known.difference
            if 0 < difference.same < difference.count and difference.squares:
                first = each.first if each.encoded is None else engine.row(each.encoded[0])
                jobs[at] = engine.Job(first, SUMMARIZE, Summary.merge)
    for at, summary in zip(jobs, run(list(jobs.values())), strict=True):
        known = found[at]
        if known is not None and known.difference is not None:
            found[at] = known._replace(difference=known.difference.with_squares(summary.squares))
