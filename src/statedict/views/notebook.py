"""What a notebook shows: values as HTML that needs no script and asks for nothing, in light and dark; and as text.

Whatever a file brings is escaped twice: what does not print as the terminal has it, then as HTML has it.
"""

import html
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from statedict.errors import StatedictError
from statedict.ops.diff.result import Diff
from statedict.ops.find import first_values
from statedict.ops.match.matching import Match
from statedict.ops.select import NamedTensor
from statedict.ops.sizes import Sizes
from statedict.ops.stats import Stats
from statedict.tree.module import Module
from statedict.tree.tensor import Tensor
from statedict.views import numbers
from statedict.views.lines import Line, escaped, name_text, plain, shortened
from statedict.views.outline import Node, Outline, local_name
from statedict.views.values import value_text

_MOST_ROWS = 2_000
"""Lines of a tree that are put into a notebook."""
_OPEN = 40
"""Modules of a tree that is shown open."""
_LONGEST = 300
_MOST_READ = 1 << 22
"""Bytes of a tensor that are read to show how its numbers are spread."""
_BARS = 48
_STYLE = """
.statedict{--sd-ink:#1d2329;--sd-soft:#59626b;--sd-line:#d8d8d2;--sd-kind:#8a4300;--sd-name:#0b5f8a;--sd-number:#1c6b3c;
--sd-bar:#3a7ca5;color:var(--sd-ink);font:13px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media (prefers-color-scheme:dark){.statedict{--sd-ink:#e6e9ec;--sd-soft:#a3adb7;--sd-line:#3d464f;--sd-kind:#efab6f;
--sd-name:#74bfe8;--sd-number:#7fd19b;--sd-bar:#5ba7d1}}
[data-jp-theme-light="true"] .statedict{--sd-ink:#1d2329;--sd-soft:#59626b;--sd-line:#d8d8d2;--sd-kind:#8a4300;
--sd-name:#0b5f8a;--sd-number:#1c6b3c;--sd-bar:#3a7ca5}
[data-jp-theme-light="false"] .statedict{--sd-ink:#e6e9ec;--sd-soft:#a3adb7;--sd-line:#3d464f;--sd-kind:#efab6f;
--sd-name:#74bfe8;--sd-number:#7fd19b;--sd-bar:#5ba7d1}
.vscode-light .statedict{--sd-ink:#1d2329;--sd-soft:#59626b}.vscode-dark .statedict{--sd-ink:#e6e9ec;--sd-soft:#a3adb7}
.statedict details>div,.statedict .sd-in{margin-left:1.1em;padding-left:.5em;border-left:1px solid var(--sd-line)}
.statedict summary{cursor:pointer}.statedict .sd-l{padding-left:1.05em}.statedict pre{margin:0;overflow-x:auto;
background:none;color:inherit;font:inherit}.statedict b,.statedict .sd-bold{font-weight:600}
.statedict .sd-kind,.statedict .sd-dtype{color:var(--sd-kind)}.statedict .sd-dim{color:var(--sd-soft)}
.statedict .sd-name,.statedict .sd-tied{color:var(--sd-name)}.statedict .sd-number{color:var(--sd-number)}
.statedict table{border-collapse:collapse;margin:.2em 0}.statedict td,.statedict th{padding:0 .9em 0 0;border:0;
text-align:left;background:none}.statedict svg{display:block;margin:.4em 0}.statedict rect{fill:var(--sd-bar)}
""".replace("\n", "")  # fmt: skip


def bundle(value: Any) -> dict[str, str]:
    """What a notebook shows of a value: HTML, and the text that the terminal has."""
    for kind, page, text in _VIEWS:
        if isinstance(value, kind):
            body = f'<div class="statedict"><style>{_STYLE}</style>{"".join(page(value))}</div>'
            return {"text/plain": text(value).removesuffix("\n"), "text/html": body}
    return {"text/plain": repr(value)}


def _text(text: str, most: int = _LONGEST) -> str:
    """A text of a file's as HTML: what does not print is visible, and nothing is markup."""
    return html.escape(shortened(escaped(text), most))


def _span(style: str, text: str) -> str:
    return f'<span class="sd-{style}">{text}</span>' if style else text


# Modules


def _module(module: Module) -> Iterator[str]:
    outline = Outline(module)
    left = [_MOST_ROWS]
    total = outline.root.sizes()
    yield f"<div><b>{_text(outline.root.kind or 'Module')}</b> {_span('dim', _totals(total))}</div>"
    open_below = outline.modules <= _OPEN
    for child in outline.root.children:
        yield from _node(child, left, open_below=open_below)
    if left[0] <= 0:
        yield f'<div class="sd-l sd-dim">… more than {_MOST_ROWS:,} lines; `statedict tree` has them all</div>'


def _totals(total: Sizes) -> str:
    parts = [numbers.counted(total.parameters, "parameter"), numbers.size(total.nbytes)]
    types = numbers.dtypes(total.dtypes)
    return html.escape(", ".join([*parts, types] if types else parts))


