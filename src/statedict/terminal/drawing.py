"""What is drawn in the terminal explorer, as rich's texts: no name is ever read as markup."""

from collections.abc import Iterable

from rich.text import Text

from statedict.ops.select import NamedTensor
from statedict.views import numbers
from statedict.views.lines import Line, Style, escaped, name_text, shortened
from statedict.views.outline import Node, local_name

_STYLES: dict[Style, str] = {
    "": "",
    "bold": "bold",
    "name": "cyan",
    "kind": "yellow",
    "number": "green",
    "shape": "",
    "dtype": "magenta",
    "dim": "dim",
    "tied": "blue",
}
_LONGEST = 200
_BARS = " ▁▂▃▄▅▆▇█"
_HEIGHT = 8


def text_of(lines: Iterable[Line]) -> Text:
    """Lines of a view as one text."""
    found = Text()
    for line in lines:
        for piece, style in line:
            found.append(piece, _STYLES[style])
        found.append("\n")
    return found


def label(node: Node) -> Text:
    """The line of a node of the tree: its name, what it is, how much it holds."""
    text = Text(shortened(name_text(node.label), _LONGEST), "" if node.is_tensor else "bold")
    if node.count > 1:
        text.append(f" {node.count:,}×", "green")
    if node.kind:
        text.append(f" {shortened(escaped(node.kind), 60)}", "yellow")
    if node.same_as is not None:
        text.append(f" = {shortened(escaped(node.same_as), 80) or 'the whole'}", "blue")
    elif node.is_tensor:
        text.append_text(tensor_facts(node.inline[0]))
    elif node.entries:
        total = node.sizes()
        text.append(f"  {numbers.brief(total.parameters)} {numbers.size(total.nbytes)}", "dim")
    return text


def tensor_label(entry: NamedTensor, *, whole: bool = False) -> Text:
    """The line of a tensor, with its full name if `whole`."""
    name = entry.name if whole else local_name(entry)
    return Text(shortened(name_text(name), _LONGEST)).append_text(tensor_facts(entry))


def tensor_facts(entry: NamedTensor) -> Text:
    """Its shape and type, after a space."""
    info = entry.tensor.info
    return Text(f" {numbers.shape(info.shape)} {info.dtype.short}", "dim")


def histogram(counts: list[int], low: str, high: str) -> Text:
    """Counts as bars of eight lines, with both ends below."""
    most = max(counts, default=0) or 1
    tall = [max(1, round(count / most * _HEIGHT * 8)) if count else 0 for count in counts]
    rows = ["".join(_BARS[min(8, max(0, each - 8 * row))] for each in tall) for row in reversed(range(_HEIGHT))]
    text = Text("\n".join(rows) + "\n", "cyan")
    return text.append(low + " " * max(1, len(counts) - len(low) - len(high)) + high, "dim")
