"""`Diff`: what `diff` has found, in small typed values."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, Literal, NamedTuple

from statedict.difference import NONE, Difference
from statedict.displaying import Displayed
from statedict.index import TensorInfo

Structure = Literal["added", "removed", "renamed", "reshaped", "recast", "retied"]
Status = Literal["same bytes", "equal bits", "equal values", "close", "different", "unlike", "not compared"]
_EQUAL = ("same bytes", "equal bits", "equal values", "close")
_LONGEST = 200


class Kind(NamedTuple):
    """What kind of change it is, which the numbers prove."""

    name: str
    """"rounded", "scaled", "low rank", "pruned", "quantised", "permuted", "signs flipped" or "damaged"."""
    text: str
    """The same with its evidence, for a person."""
    figures: Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Row:
    """One name of one tensor: what it is on either side, and what is known of how its values changed."""

    name: str
    """Its full name in the first checkpoint; of an added one, in the second."""
    new_name: str
    """Its full name in the second; of a removed one, in the first."""
    before: TensorInfo | None
    after: TensorInfo | None
    structure: tuple[Structure, ...] = ()
    """What is otherwise by the headers alone."""
    status: Status = "not compared"
    """How the values stand to each other. "equal bits" is said of bytes that were compared, "same bytes" of what
    is one place of one file, "equal values" where bits or types differ, "unlike" of shapes that cannot be compared."""
    values: Difference | None = None
    """The figures, where values were read."""
    kinds: tuple[Kind, ...] = ()
    note: str = ""
    """Why values were not compared, or which of them were."""

    @property
    def is_same(self) -> bool:
        """Whether nothing is otherwise, as far as was asked."""
        return not self.structure and (self.status in _EQUAL or (self.status == "not compared" and not self.note))

    @property
    def has_changed_values(self) -> bool:
        return self.status in ("different", "unlike")

    def fields(self) -> dict[str, Any]:
        """All of it as plain values."""
        found: dict[str, Any] = {"name": self.name, "status": self.status}
        found |= {"new_name": self.new_name} if self.new_name != self.name else {}
        found |= {"structure": list(self.structure)} if self.structure else {}
        for side, info in (("before", self.before), ("after", self.after)):
            if info is not None:
                found[side] = {"dtype": info.dtype.name, "shape": None if info.shape is None else list(info.shape)}
        found |= {} if self.values is None else figures(self.values)
        if self.kinds:
            found["kinds"] = [{"kind": kind.name, "text": kind.text, **kind.figures} for kind in self.kinds]
        return found | ({"note": self.note} if self.note else {})


class Described(NamedTuple):
    """One thing that is said of a module or of the whole, and is otherwise; None where nothing is said."""

    name: str
    """The full name of the module and of its attribute; "metadata.format" and the like of the whole."""
    before: Any
    after: Any


@dataclass(frozen=True)
class Diff(Displayed):
    """What `diff` has found. It is true where anything is otherwise."""

    rows: tuple[Row, ...]
    """Every name of every tensor of both, in the first's order, what only the second has where it stands there."""
    described: tuple[Described, ...] = ()
    """Kinds and attributes of modules, metadata and configuration that are otherwise."""
    names_only: bool = False
    """Whether nothing was read but headers."""

    @cached_property
    def changes(self) -> tuple[Row, ...]:
        """The rows that are otherwise."""
        return tuple(row for row in self.rows if not row.is_same)

    @property
    def same(self) -> bool:
        """Whether nothing is otherwise, by what was asked: names, shapes and types alone with `names_only`."""
        return not self.changes and not self.described

    def __bool__(self) -> bool:
        return not self.same

    def count(self, structure: Structure) -> int:
        """How many names changed so."""
        return sum(structure in row.structure for row in self.rows)

    @cached_property
    def total(self) -> Difference:
        """How far all values that were compared lie apart, those of tied tensors counted once."""
        return merged(self.rows)

    def to_json(self) -> str:
        """All that differs as one JSON object."""
        described = [
            {"name": each.name, "before": _plain(each.before), "after": _plain(each.after)} for each in self.described
        ]
        return json.dumps(
            {**self.head(), "described": described, "tensors": [row.fields() for row in self.changes]},
            allow_nan=False,
            indent=2,
        )

    def head(self) -> dict[str, Any]:
        """What there is to say of all together, as plain values."""
        structures: tuple[Structure, ...] = ("added", "removed", "renamed", "reshaped", "recast", "retied")
        statuses = {row.status: 0 for row in self.rows}
        for row in self.rows:
            statuses[row.status] += 1
        head: dict[str, Any] = {"same": self.same, "names_only": self.names_only, "names": len(self.rows)}
        head |= {name: count for name in structures if (count := self.count(name))}
        return head | {"values": statuses} | ({"total": figures(self.total)} if self.total.count else {})


def merged(rows: Iterable[Row]) -> Difference:
    """What lies between all values of some rows, each tensor once."""
    once = {id(row.values): row.values for row in rows if row.values is not None}
    return reduce(Difference.merge, once.values(), NONE)


def figures(values: Difference) -> dict[str, Any]:
    """The figures of a difference as JSON has them: NaN and infinities are texts, what has no meaning is left out."""
    found: dict[str, Any] = {"compared": values.count, "changed": values.changed}
    if values.changed:
        measured = {"max": values.max, "mean": values.mean, "relative_l2": values.relative, "cosine": values.cosine}
        found |= {name: _plain(value) for name, value in {**measured, "sqnr_db": values.snr}.items()}
    named = {"nans": values.nans, "infinities": values.infinities, "mended": values.mended, "beyond": values.beyond}
    return found | {name: count for name, count in named.items() if count}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)[:_LONGEST]
