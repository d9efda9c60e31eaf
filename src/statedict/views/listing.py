"""`ls`: tensors as a table, and as CSV."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from statedict.index import EMPTY
from statedict.tree.rows import Listed
from statedict.views import numbers
from statedict.views.lines import Line, escaped, name_text, plain
from statedict.views.table import NARROW, WIDE, Column, aligned, table

if TYPE_CHECKING:
    from statedict.ops.select import NamedTensor

A = TypeVar("A", bound=Hashable)
CSV_FIELDS = ("name", "dtype", "shape", "numel", "nbytes", "role", "requires_grad", "tied_to")


def listing(
    entries: Sequence[Listed],
    ties: Mapping[str, str],
    width: int | None = None,
    optimized: Mapping[str, str] = EMPTY,
) -> list[Line]:
    """The table of `entries`, each line cut to `width` columns (None: never).

    `ties` has the first name of a tensor of several by each of the others, as `rows.aliases` finds them; `optimized`
    the name of the parameter that an optimizer's tensor belongs to.
    """
    count = numbers.exact if width is None or width >= WIDE else numbers.brief
    facts = _facts(entries, _roles(entries, ties, optimized), count)
    narrow = width is not None and width < NARROW
    return table([_names(entries), *([facts[1], facts[0]] if narrow else facts)], width)


def plain_listing(entries: Sequence[Listed], ties: Mapping[str, str], optimized: Mapping[str, str] = EMPTY) -> str:
    """`plain(listing(...))`, uncut, of 60,000 tensors in a tenth of the time: most are alike but for their names."""
    roles = _roles(entries, ties, optimized)
    infos = [entry.info for entry in entries]
    looks = [(info.dtype, info.shape, info.encoding, role) for info, role in zip(infos, roles, strict=True)]
    examples = dict(zip(looks, entries, strict=True))
    facts = table(_facts(list(examples.values()), [role for *_, role in examples], numbers.exact))
    title, *endings = (f"  {line}\n" for line in plain(facts).removesuffix("\n").split("\n"))
    ending_of = dict(zip(examples, endings, strict=True))
    names = aligned(_names(entries))
    lines = zip(names.texts, map(ending_of.__getitem__, looks), strict=True)
    return "".join([names.title, title, *chain.from_iterable(lines)])


def _names(entries: Sequence[Listed]) -> Column:
    names = [entry.name for entry in entries]
    together = "".join(names)
    if not together.isprintable() or "\\" in together or " " in together or not all(names):
        names = [name_text(name) for name in names]
    return Column("name", names, "name", shrinks=True)


def _facts(entries: Sequence[Listed], roles: Sequence[str], count: Callable[[int], str]) -> list[Column]:
    """All columns but the names."""
    infos = [entry.info for entry in entries]
    return [
        Column("dtype", _texts(lambda dtype: dtype.short, (info.dtype for info in infos)), "dtype"),
        Column("shape", _texts(numbers.shape, (info.shape for info in infos)), "shape"),
        Column("values", _texts(count, (info.numel for info in infos)), "number", to_right=True),
        Column("bytes", _texts(numbers.size, (info.nbytes for info in infos)), to_right=True),
        Column("role", roles, "dim"),
    ]


def comma_separated(entries: "Iterable[NamedTensor]", first_names: Mapping[int, str]) -> str:
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


def _roles(entries: Sequence[Listed], ties: Mapping[str, str], optimized: Mapping[str, str]) -> Sequence[str]:
    if not ties and not optimized:
        return [entry.role for entry in entries]
    texts: list[str] = []
    for entry in entries:
        name = entry.name
        text = f"{entry.role} of {escaped(optimized[name])}" if name in optimized else entry.role
        texts.append(f"{text} = {escaped(ties[name])}" if name in ties else text)
    return texts