def _node(node: Node, left: list[int], *, open_below: bool) -> Iterator[str]:
    if left[0] <= 0:
        return
    left[0] -= 1
    head = _head(node)
    held = [*node.children, *node.values]
    if not held or node.same_as is not None:
        yield f'<div class="sd-l">{head}</div>'
        return
    yield f"<details{' open' if open_below else ''}><summary>{head}</summary><div>"
    for name, value in node.values[:12]:
        yield f'<div class="sd-l">{_text(name)} {_span("dim", "= " + _text(value_text(value)))}</div>'
    for child in node.children:
        yield from _node(child, left, open_below=open_below and node.count == 1)
    yield "</div></details>"


def _head(node: Node) -> str:
    parts = [_span("" if node.is_tensor else "bold", html.escape(shortened(name_text(node.label), _LONGEST)))]
    if node.count > 1:
        parts.append(_span("number", f"({node.count:,}×)"))
    if node.kind:
        details = f"({_text(node.details)})" if node.details else ""
        parts.append(_span("kind", _text(node.kind)) + details)
    if node.same_as is not None:
        return " ".join([*parts, _span("tied", "= " + (_text(node.same_as) or "the whole"))])
    parts += [_entry(entry, named=not node.is_tensor) for entry in node.inline]
    if node.children and node.entries:
        parts.append(_span("dim", _totals(node.sizes())))
    return " ".join(parts)


def _entry(entry: NamedTensor, *, named: bool) -> str:
    info = entry.tensor.info
    name = _span("name", _text(local_name(entry))) + " " if named else ""
    return f"{name}{numbers.shape(info.shape)} {_span('dtype', html.escape(info.dtype.short))}"


# Tensors


def _tensor(tensor: Tensor) -> Iterator[str]:
    info = tensor.info
    name = f"<b>{_text(tensor.name)}</b> " if tensor.name else ""
    yield f"<div>{name}{_span('kind', type(tensor).__name__)} {numbers.shape(info.shape)} "
    yield f"{_span('dtype', html.escape(info.dtype.name))} {_span('dim', numbers.size(info.nbytes))}</div>"
    try:
        values = ", ".join(numbers.value(value) for value in first_values(tensor))
        yield f"<div>{_span('dim', 'first values')} {_span('number', html.escape(values))}</div>"
        yield from _spread(tensor)
    except (StatedictError, OSError, TypeError, ValueError) as error:
        yield f"<div>{_span('dim', _text(str(error)))}</div>"


def _spread(tensor: Tensor) -> Iterator[str]:
    """How the numbers of a tensor that is read in no time are spread."""
    from statedict.ops.stats import stats

    if not 1 < tensor.numel() or tensor.nbytes > _MOST_READ:
        return
    module = Module()
    module.register_buffer("tensor", tensor)
    found = stats(module, counts=True).tensors
    if not found or found[0].summary.min is None:
        return
    summary = found[0].summary
    counts, _ = found[0].histogram(_BARS)
    facts = {"min": summary.min, "max": summary.max, "mean": summary.mean, "std": summary.std}
    said = "  ".join(f"{key} {numbers.value(value)}" for key, value in facts.items())
    extra = "".join(f"  {count:,} {key}" for key, count in (("zeros", summary.zeros), ("NaN", summary.nans)) if count)
    yield f"<div>{html.escape(said + extra)}</div>"
    yield _bars(counts, f"histogram from {numbers.value(summary.min)} to {numbers.value(summary.max)}")


def _bars(counts: list[int], label: str) -> str:
    most = max(counts, default=0) or 1
    tall = [count and max(1, round(count / most * 46)) for count in counts]
    bars = "".join(f'<rect x="{at * 6}" y="{48 - each}" width="5" height="{each}"/>' for at, each in enumerate(tall))
    return f'<svg width="{6 * len(counts)}" height="48" role="img" aria-label="{html.escape(label)}">{bars}</svg>'


# Results, as the lines that the terminal shows


def _lines(lines: Iterable[Line]) -> Iterator[str]:
    yield "<pre>"
    for line in lines:
        yield "".join(_span(style, html.escape(text)) for text, style in line).rstrip() + "\n"
    yield "</pre>"


def _diff_lines(diff: Diff) -> list[Line]:
    from statedict.views.diff import diff_lines

    return diff_lines(diff)


def _match_lines(match: Match) -> list[Line]:
    from statedict.views.match import match_lines

    return match_lines(match, "the source", "the target", None, None)[:-2]  # without the command to type next


def _stats_lines(stats: Stats) -> list[Line]:
    from statedict.views.figures import figures_of
    from statedict.views.stats import stats_table, summary_lines

    rows = figures_of(stats, modules=False)[:_MOST_ROWS]
    counted = any(each.spread is not None for each in stats.tensors)
    return [*stats_table(rows, histogram=counted), [], *summary_lines(stats)]


_VIEWS: tuple[tuple[type, Callable[[Any], Iterable[str]], Callable[[Any], str]], ...] = (
    (Module, _module, repr),
    (Tensor, _tensor, repr),
    (Diff, lambda value: _lines(_diff_lines(value)), lambda value: plain(_diff_lines(value))),
    (Match, lambda value: _lines(_match_lines(value)), lambda value: plain(_match_lines(value))),
    (Stats, lambda value: _lines(_stats_lines(value)), lambda value: plain(_stats_lines(value))),
)
