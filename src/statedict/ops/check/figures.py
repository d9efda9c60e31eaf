"""The one pass over a model's numbers that all numeric checks are told from: `Figures` of each tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from statedict import engine
from statedict.dtypes import DType
from statedict.errors import MissingExtraError
from statedict.index import TensorInfo
from statedict.narrow import is_tuple
from statedict.ops.select import NamedTensor
from statedict.ops.stats import is_of_numbers
from statedict.summarizing import SUMMARIZE

if TYPE_CHECKING:
    from statedict.alike import Alike
    from statedict.kernels import Lost
    from statedict.moments import Summary
    from statedict.structure import Structure


_MOST_REPEATED = 1 << 28
"""Bytes that tensors may have, all together, beyond those that they lie in: elements that they repeat."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of one tensor, and of its numbers."""

    entry: NamedTensor
    """Under its first name."""
    summary: "Summary"
    structure: "Structure | None" = None
    """Of matrices and convolutions' kernels: where zeros are."""
    alike: "Alike | None" = None
    """Rows that begin alike, of the same ones."""
    lost: "Lost | None" = None
    """What a cast would lose, where that was asked for."""

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def local(self) -> str:
        """The last part of its name."""
        return self.entry.name.rpartition(".")[2]

    @property
    def info(self) -> TensorInfo:
        return self.entry.info

    @property
    def ndim(self) -> int:
        return len(self.info.shape or ())

    @property
    def is_weight(self) -> bool:
        """Whether it is a parameter of at least two dimensions, and no bias: what is multiplied with."""
        return self.entry.role == "parameter" and self.ndim > 1 and "bias" not in self.local

    @property
    def is_mask(self) -> bool:
        """Whether it holds nothing but 0 and -inf, which is added to what is to be hidden."""
        found = self.summary
        return bool(found.negative_infinities) and not found.positive_infinities and found.largest == 0

    @property
    def is_of_numbers(self) -> bool:
        """Whether its elements are floating-point or complex numbers."""
        return is_of_numbers(self.info.dtype)


def figures(entries: Sequence[NamedTensor], target: DType | None, **how: Any) -> tuple[list[Figures], dict[str, str]]:
    """The figures of each tensor, once, in the order of the tree; and those without plain values, with the reason.

    `target` is the element type that a cast to would be made; `how` is what `engine.run` takes.
    """
    jobs: list[engine.Job[Any]] = []
    known: list[NamedTensor] = []
    skipped: dict[str, str] = {}
    first: dict[int, NamedTensor] = {}
    for entry in entries:
        first.setdefault(id(entry.tensor), entry)
    room = _MOST_REPEATED
    for entry in first.values():
        if (repeated := _repeated(entry.info)) > room:
            skipped[entry.name] = f"it repeats its elements, {repeated:,} bytes of them, and is not looked at"
            continue
        room -= repeated
        try:
            jobs.append(_job(entry, target))
            known.append(entry)
        except (TypeError, ValueError, MissingExtraError) as error:
            skipped[entry.name] = str(error)
    found = engine.run(jobs, **how)
    return [_figures(entry, values) for entry, values in zip(known, found, strict=True)], skipped


def _repeated(info: TensorInfo) -> int:
    """The bytes that a tensor has beyond those that it lies in."""
    return 0 if info.extent is None else max(0, info.nbytes - info.extent.size)


def _job(entry: NamedTensor, target: DType | None) -> engine.Job[Any]:
    """All that one reading of a tensor tells. Raises as `engine.row` does for one without values."""
    from statedict import alike, kernels, structure
    from statedict.moments import Summary

    info = entry.info
    flat = engine.row(engine.in_any_order(info))
    where = structure.layout(info, entry.owner.kind) if _is_looked_into(entry) else None
    if where is None:
        jobs: list[engine.Job[Any]] = [engine.Job(flat, SUMMARIZE, Summary.merge)]
    else:
        rows = alike.looking(info, entry.owner.kind)
        jobs = [structure.finding(info, where), *([] if rows is None else [rows])]
    if target is not None and (flat.dtype.is_floating_point or flat.dtype.block_bytes):
        jobs.append(engine.Job(flat, partial(kernels.lost, target=target), kernels.Lost.merge))
    return engine.together(jobs)


def _is_looked_into(entry: NamedTensor) -> bool:
    """Whether zeros may tell something: in trained weights, of which no optimizer's state and no buffer is one."""
    return entry.role == "parameter" and (entry.info.dtype.is_floating_point or bool(entry.info.dtype.block_bytes))


def _figures(entry: NamedTensor, values: tuple[Any, ...] | None) -> Figures:
    from statedict.alike import Alike
    from statedict.kernels import Lost
    from statedict.moments import EMPTY, Summary
    from statedict.structure import Structure

    found: dict[type, Any] = {type(each): each for value in values or () for each in _each(value)}
    return Figures(entry, found.get(Summary, EMPTY), found.get(Structure), found.get(Alike), found.get(Lost))


def _each(value: Any) -> tuple[Any, ...]:
    return value if is_tuple(value) else (value,)
