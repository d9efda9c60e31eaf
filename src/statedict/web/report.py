"""A report: the page of the explorer as one file, with its tree, its map and all statistics in it, for a mail."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from statedict.engine import Progress
from statedict.views.figures import figure_fields, figures_of
from statedict.views.page import figure_columns
from statedict.web.comparison import diff_fields
from statedict.web.side import Side, figure_rows, spread_fields
from statedict.web.static import text

BINS = 40
_LEFT_OUT = ("name", "dtype", "shape", "role", "also")
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=async |class |const |function )", re.MULTILINE)


def report(sides: Sequence[Side], progress: Progress | None = None) -> bytes:
    """The HTML file: of one checkpoint, or of two with what changed. Every tensor is read, twice where there are two.

    It asks for nothing: no server, no network; and its scripts are those of this program alone, which their digests in
    its Content-Security-Policy say.
    """
    found = [_numbers(side, progress) for side in sides]
    data: dict[str, Any] = {
        "sides": [{**side.fields(), "sides": len(sides)} for side in sides],
        "statistics": [statistics for statistics, _ in found],
        "jobs": {f"figures{at}": figures for at, (_, figures) in enumerate(found)},
    }
    if len(sides) == 2:
        from statedict.diffing import diff

        data["jobs"]["diff"] = diff_fields(diff(sides[0].model, sides[1].model, progress=progress), *sides)
    return _html(json.dumps(data, allow_nan=False, separators=(",", ":")).encode())


def _numbers(side: Side, progress: Progress | None) -> tuple[dict[int, Any], dict[str, Any]]:
    """What is said of each tensor, by its number; and the figures of all as columns."""
    from statedict.ops.stats import stats

    found = stats(side.model, counts=True, magnitudes=True, progress=progress)
    numbers = {entry.name: at for at, entry in side.page.tensors()}
    said: dict[int, Any] = {}
    for row, each in zip(figures_of(found, modules=False), found.tensors, strict=True):
        fields = figure_fields(row)
        kept = {key: _brief(value) for key, value in fields.items() if key not in _LEFT_OUT}
        for name in each.names:
            said[numbers[name]] = {"figures": kept, **spread_fields(each, BINS)}
    said |= {numbers[name]: {"error": reason} for name, reason in found.skipped.items()}
    return said, figure_columns(side.page, dict(figure_rows(found)))


def _brief(value: Any) -> Any:
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _html(data: bytes) -> bytes:
    script, style = bundled("report.js"), text("style.css")
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    packed = base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
    return "\n".join([
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        "<title>statedict report</title>",
        '<link rel="icon" href="data:,">',
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        '<main><p class="opening">Opening …</p></main>',
        f'<script type="text/plain" id="data">{packed}</script>',
        f'<script type="module">{script}</script>',
        "</body>",
        "</html>",
        "",
    ]).encode()  # fmt: skip


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def bundled(entry: str) -> str:
    """A script and all that it imports as one text: each file once, after what it imports."""
    order: dict[str, str] = {}
    _collect(entry, order)
    return "\n".join(_apart(name, source) for name, source in order.items())


def _collect(name: str, order: dict[str, str]) -> None:
    source = text(name)
    for needed in _IMPORT.findall(source):
        if needed not in order:
            _collect(needed, order)
    order[name] = source


def _apart(name: str, source: str) -> str:
    """One file in a function of its own, which returns what it exports; what it imports is taken from theirs."""
    exported = re.findall(r"^export (?:async )?(?:function\*?|class|const) (\w+)", source, re.MULTILINE)
    taken = re.sub(
        r'^import (\{[^}]*\}) from "\./([\w-]+)\.js";',
        lambda found: f"const {found[1]} = of_{_variable(found[2])};",
        source,
        flags=re.MULTILINE,
    )
    body = _EXPORT.sub("", taken)
    variable = _variable(name.removesuffix(".js"))
    return f"const of_{variable} = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();"


def _variable(name: str) -> str:
    return name.replace("-", "_")
