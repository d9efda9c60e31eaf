"""The terminal explorer: a tree at the left, what is known of the chosen tensor or module at the right."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Footer, Header, Input, OptionList, Static, Tree
from textual.widgets.option_list import Option

from statedict.errors import MissingExtraError, PatternError, StatedictError
from statedict.ops.find import first_values
from statedict.ops.patterns import matching
from statedict.ops.select import NamedTensor, named_tensors
from statedict.ops.sizes import sizes
from statedict.terminal.drawing import histogram, label, tensor_label, text_of
from statedict.tree.module import Module
from statedict.views import details, numbers
from statedict.views.lines import escaped, shortened
from statedict.views.outline import Node, Outline
from statedict.web.side import Side, alone

if TYPE_CHECKING:
    from textual.widgets.tree import TreeNode

_MOST_FOUND = 1_000
_MOST_CHILDREN = 2_000
_MOST_LINES = 200
_AT_ONCE = 1 << 26
"""Bytes of a tensor whose numbers are read without being asked for."""
_BINS = 64

Held = Node | NamedTensor


class Explorer(App[None]):
    """One checkpoint in the terminal, or two of which the second is compared with the first."""

    CSS = """
    #left { width: 45%; border-right: solid $panel; }
    #search { border: tall $panel; height: 3; }
    #search:focus { border: tall $accent; }
    #found { display: none; height: 1fr; }
    #tree { height: 1fr; }
    #right { width: 1fr; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search"),
        Binding("s", "read", "Statistics"),
        Binding("u", "unfold", "Unfold"),
        Binding("d", "diff", "Differences"),
        Binding("escape", "leave", "Back", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, sides: Sequence[Side]) -> None:
        super().__init__()
        self._sides = tuple(sides)
        self._entries = list(named_tensors(sides[0].model))
        self._unfolded = False
        self._chosen: Held | None = None
        self._diff: Text | None = None
        self.title = escaped(sides[0].file)
        self.sub_title = f"beside {escaped(sides[1].file)}" if len(sides) > 1 else escaped(sides[0].format)

    def compose(self) -> ComposeResult:
        """The parts of the screen."""
        yield Header(icon="≡")
        with Horizontal():
            with Vertical(id="left"):
                yield Input(placeholder="Search: words, or a pattern such as **.{q,k}_proj.*", id="search")
                yield OptionList(id="found", markup=False)
                yield Tree[Held]("", id="tree")
            with VerticalScroll(id="right"):
                yield Static(id="facts", markup=False)
                yield Static(id="numbers", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Grow the tree, and go to it."""
        self._grow()
        self._tree.focus()

    @property
    def _tree(self) -> "Tree[Held]":
        return cast("Tree[Held]", self.query_one("#tree", Tree))

    # The tree

    def _grow(self) -> None:
        root = Outline(self._sides[0].model, unfold=self._unfolded).root
        root.label = self._sides[0].file.rstrip("/").rpartition("/")[2]
        tree = self._tree
        tree.reset(label(root), root)
        self._fill(tree.root)
        tree.root.expand()
        tree.move_cursor(tree.root)
        self._show(root)

    def _fill(self, at: "TreeNode[Held]") -> None:
        """Put what a module holds below its node: when it is opened, and once."""
        node = at.data
        if at.children or not isinstance(node, Node):
            return
        for entry in node.inline if not node.is_tensor else ():
            at.add_leaf(tensor_label(entry), entry)
        for child in node.children[:_MOST_CHILDREN]:
            if child.is_tensor or not (child.children or child.inline):
                at.add_leaf(label(child), child)
            else:
                at.add(label(child), child)
        if len(node.children) > _MOST_CHILDREN:
            at.add_leaf(Text(f"… {len(node.children) - _MOST_CHILDREN:,} more; search finds them", "dim"))

    @on(Tree.NodeExpanded)
    def _opened(self, event: "Tree.NodeExpanded[Held]") -> None:
        self._fill(event.node)

    @on(Tree.NodeHighlighted)
    def _went(self, event: "Tree.NodeHighlighted[Held]") -> None:
        if event.node.data is not None:
            self._show(event.node.data)

    # The right side

    def _show(self, held: Held) -> None:
        self._chosen = held
        entry = _entry_of(held)
        self.query_one("#numbers", Static).update("")
        self.query_one("#facts", Static).update(text_of(self._facts(held)))
        self.query_one("#right", VerticalScroll).scroll_home(animate=False)
        if entry is not None and entry.tensor.nbytes <= _AT_ONCE:
            self.action_read()
        elif entry is not None:
            said = f"press s to read {numbers.size(entry.tensor.nbytes)} and see its numbers"
            self.query_one("#numbers", Static).update(Text(said, "dim"))

    def _facts(self, held: Held) -> Any:
        entry = _entry_of(held)
        if entry is not None:
            names = [other.name for other in self._entries if other.tensor is entry.tensor]
            values = _first_values(entry)
            return details.details(
                entry.name, "tensor", details.tensor_facts(entry, names, values, self._sides[0].source)
            )
        assert isinstance(held, Node)  # noqa: S101 - what is no tensor is a module
        total = sizes(held.entries)
        facts = [("parameters", f"{total.parameters:,}"), ("bytes", numbers.size(total.nbytes))]
        facts += [("tensors", f"{total.tensors:,}"), ("types", numbers.dtypes(total.dtypes, 6))]
        facts += [("stands for", f"{held.count:,} that look alike")] if held.count > 1 else []
        if held.details:
            facts.append(("prints as", f"{escaped(held.kind)}({escaped(held.details)})"))
        facts += details.attribute_facts(dict(held.values)) if held.values else []
        return details.details(held.path or held.label, held.kind or "module", facts)

    def action_read(self) -> None:
        """Read the chosen tensor, or all tensors of the chosen module, in another thread."""
        if self._chosen is not None:
            chosen = self._chosen
            self.query_one("#numbers", Static).update(Text("Reading …", "dim"))
            model, width = self._sides[0].model, self._width()
            self._in_thread(lambda: _numbers(model, chosen, width), lambda text: self._told(chosen, text))

    def _width(self) -> int:
        return max(40, self.query_one("#right").size.width - 3)

    def _told(self, held: Held, text: Text) -> None:
        if held is self._chosen:
            self.query_one("#numbers", Static).update(text)

    def _in_thread(self, work: Callable[[], Text], tell: Callable[[Text], None]) -> None:
        def run() -> None:
            try:
                text = work()
            except (StatedictError, OSError, TypeError, ValueError) as error:
                text = Text(str(error), "red")
            self.call_from_thread(tell, text)

        self.run_worker(run, thread=True, exclusive=True)

    # Search

    def action_search(self) -> None:
        """Go to the search."""
        self.query_one("#search", Input).focus()

    @on(Input.Changed, "#search")
    def _searched(self, event: Input.Changed) -> None:
        text = event.value.strip()
        found = self.query_one("#found", OptionList)
        found.display, self._tree.display = bool(text), not text
        found.clear_options()
        if not text:
            return
        entries = _search(self._entries, text)
        found.add_options(Option(tensor_label(self._entries[at], whole=True), str(at)) for at in entries[:_MOST_FOUND])
        more = len(entries) - _MOST_FOUND
        if not entries or more > 0:
            said = f"… and {more:,} more" if entries else "nothing has that name"
            found.add_option(Option(Text(said, "dim"), disabled=True))

    @on(Input.Submitted, "#search")
    def _to_found(self) -> None:
        found = self.query_one("#found", OptionList)
        (found if found.display else self._tree).focus()
        if found.display and found.option_count:
            found.highlighted = 0

    @on(OptionList.OptionHighlighted, "#found")
    def _went_to_found(self, event: OptionList.OptionHighlighted) -> None:
        if event.option.id is not None:
            self._show(self._entries[int(event.option.id)])

    def action_leave(self) -> None:
        """From what was found, or from the differences, to the tree."""
        self.query_one("#search", Input).value = ""
        self._tree.focus()
        if self._chosen is not None:
            self._show(self._chosen)

    # The rest

    def action_unfold(self) -> None:
        """Show repeated blocks one by one, or folded again."""
        self._unfolded = not self._unfolded
        self._grow()

    def action_diff(self) -> None:
        """Show what the second checkpoint has otherwise."""
        if len(self._sides) < 2:
            self.notify("Give two files to see what the second has otherwise: statedict browse A B")
            return
        self._chosen = None
        self.query_one("#facts", Static).update(Text("Comparing …", "dim"))
        self.query_one("#numbers", Static).update("")
        width = self._width()
        self._in_thread(lambda: self._compared(width), self._compared_is)

    def _compared(self, width: int) -> Text:
        if self._diff is None:
            from statedict.diffing import diff
            from statedict.views.diff import diff_lines

            first, second = (side.model for side in self._sides)
            self._diff = text_of(diff_lines(diff(first, second), width))
        return self._diff

    def _compared_is(self, text: Text) -> None:
        if self._chosen is None:
            self.query_one("#facts", Static).update(text)


def _entry_of(held: Held) -> NamedTensor | None:
    """The tensor that is chosen; None where it is a module."""
    if isinstance(held, NamedTensor):
        return held
    return held.inline[0] if held.is_tensor and held.count == 1 else None


def _first_values(entry: NamedTensor) -> Sequence[Any] | str:
    try:
        return first_values(entry.tensor)
    except (MissingExtraError, TypeError, ValueError) as error:
        return f"not shown: {error}"


def _search(entries: Sequence[NamedTensor], text: str) -> list[int]:
    """The numbers of the tensors whose names hold all words, or fit a pattern."""
    if set(text) & set("*{}"):
        try:
            fitting = matching([entry.name for entry in entries], [text])
        except PatternError:
            return []
        return [at for at, entry in enumerate(entries) if entry.name in fitting]
    words = text.lower().split()
    return [at for at, entry in enumerate(entries) if all(word in entry.name.lower() for word in words)]


def _numbers(model: Module, held: Held, width: int) -> Text:
    """What the numbers of a tensor, or of all in a module, are: read now."""
    from statedict.ops.stats import stats
    from statedict.views.figures import FIGURES, figures_of
    from statedict.views.stats import sparkline, summary_lines
    from statedict.views.table import Column, table

    entry = _entry_of(held)
    if entry is None:
        assert isinstance(held, Node)  # noqa: S101 - what is no tensor is a module
        few = len(held.entries) <= _MOST_LINES
        found = stats(model, *(entry.name for entry in held.entries), counts=few)
        rows = figures_of(found, modules=False)[:_MOST_LINES]
        columns = [
            Column("name", [escaped(row.name) for row in rows], "name", shrinks=True),
            Column("", [sparkline(row) for row in rows] if few else [""] * len(rows), "kind"),
            Column("std", [f"{row.summary.std or 0:.3g}" for row in rows], "number", to_right=True),
            Column("zeros", [f"{100 * (row.summary.sparsity or 0):.3g}%" for row in rows], "number", to_right=True),
        ]
        return text_of([[], *table(columns, width), [], *summary_lines(found, width)])
    whole = stats(alone(entry.tensor), counts=True)
    if not whole.tensors:
        return Text(next(iter(whole.skipped.values()), "it has no elements"), "dim")
    (each,) = whole.tensors
    counts, edges = each.histogram(min(_BINS, width))
    text = Text("\n")
    if counts:
        text.append_text(histogram(counts, numbers.value(edges[0]), numbers.value(edges[-1]))).append("\n\n")
    for name, figure in FIGURES.items():
        value = figure(each.summary)
        if value is not None and name not in ("name", "numel"):
            text.append(f"  {name:<12}", "dim").append(shortened(numbers.value(value), 40) + "\n", "green")
    return text
