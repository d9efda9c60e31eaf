"""A model as a tree of lines: names and columns of numbers, then what each module is and the tensors it holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from statedict.index import EMPTY
from statedict.ops.select import NamedTensor
from statedict.ops.sizes import Sizes
from statedict.views import numbers
from statedict.views.lines import ELLIPSIS, Line, cells, escaped, fitted, middle_shortened, name_text
from statedict.views.outline import Node, Outline, local_name
from statedict.views.table import MOST_ALIGNED, NARROW, WIDE, Column, aligned
from statedict.views.values import value_text

_MOST_VALUES = 12
"""Values of one module that get a line, unless everything is unfolded."""
_GAP = "  "


@dataclass(slots=True)
class _Row:
    drawn: str
    """The branches before the label."""
    label: str
    about: Line
    """What it is, in words."""
    sizes: Sizes | None = None
    is_value: bool = False


def tree(
    outline: Outline,
    title: str,
    *,
    depth: int | None = None,
    width: int | None = None,
    unfold: bool = False,
    optimized: Mapping[str, str] = EMPTY,
) -> list[Line]:
    """The lines of a tree below `title`, `depth` levels deep, each cut to `width` columns (None: never).

    Numbers of a fold are of all that it stands for; below it, of one. `optimized` names the parameters that an
    optimizer's tensors belong to.
    """
    rows = list(_Rows(outline, depth, unfold, optimized).of(outline.root, escaped(title)))
    return _lines(rows, width)


class _Rows:
    """The rows of nodes, parents first."""

    def __init__(self, outline: Outline, depth: int | None, unfold: bool, optimized: Mapping[str, str]) -> None:
        self._outline = outline
        self._optimized = optimized
        self._depth = depth
        self._most_values = None if unfold else _MOST_VALUES

    def of(self, node: Node, label: str, branch: str = "", below: str = "", level: int = 0) -> Iterator[_Row]:
        """The row of `node`, and those of what is in it."""
        sizes = node.sizes() if node.entries else None
        cut = self._depth is not None and level >= self._depth and bool(node.children or node.values)
        yield _Row(branch, label, self._about(node, sizes, cut), sizes)
        if cut:
            return
        values = node.values[: self._most_values]
        hidden = len(node.values) - len(values)
        last = len(node.children) + len(values) + bool(hidden) - 1
        for at, (name, value) in enumerate(values):
            yield _Row(
                below + _branch(at == last), name_text(name), [(f" = {value_text(value)}", "dim")], is_value=True
            )
        if hidden:
            yield _Row(below + _branch(len(values) == last), f"{ELLIPSIS} {hidden:,} more values", [], is_value=True)
        for at, child in enumerate(node.children, len(node.values) - hidden + bool(hidden)):
            under = below + ("   " if at == last else "│  ")
            yield from self.of(child, name_text(child.label), below + _branch(at == last), under, level + 1)

    def _about(self, node: Node, sizes: Sizes | None, cut: bool) -> Line:
        pieces: Line = []
        if node.count > 1:
            pieces.extend([(f"({node.count:,}x)", "bold"), (_GAP, "")])
            if sizes and sizes.parameters and not node.loose:
                pieces.append((f"{sizes.parameters // node.count:,} each" + _GAP, "dim"))
        if node.kind:
            pieces.extend([(escaped(node.kind), "kind")])
            pieces.extend([(f"({escaped(node.details)})", "")] if node.details else [])
            pieces.extend([(_GAP, "")])
        if node.same_as is not None:
            return [*pieces, ("= ", "dim"), (escaped(node.same_as) or "the whole", "tied")]
        if node.count == 1 and node.inline and not node.is_tensor and node.inline[0].name in self._optimized:
            pieces.extend([("of ", "dim"), (escaped(self._optimized[node.inline[0].name]), "tied"), (_GAP, "")])
        dtypes = sizes.dtypes if sizes else []
        buffers = [entry for entry in node.inline if entry.role == "buffer"]
        for entry in node.inline:
            if buffers and entry is buffers[0]:
                pieces.append(("buffer " if len(buffers) == 1 else "buffers ", "dim"))
            pieces.extend(self._tensor(node, entry, shown_dtype=dtypes[0].name if len(dtypes) == 1 else None))
        if not (node.entries or node.kind or node.children or node.values):
            pieces.append(("no tensors", "dim"))
        if cut:
            inside = numbers.counted(len(node.children), "child", "children") if node.children else ""
            pieces.extend([(ELLIPSIS, "dim"), (inside and " " + inside, "dim")])
        return pieces

    def _tensor(self, node: Node, entry: NamedTensor, shown_dtype: str | None) -> Line:
        tensor = entry.tensor
        pieces: Line = [] if node.is_tensor else [(name_text(local_name(entry)), "name"), (" ", "")]
        pieces.extend([("[…]" if node.loose and tensor.shape else numbers.shape(tensor.shape), "shape")])
        if tensor.dtype.name != shown_dtype:
            pieces.extend([(f" {tensor.dtype.short}", "dtype")])
        if tensor.layout != "strided" or tensor.is_meta:
            pieces.extend([(f" {'no data' if tensor.is_meta else tensor.layout}", "dim")])
        if tied := self._outline.tied_to(entry):
            pieces.extend([(" = ", "dim"), (escaped(tied), "tied")])
        return [*pieces, (_GAP, "")]


def _branch(last: bool) -> str:
    return "└─ " if last else "├─ "


def _lines(rows: list[_Row], width: int | None) -> list[Line]:
    """The rows as aligned lines. Narrow ones have briefer numbers, then fewer: what a thing is matters more."""
    columns = _columns(rows, width)
    most = None if width is None else max(width * 2 // 5, 16)
    labels = [
        row.label if row.is_value or most is None else middle_shortened(row.label, most - len(row.drawn))
        for row in rows
    ]
    names = max(len(row.drawn) + cells(label) for row, label in zip(rows, labels, strict=True) if not row.is_value)
    names = min(names, MOST_ALIGNED)
    titles: Line = [(" " * names, ""), *((_GAP + column.title, "dim") for column in columns)]
    lines = [fitted(titles, width)]
    for at, (row, label) in enumerate(zip(rows, labels, strict=True)):
        line: Line = [(row.drawn, "dim"), (label, "bold" if at == 0 else "name" if row.sizes else "")]
        if not row.is_value:
            line.append((" " * (names - len(row.drawn) - cells(label)), ""))
            line.extend((_GAP + column.texts[at], column.style) for column in columns)
            line.append((_GAP, ""))
        lines.append(fitted([*line, *row.about], width))
    return lines


def _columns(rows: list[_Row], width: int | None) -> list[Column]:
    """The columns of numbers, their texts already of one width."""
    exact = width is None or width >= WIDE
    count = numbers.exact if exact else numbers.brief
    counts = [count(row.sizes.parameters) if row.sizes and row.sizes.parameters else "" for row in rows]
    nbytes = [numbers.size(row.sizes.nbytes) if row.sizes else "" for row in rows]
    dtypes = [numbers.dtypes(row.sizes.dtypes) if row.sizes else "" for row in rows]
    columns = [
        Column("parameters" if exact else "params", counts, "number", to_right=True),
        Column("bytes", nbytes, to_right=True),
        Column("dtype", dtypes, "dtype"),
    ]
    return [aligned(column) for column in (columns if width is None or width >= NARROW else columns[:1])]
