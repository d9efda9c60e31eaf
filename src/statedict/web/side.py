"""`Side`: one checkpoint that a page looks at, and what is answered about each of its tensors and modules."""

import json
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from statedict.engine import Progress
from statedict.errors import MissingExtraError, PatternError
from statedict.index import EMPTY
from statedict.ops.find import first_values
from statedict.ops.optimizer import optimizer_parameters
from statedict.ops.select import NamedTensor, named_modules
from statedict.ops.sizes import sizes
from statedict.source import Source
from statedict.tree.module import Module
from statedict.tree.tensor import Tensor
from statedict.views import details
from statedict.views.documents import plain
from statedict.views.page import NamedModule, Page, figure_columns, head_fields, page

BINS = 64
_SINGULAR_VALUES = 128
_MOST_FILTERS = 256
_MOST_ROW = 1 << 16
"""Elements of a row that are sent."""


@dataclass
class Side:
    """One opened checkpoint. Nothing is read before it is asked for."""

    file: str
    """What the command line calls it."""
    format: str
    size: int
    """Bytes of its file or files."""
    source: Source
    model: Module

    _making: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _page: Page | None = field(default=None, repr=False)
    _encoded: bytes = field(default=b"", repr=False)

    @property
    def page(self) -> Page:
        """Its tree as columns, made once, whoever asks first."""
        with self._making:
            if self._page is None:
                self._page = page(self.model)
            return self._page

    def encoded(self) -> bytes:
        """What `fields` returns, as JSON."""
        made = self.page
        with self._making:
            if not self._encoded:
                self._encoded = json.dumps(self._fields(made), allow_nan=False, separators=(",", ":")).encode()
            return self._encoded

    def fields(self) -> dict[str, Any]:
        """All that the page needs before anything is looked at."""
        return self._fields(self.page)

    def _fields(self, made: Page) -> dict[str, Any]:
        head = head_fields(made, self.file, self.format, self.size, self.model.metadata)
        return {**head, "columns": made.columns()}

    def tensor(self, at: int) -> NamedTensor:
        """The tensor of that number. Raises PatternError where it is none."""
        member = self._member(at)
        if not isinstance(member, NamedTensor):
            raise PatternError(f"number {at} is a module, and no tensor")
        return member

    def facts(self, at: int) -> dict[str, Any]:
        """Everything that is known of a tensor or module without reading more than its first values."""
        member = self._member(at)
        return self._of_tensor(member) if isinstance(member, NamedTensor) else self._of_module(member)

    def _member(self, at: int) -> NamedTensor | NamedModule:
        members = self.page.members
        if not 0 <= at < len(members):
            raise PatternError(f"there is no number {at}; expected one from 0 to {len(members) - 1}")
        return members[at]

    def _of_tensor(self, entry: NamedTensor) -> dict[str, Any]:
        names = [other.name for _, other in self.page.tensors() if other.tensor is entry.tensor]
        optimized = optimizer_parameters(self.model) if entry.role == "optimizer" else EMPTY
        try:
            values: Sequence[Any] | str = first_values(entry.tensor)
        except (MissingExtraError, TypeError, ValueError) as error:
            values = f"not shown: {error}"
        return {"facts": details.tensor_facts(entry, names, values, self.source, optimized)}

    def _of_module(self, found: NamedModule) -> dict[str, Any]:
        name, module = found
        head = name + "." if name else ""
        inside = sizes(entry for _, entry in self.page.tensors() if entry.name.startswith(head))
        names = [path for path, other, _ in named_modules(self.model) if other is module and path != name]
        below = sum(1 for _ in module.modules()) - 1
        facts = details.module_facts(module, inside, names, below)
        attributes = details.attribute_facts(dict(module.attributes)) if module.attributes else []
        return {"facts": facts, "attributes": attributes[:200]}

    # What is read

    def statistics(self, at: int) -> dict[str, Any]:
        """The figures of one tensor, and how its numbers are spread: linear and by magnitude."""
        from statedict.ops.stats import stats
        from statedict.views.figures import figure_fields, figures_of

        found = stats(
            alone(self.tensor(at).tensor), counts=True, magnitudes=True, quantiles=(0.01, 0.25, 0.5, 0.75, 0.99)
        )
        if not found.tensors:
            return {"error": next(iter(found.skipped.values()), "it has no elements")}
        (each,) = found.tensors
        fields = figure_fields(figures_of(found, modules=False)[0])
        return {
            "figures": {key: fields[key] for key in fields if key not in ("name", "dtype", "shape", "role", "also")},
            **spread_fields(each),
        }

    def spectrum(self, at: int) -> dict[str, Any]:
        """The largest singular values of one tensor as a matrix."""
        from statedict.ops.spectrum import as_matrix, spectrum
        from statedict.ops.stats import stats

        entry = self.tensor(at)
        matrix = as_matrix(entry.tensor.info, entry.owner.kind)
        found = stats(alone(entry.tensor)).tensors
        if matrix is None or not found:
            return {"error": "it is no matrix"}
        summary = found[0].summary
        if summary.finite < summary.count:
            return {"error": "it has NaN or infinities, so it has no singular values"}
        of = spectrum(matrix, summary.l2, summary.largest, _SINGULAR_VALUES)
        return plain({
            "values": of.values,
            "exact": of.exact,
            "shape": matrix.shape,
            "norm": of.norm,
            "stable_rank": of.stable_rank,
            "effective_rank": of.effective_rank,
        })  # fmt: skip

    def row(self, at: int, index: int) -> dict[str, Any]:
        """The elements at one index of the first dimension, its norm with them."""
        import numpy as np

        tensor = self.tensor(at).tensor
        row = tensor[index]
        cut = row if row.ndim != 1 or row.numel() <= _MOST_ROW else row[:_MOST_ROW]
        with np.errstate(invalid="ignore", over="ignore"):
            values = np.abs(cut.numpy()) if row.is_complex() else cut.numpy()
            values = values.astype(np.float64).reshape(-1)[:_MOST_ROW]
            norm = float(np.sqrt(np.sum(values * values)))
        return plain(
            {
                "index": index,
                "values": [short(value) for value in values.tolist()],
                "norm": norm,
                "whole": len(values) == row.numel(),
            }
        )

    def filters(self, at: int, first: int, channel: int) -> dict[str, Any]:
        """Some filters of a convolution's kernel, as small pictures: of three channels in colour, else of one."""
        import numpy as np

        tensor = self.tensor(at).tensor
        shape = tensor.shape or ()
        if len(shape) != 4:
            raise PatternError(f"`{tensor.name}` has the shape {shape}; a kernel of filters has four dimensions")
        coloured = shape[1] == 3
        count = max(1, min(_MOST_FILTERS, _MOST_ROW // max(1, shape[2] * shape[3] * (3 if coloured else 1))))
        first = max(0, min(first, shape[0] - 1))
        chosen = tensor[first : first + count]
        with np.errstate(invalid="ignore", over="ignore"):
            values = (chosen if coloured else chosen[:, max(0, min(channel, shape[1] - 1))]).numpy()
            values = (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float64)
        flat = [short(value) for value in values.reshape(-1).tolist()]
        return {"first": first, "count": len(values), "coloured": coloured, "values": flat}

    def all_figures(self, progress: Progress) -> dict[str, Any]:
        """The figures of all tensors, as columns."""
        from statedict.ops.stats import stats

        found = stats(self.model, progress=progress)
        return figure_columns(self.page, dict(figure_rows(found)))


def figure_rows(found: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What `page.FIGURES` names of each tensor."""
    for each in found.tensors:
        of = each.summary
        real = of.min is not None
        mean = of.mean if real else None
        rms = math.sqrt(of.squares / of.finite) if of.finite else None
        row = (of.min, of.max, mean, of.std if real else None, rms, of.sparsity, of.nans, of.infinities)
        yield each.name, tuple(short(value) for value in row)


def spread_fields(each: Any, bins: int = BINS) -> dict[str, Any]:
    """The histogram of one tensor's numbers, and its magnitudes, without the decades at either end that none has."""
    counts, edges = each.histogram(bins)
    fields: dict[str, Any] = {"exact": each.info.dtype.bits <= 16}
    if counts:
        fields["histogram"] = {"counts": counts, "low": short(edges[0]), "high": short(edges[-1])}
    held = () if each.magnitudes is None else each.magnitudes.counts
    there = [at for at, count in enumerate(held) if count]
    if there:
        from statedict.distribution import LEAST

        first, last = there[0], there[-1] + 1
        fields["magnitudes"] = {"first": LEAST * 10 + first, "counts": list(held[first:last])}
    return fields


def alone(tensor: Tensor) -> Module:
    """A tree of one tensor."""
    module = Module()
    module.register_buffer("tensor", tensor)
    return module


def short(value: Any) -> Any:
    """A number in seven digits; what is not finite as text."""
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else str(value)
    return value
