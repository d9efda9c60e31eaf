"""`ls`: tensors as a table, and as CSV."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from statedict.index import EMPTY
from statedict.ops.select import NamedTensor
from statedict.views import numbers
from statedict.views.lines import Line, escaped, name_text
from statedict.views.table import NARROW, WIDE, Column, plain_table, table

A = TypeVar("A", bound=Hashable)
CSV_FIELDS = ("name", "dtype", "shape", "numel", "nbytes", "role", "requires_grad", "tied_to")


def listing(
    entries: Sequence[NamedTensor],
    first_names: Mapping[int, str],
    width: int | None = None,
    optimized: Mapping[str, str] = EMPTY,
) -> list[Line]:
    """The table of `entries`, each line cut to `width` columns (None: never).

    `optimized` names the parameters that an optimizer's tensors belong to.
    """
    count = numbers.exact if width is None or width >= WIDE else numbers.brief
    columns = _columns(entries, first_names, optimized, count)
    narrow = width is not None and width < NARROW
    return table([columns[0], columns[2], columns[1]] if narrow else columns, width)


def plain_listing(
    entries: Sequence[NamedTensor], first_names: Mapping[int, str], optimized: Mapping[str, str] = EMPTY
) -> str:
    """The table of `entries` as text, uncut and without styles."""
    return plain_table(_columns(entries, first_names, optimized, numbers.exact))


def _columns(
    entries: Sequence[NamedTensor],
    first_names: Mapping[int, str],
    optimized: Mapping[str, str],
    count: Callable[[int], str],
) -> list[Column]:
    infos = [entry.tensor.info for entry in entries]
    return [
        Column("name", [name_text(entry.name) for entry in entries], "name", shrinks=True),
        Column("dtype", _texts(lambda dtype: dtype.short, (info.dtype for info in infos)), "dtype"),
        Column("shape", _texts(numbers.shape, (info.shape for info in infos)), "shape"),
        Column("values", _texts(count, (info.numel for info in infos)), "number", to_right=True),
        Column("bytes", _texts(numbers.size, (info.nbytes for info in infos)), to_right=True),
        Column("role", _roles(entries, first_names, optimized), "dim"),
    ]


def comma_separated(entries: Iterable[NamedTensor], first_names: Mapping[int, str]) -> str:
    """`entries` as CSV (RFC 4180) below a line of `CSV_FIELDS`; shapes as JSON lists, what does not print escaped."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    for entry in entries:
        name, tensor, _, role = entry
        first = first_names[id(tensor)]
        tied = "" if first == name else escaped(first)
        grad = str(tensor.requires_grad).lower()
        sizes = "" if tensor.shape is None else numbers.shape(tensor.shape)
        row = (escaped(name), tensor.dtype.name, sizes, tensor.numel(), tensor.nbytes, role, grad, tied)
        writer.writerow(row)
    return out.getvalue()


def _texts(function: Callable[[A], str], arguments: Iterable[A]) -> list[str]:
    """`function` of each argument, computed once for equal ones: thousands of tensors have few shapes."""
    known: dict[A, str] = {}
    texts: list[str] = []
    for argument in arguments:
        text = known.get(argument)
        if text is None:
            text = known[argument] = function(argument)
        texts.append(text)
    return texts


def _roles(entries: Iterable[NamedTensor], first_names: Mapping[int, str], optimized: Mapping[str, str]) -> list[str]:
    texts: list[str] = []
    for name, tensor, _, role in entries:
        first = first_names[id(tensor)]
        text = f"{role} of {escaped(optimized[name])}" if name in optimized else role
        texts.append(text if first == name else f"{text} = {escaped(first)}")
    return texts
